//! Forgets what the audit log has kept for long enough. Any number of replicas may run it at once.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{domain::Error, store};

const PAUSE: Duration = Duration::from_secs(3600);
/// Small, so that no statement holds many rows.
const BATCH: i64 = 500;
/// The database keeps entries for as long, whatever it is asked.
const KEPT_MIN: Duration = Duration::from_hours(90 * 24);

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct AuditArgs {
    /// How long the audit log is kept: 400 days, and never less than 90.
    #[arg(env = "AUDIT_KEPT_FOR", default_value = "9600h", value_parser = kept_for)]
    pub(crate) audit_kept_for: Duration,
}

fn kept_for(text: &str) -> Result<Duration, String> {
    let kept = platform::config::duration(text)?;
    if kept < KEPT_MIN {
        return Err("shorter than 90 days".to_owned());
    }
    Ok(kept)
}

pub(crate) async fn run(
    db: PgPool,
    args: AuditArgs,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let kept = TimeDelta::from_std(args.audit_kept_for)?;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(PAUSE) => {}
        }
        match clean(&db, platform::time::now() - kept).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(entries = count, "forgot {count} old audit entries"),
            Err(error) => tracing::warn!("cannot forget old audit entries: {error}"),
        }
    }
}

/// Everything from before `before`; answers how much that was.
pub(crate) async fn clean(db: &PgPool, before: DateTime<Utc>) -> Result<i64, Error> {
    let mut total = 0;
    loop {
        let mut tx = db.begin().await?;
        let count = store::audit::delete_old(&mut tx, before, BATCH).await?;
        tx.commit().await?;
        total += count;
        if count < BATCH {
            return Ok(total);
        }
    }
}
