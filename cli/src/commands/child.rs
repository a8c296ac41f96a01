use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of the signal that the command gets when its parent dies.
    #[arg(long, default_value_t = 9)]
    signal: i32,
    /// The process that must be the parent.
    #[arg(long)]
    parent: Option<i32>,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Asks the kernel for a signal at the parent's death, then becomes the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let signal = Signal::from_named_raw(args.signal).context("there is no such signal")?;
    set_parent_process_death_signal(Some(signal))?;
    // The parent may have died before the kernel was asked.
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
    if args.parent.is_some() && args.parent != parent {
        bail!("the parent is gone");
    }
    let [program, arguments @ ..] = args.command.as_slice() else {
        bail!("no command")
    };
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
