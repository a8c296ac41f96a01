mod ask;
mod settings;

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use clap::builder::BoolishValueParser;

use self::settings::Settings;
use super::{PORT_BASE, down, status};
use crate::{
    cargo::{self, Targets},
    checkout::{Checkout, Folder},
    os::{
        process::{Identity, MYSELF, Signal},
        secret,
        signals::Stop,
    },
    packages::{self, Need},
    progress::{Progress, answer},
    stack::{
        describe, environment, kafka,
        plan::{self, Plan},
        replicas::Replicas,
        state::{State, Status, Wanted},
        supervisor,
    },
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// First of the 100 ports of the stack, and its name; 4600 unless the file says otherwise.
    #[arg(long, value_name = "PORT", value_parser = plan::port_base)]
    port_base: Option<u16>,
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
    only: Option<Vec<String>>,
    /// Loads demo data, or does not; yes by default.
    #[arg(long, value_name = "YES|NO", value_parser = BoolishValueParser::new())]
    demo: Option<bool>,
    /// Says what to start, as JSON; options of the command line count more.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Asks again what to start, and remembers it.
    #[arg(long, conflicts_with = "yes")]
    ask: bool,
    /// Asks nothing.
    #[arg(long)]
    yes: bool,
    /// Is the supervisor in the background, with the programs of this folder.
    #[arg(long, hide = true, value_name = "FOLDER")]
    supervise: Option<PathBuf>,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    if args.supervise.is_some() {
        // Of its own, so that it outlives the terminal.
        rustix::process::setsid()?;
    }
    let said = said(args)?;
    let base = match (said.port_base, std::env::var(PORT_BASE)) {
        (Some(base), _) => base,
        (None, Ok(text)) => {
            plan::port_base(&text).map_err(|why| anyhow!("{PORT_BASE} is {text:?}, and {why}"))?
        }
        (None, Err(_)) => plan::DEFAULT_BASE,
    };
    let folder = checkout.folder(base);
    folder.make()?;
    let running = match args.supervise {
        Some(_) => None,
        None => running(&folder)?,
    };
    let services = checkout.services()?;
    // Before signals are caught: Ctrl-C at a question ends all of it.
    let remembered = remembered(args, &folder, &services, running.is_some())?;
    let wanted = said.or(remembered).wanted(&services)?;

    let stop = Stop::on_signals()?;
    let mut progress = Progress::new();
    if let Some(state) = running {
        return already(args, &folder, &state, &wanted, &stop, &mut progress);
    }
    let programs = match &args.supervise {
        Some(programs) => programs.clone(),
        None => {
            packages::ensure(Need::FOR_UP)?;
            kafka::ensure(checkout, &stop, &mut progress)?;
            cargo::build(checkout, Targets::Programs, &[], &stop, &mut progress)?.programs
        }
    };
    if args.detach && args.supervise.is_none() {
        return detach(
            checkout,
            args,
            base,
            wanted,
            &programs,
            &stop,
            &mut progress,
        );
    }

    let Some(_lock) = supervisor::lock(&folder)? else {
        bail!("another `up` has just begun at port base {base}");
    };
    let descriptions = describe::all(&programs, &services)?;
    let plan = Plan::new(checkout, base, programs, descriptions, &wanted)?;
    environment::check(&plan)?;
    supervisor::clear_the_way(&plan)?;
    supervisor::trim_logs(&folder);
    supervisor::run(&plan, wanted, &stop, &mut progress, |status| {
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

/// On the command line, and in the file that it names.
fn said(args: &Args) -> anyhow::Result<Settings> {
    let file = args.config.as_deref().map(Settings::read).transpose()?;
    let flags = Settings {
        port_base: args.port_base,
        only: args.only.clone(),
        replicas: args.replicas.clone(),
        demo: args.demo,
        environment: None,
    };
    Ok(flags.or(file.unwrap_or_default()))
}

/// What a person has answered at this stack: now, if that was asked for or is due, else before.
fn remembered(
    args: &Args,
    folder: &Folder,
    services: &[String],
    runs: bool,
) -> anyhow::Result<Settings> {
    if args.supervise.is_some() {
        return Ok(Settings::default());
    }
    let answers = folder.answers();
    let before = answers.exists().then(|| Settings::read(&answers));
    // Whoever says anything of it, or is a program, has no questions to answer.
    let silent = args.only.is_none()
        && args.replicas.is_none()
        && args.demo.is_none()
        && args.config.is_none()
        && !(args.json || args.yes);
    let person = io::stdin().is_terminal() && io::stderr().is_terminal();
    if args.ask && !person {
        bail!("`--ask` needs a terminal");
    }
    let due = before.is_none() && silent && person;
    if runs || !(args.ask || due) {
        if before.is_some() && !runs && !args.json {
            eprintln!("what was answered before counts; `--ask` asks again");
        }
        return before.unwrap_or_else(|| Ok(Settings::default()));
    }
    let before = before.and_then(Result::ok).unwrap_or_default();
    let now = ask::ask(
        services,
        &before,
        &mut io::stdin().lock(),
        &mut io::stderr(),
    )?;
    secret::write(&answers, &(serde_json::to_string_pretty(&now)? + "\n"))?;
    eprintln!("This is remembered; `--ask` asks again.");
    Ok(now)
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
    wanted: &Wanted,
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<ExitCode> {
    let base = &folder.name;
    if state.wanted != *wanted {
        bail!(
            "a stack with other services, replicas or settings runs at port base {base}; `./homeward down --port-base {base}` stops it"
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
    base: u16,
    wanted: Wanted,
    programs: &Path,
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<ExitCode> {
    let folder = &checkout.folder(base);
    let wish = Settings {
        port_base: Some(base),
        only: Some(wanted.only),
        replicas: Some(wanted.replicas),
        demo: Some(wanted.demo),
        environment: Some(wanted.environment),
    };
    // In a file, as others can see command lines.
    secret::write(&folder.wish(), &serde_json::to_string(&wish)?)?;
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
        .arg("--config")
        .arg(folder.wish())
        .arg("--supervise")
        .arg(programs);
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
