//! Signals: the first asks for an orderly end, the second ends at once.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the process answers when a second signal cuts the drain short.
const EXIT_CODE_SECOND_SIGNAL: i32 = 130;

/// Cancels `drain` at the first SIGTERM or SIGINT and exits the process at the second.
pub(crate) fn on_signals(drain: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::info!("{name}: finishing what is in flight");
        drain.cancel();
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::warn!("{name} again: exiting at once");
        std::process::exit(EXIT_CODE_SECOND_SIGNAL);
    });
    Ok(())
}

async fn next(
    terminate: &mut tokio::signal::unix::Signal,
    interrupt: &mut tokio::signal::unix::Signal,
) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
