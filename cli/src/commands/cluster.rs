//! `homeward cluster`: a control plane on this machine, and what it shows of charts and delivery.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{
    cargo::{self, Targets},
    checkout::Checkout,
    commands::test::{Session, python_for},
    os::{
        process::{Identity, MYSELF, Signal},
        signals::wait_until,
    },
    packages::{self, Need},
    progress::Progress,
    stack::{kafka, supervisor},
};

const MINUTES_MAX: u64 = 5;
/// How long a script that is told to stop may take to end what it has started.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(clap::Subcommand)]
pub(crate) enum What {
    /// Builds the programs that the tests need, once for each of their versions.
    Tools,
    /// Runs what needs a cluster, a part at a time.
    Test(Args),
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs these parts only.
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The linters have no finding in anything that is rendered.
    Lint,
    /// The API server takes every rendered object, and refuses what must be refused.
    Admission,
    /// Rollouts, evictions, spread and autoscaling of our chart.
    Behaviour,
    /// Argo CD brings each commit to the cluster, and takes it back.
    Argocd,
    /// Nobody notices that every service is replaced.
    Rollout,
}

impl Part {
    /// The name of its script, too.
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

pub(crate) fn run(checkout: &Checkout, what: &What) -> anyhow::Result<ExitCode> {
    match what {
        What::Tools => tools(checkout),
        What::Test(args) => test(checkout, args),
    }
}

fn tools(checkout: &Checkout) -> anyhow::Result<ExitCode> {
    packages::ensure(&[Need::Python, Need::Venv, Need::Go])?;
    let status = script(checkout, "python3", "build_tools")
        .status()
        .context("cannot run tests/cluster/build_tools.py")?;
    if !status.success() {
        bail!("not every tool could be built");
    }
    Ok(ExitCode::SUCCESS)
}

fn test(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let missing = script(checkout, "python3", "build_tools")
        .arg("--missing")
        .output()
        .context("cannot run tests/cluster/build_tools.py")?;
    if !missing.status.success() || !missing.stdout.is_empty() {
        let names = String::from_utf8_lossy(&missing.stdout);
        bail!(
            "missing: {}; `./homeward cluster tools` builds what is missing",
            names.trim()
        );
    }
    packages::ensure(Need::FOR_TEST)?;
    packages::ensure(&[Need::Haproxy])?;
    let folder = checkout.folder("cluster");
    folder.make()?;
    let Some(_lock) = supervisor::lock(&folder)? else {
        bail!("another `cluster test` runs in this checkout");
    };
    let mut session = Session::new(checkout, folder)?;
    let done = parts(&mut session, &args.only);
    let ended = session.finish(done)?;
    if ended == ExitCode::SUCCESS {
        // Logs are of use where something failed.
        checkout.folder("cluster").purge()?;
    }
    Ok(ended)
}

fn parts(session: &mut Session<'_>, only: &[Part]) -> anyhow::Result<()> {
    let python = python_for(session)?;
    let wanted = |part: &Part| only.is_empty() || only.contains(part);
    if wanted(&Part::Rollout) {
        // As `up` does, which would take its time of that of the part.
        session.stage("build", |session| {
            let mut progress = Progress::new();
            kafka::ensure(session.checkout, &session.stop, &mut progress)?;
            let built = cargo::build(
                session.checkout,
                Targets::Programs,
                &[],
                &session.stop,
                &mut progress,
            );
            progress.finish();
            built.map(drop)
        })?;
    }
    for part in Part::value_variants() {
        if wanted(part) {
            session.stage(&part.name(), |session| bounded(session, &python, *part))?;
        }
    }
    Ok(())
}

/// Runs the script of a part, which has only so much time and must leave nothing behind.
fn bounded(session: &Session<'_>, python: &Path, part: Part) -> anyhow::Result<()> {
    let temporary = session.folder.path().join("tmp");
    empty(&temporary)?;
    let outcome = in_folder(session, python, part, &temporary);
    let processes = processes_of(&temporary);
    for (process, _) in &processes {
        process.end(Signal::TERM, PATIENCE);
    }
    let mut left: Vec<String> = processes.into_iter().map(|(_, name)| name).collect();
    for entry in fs::read_dir(&temporary)? {
        left.push(entry?.file_name().to_string_lossy().into_owned());
    }
    fs::remove_dir_all(&temporary)?;
    outcome?;
    if !left.is_empty() {
        bail!("it left behind: {}", left.join(", "));
    }
    Ok(())
}

fn in_folder(
    session: &Session<'_>,
    python: &Path,
    part: Part,
    temporary: &Path,
) -> anyhow::Result<()> {
    let mut child = script(session.checkout, python, &part.name())
        .env("TMPDIR", temporary)
        .env("HOMEWARD_CLI", session.checkout.root.join("homeward"))
        .spawn()
        .with_context(|| format!("cannot run {}", python.display()))?;
    let identity = Identity::of(child.id());
    let deadline = Instant::now() + Duration::from_secs(MINUTES_MAX * 60);
    let mut status = None;
    let done = || {
        status = child.try_wait().transpose();
        status.is_some() || session.stop.asked()
    };
    let in_time = wait_until(deadline.saturating_duration_since(Instant::now()), done);
    if status.is_none()
        && let Some(identity) = identity
    {
        identity.end(Signal::TERM, PATIENCE);
        child.wait()?;
    }
    session.stop.check()?;
    if !in_time {
        bail!("it took more than {MINUTES_MAX} minutes");
    }
    match status {
        Some(Ok(status)) if !status.success() => bail!("{status}"),
        Some(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// A script of `tests/cluster`, told to stop when this command dies.
fn script(checkout: &Checkout, python: impl AsRef<OsStr>, name: &str) -> Command {
    let mut command = Command::new(MYSELF);
    command
        .args(["child", "--signal", "15", "--parent"])
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(python)
        .arg(checkout.root.join(format!("tests/cluster/{name}.py")))
        .current_dir(&checkout.root)
        .env("HOMEWARD_TOOLS", tools_folder(checkout))
        .stdin(Stdio::null());
    command
}

/// Where the programs lie; somebody may share them between checkouts.
fn tools_folder(checkout: &Checkout) -> PathBuf {
    let given = std::env::var_os("HOMEWARD_TOOLS").filter(|given| !given.is_empty());
    given.map_or_else(|| checkout.tools().join("cluster"), PathBuf::from)
}

/// An empty folder that nobody else reads.
fn empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Every process that was given this folder for its temporary files, and its name.
fn processes_of(temporary: &Path) -> Vec<(Identity, String)> {
    let mark = [b"TMPDIR=", temporary.as_os_str().as_encoded_bytes()].concat();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let variables = fs::read(entry.path().join("environ")).ok()?;
        if !variables.split(|byte| *byte == 0).any(|line| line == mark) {
            return None;
        }
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        Some((Identity::of(pid)?, name.trim().to_owned()))
    });
    found.collect()
}
