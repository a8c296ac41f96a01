use std::{process::ExitCode, time::Duration};

use super::Base;
use crate::{
    checkout::{Checkout, Folder},
    os::process::Signal,
    stack::state::State,
};

/// Longer than a supervisor gives to what it stops.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    base: Base,
    /// Deletes the data, too.
    #[arg(long)]
    purge: bool,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let base = args.base.port_base;
    let folder = checkout.folder(base);
    if stop(&folder)? {
        eprintln!("stopped the stack at port base {base}");
    } else {
        eprintln!("nothing ran at port base {base}");
    }
    if args.purge {
        folder.purge()?;
        eprintln!("deleted its data");
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops the supervisor, which stops the rest, and what one that was killed has left.
pub(crate) fn stop(folder: &Folder) -> anyhow::Result<bool> {
    let Some(state) = State::read(folder)? else {
        return Ok(false);
    };
    let ran = state.supervised()
        || state
            .processes
            .iter()
            .any(|process| process.identity.alive());
    state.supervisor.end(Signal::TERM, PATIENCE);
    // The list may have changed since.
    if let Some(state) = State::read(folder)? {
        state.clear_leftovers();
    }
    Ok(ran)
}
