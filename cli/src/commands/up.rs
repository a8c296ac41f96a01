use std::{
    fs::OpenOptions,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};

use super::{Base, down, status};
use crate::{
    cargo::{self, Targets},
    checkout::{Checkout, Folder},
    os::{
        process::{Identity, MYSELF, Signal},
        signals::Stop,
    },
    packages::{self, Need},
    progress::{Progress, answer},
    stack::{
        describe, kafka,
        plan::Plan,
        replicas::Replicas,
        state::{State, Status},
        supervisor::{self, Wish},
    },
};

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    #[command(flatten)]
    base: Base,
    /// Returns when everything is ready; `down` stops it.
    #[arg(long)]
    detach: bool,
    /// Prints the status as JSON when everything is ready, as `status --json` does.
    #[arg(long)]
    json: bool,
    /// How many processes a service gets, such as bff=2,catalog=2; one each by default.
    #[arg(long, value_name = "SERVICE=COUNT,...")]
    replicas: Option<Replicas>,
    /// Starts these services only, and what they need of infrastructure.
    #[arg(long, value_name = "SERVICE,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Is the supervisor in the background, with the programs of this folder.
    #[arg(long, hide = true, value_name = "FOLDER")]
    supervise: Option<PathBuf>,
}

impl Args {
    fn replicas(&self) -> Replicas {
        self.replicas.clone().unwrap_or_default()
    }
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    if args.supervise.is_some() {
        // Of its own, so that it outlives the terminal.
        rustix::process::setsid()?;
    }
    let stop = Stop::on_signals()?;
    let mut progress = Progress::new();
    let folder = checkout.folder(args.base.port_base);
    folder.make()?;

    let programs = match &args.supervise {
        Some(programs) => programs.clone(),
        None => {
            if let Some(state) = running(&folder)? {
                return already(args, &folder, &state, &stop, &mut progress);
            }
            packages::ensure(Need::FOR_UP)?;
            kafka::ensure(checkout, &stop, &mut progress)?;
            cargo::build(checkout, Targets::Programs, &[], &stop, &mut progress)?.programs
        }
    };
    if args.detach && args.supervise.is_none() {
        return detach(checkout, args, &folder, &programs, &stop, &mut progress);
    }

    let Some(_lock) = supervisor::lock(&folder)? else {
        bail!(
            "another `up` has just begun at port base {}",
            args.base.port_base
        );
    };
    let descriptions = describe::all(&programs, &checkout.services()?)?;
    let base = args.base.port_base;
    let replicas = args.replicas();
    let plan = Plan::new(
        checkout,
        base,
        programs,
        descriptions,
        &replicas,
        &args.only,
    )?;
    supervisor::clear_the_way(&plan)?;
    supervisor::trim_logs(&folder);
    let wish = Wish {
        plan: &plan,
        replicas,
        only: args.only.clone(),
    };
    supervisor::run(wish, &stop, &mut progress, |status| {
        // In the background it would only leave the passwords in a log.
        if args.supervise.is_some() {
            return;
        }
        print(args, status);
        if !args.json {
            answer("\nCtrl-C stops everything; the data stay.");
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn print(args: &Args, status: &Status) {
    match serde_json::to_string_pretty(status) {
        Ok(json) if args.json => answer(&json),
        _ => answer(&status::text(status)),
    }
}

/// The state of a stack that somebody looks after.
fn running(folder: &Folder) -> anyhow::Result<Option<State>> {
    Ok(State::read(folder)?.filter(State::supervised))
}

/// The stack is there: waits until it is ready, as a first `up` would have.
fn already(
    args: &Args,
    folder: &Folder,
    state: &State,
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<ExitCode> {
    let base = args.base.port_base;
    if state.replicas != args.replicas() || state.only != args.only {
        bail!(
            "a stack with other services or replicas runs at port base {base}; `./homeward down --port-base {base}` stops it"
        );
    }
    progress.step("it runs already");
    let status = follow(folder, state.supervisor, stop, progress)?;
    progress.finish();
    match status {
        Some(status) => print(args, &status),
        None => bail!("the stack at port base {base} was stopped"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a supervisor in the background and waits until all is ready.
fn detach(
    checkout: &Checkout,
    args: &Args,
    folder: &Folder,
    programs: &Path,
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<ExitCode> {
    let path = folder.log("supervisor");
    let mut open = OpenOptions::new();
    let log = open
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path)?;
    let mut command = Command::new(MYSELF);
    command
        .arg0("homeward")
        .arg("up")
        .arg(format!("--port-base={}", args.base.port_base))
        .arg("--supervise")
        .arg(programs);
    if let Some(replicas) = &args.replicas {
        command.arg(format!("--replicas={replicas}"));
    }
    if !args.only.is_empty() {
        command.arg(format!("--only={}", args.only.join(",")));
    }
    let mut child = command
        .env("HOMEWARD_ROOT", &checkout.root)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the supervisor")?;
    let identity = Identity::of(child.id());
    let status = match identity {
        Some(identity) => follow(folder, identity, stop, progress),
        None => Ok(None),
    };
    match status {
        Ok(Some(status)) => {
            progress.finish();
            print(args, &status);
            Ok(ExitCode::SUCCESS)
        }
        Ok(None) => {
            let _ = child.wait();
            progress.finish();
            bail!("the stack did not start\n{}", supervisor::tail(&path));
        }
        Err(error) => {
            progress.step("stopping");
            down::stop(folder)?;
            if let Some(identity) = identity {
                identity.end(Signal::TERM, Duration::from_secs(30));
            }
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Shows what a supervisor does until all is ready; none when it ends before.
fn follow(
    folder: &Folder,
    supervisor: Identity,
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<Option<Status>> {
    loop {
        stop.check()?;
        if let Some(state) = State::read(folder)?
            && state.supervisor == supervisor
        {
            if state.status.ready {
                return Ok(Some(state.status));
            }
            if !state.step.is_empty() {
                progress.step(&state.step);
                progress.detail(&state.step);
            }
        }
        if !supervisor.alive() {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
