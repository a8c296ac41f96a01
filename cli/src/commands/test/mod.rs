//! `homeward test`: everything that must pass, a stage at a time.

pub(crate) mod broker;
mod build;
mod cache;
pub(crate) mod database;
mod e2e;

use std::{
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{
    checkout::{Checkout, Folder},
    os::signals::{Interrupted, Stop},
    packages::{self, Need},
    stack::supervisor,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs these stages only; what they need of others they do themselves.
    #[arg(long, value_name = "STAGE,...", value_delimiter = ',')]
    only: Vec<Stage>,
    /// Of the crates' tests, runs those of this service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Of the end-to-end tests, runs those whose name contains this.
    #[arg(long, value_name = "TEXT")]
    script: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Every file is formatted.
    Format,
    /// Programs and tests, in one build.
    Build,
    /// The compiler and clippy have no complaint; told by the build.
    Lints,
    /// `cargo test`, with a Postgres, a Redis and a Kafka of its own.
    Tests,
    /// The scripts of `tests/e2e`, against a whole stack.
    E2e,
}

pub(crate) use e2e::python_for;

/// How a stage or a part of it ended.
struct Outcome {
    name: String,
    seconds: f64,
    result: Result<(), String>,
}

/// What all stages share.
pub(crate) struct Session<'a> {
    pub(crate) checkout: &'a Checkout,
    pub(crate) folder: Folder,
    pub(crate) stop: Stop,
    outcomes: Vec<Outcome>,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let wanted = |stage| args.only.is_empty() || args.only.contains(&stage);
    packages::ensure(Need::FOR_TEST)?;
    let folder = checkout.folder("test");
    folder.make()?;
    let Some(_lock) = supervisor::lock(&folder)? else {
        bail!("another `test` runs in this checkout");
    };
    let mut session = Session::new(checkout, folder)?;
    let done = stages(&mut session, args, &wanted);
    session.finish(done)
}

fn stages(
    session: &mut Session<'_>,
    args: &Args,
    wanted: &dyn Fn(Stage) -> bool,
) -> anyhow::Result<()> {
    if wanted(Stage::Format) {
        session.stage("format", |session| {
            session.cargo(&["fmt", "--all", "--check"], &[])
        })?;
    }
    let mut warnings = None;
    if wanted(Stage::Build) || wanted(Stage::Lints) {
        session.stage("build", |session| {
            warnings = Some(build::run(session)?);
            Ok(())
        })?;
    }
    if wanted(Stage::Lints) {
        session.stage("lints", |_| build::judge(warnings.as_ref()))?;
    }
    if !(wanted(Stage::Tests) || wanted(Stage::E2e)) || session.failed("build") {
        return Ok(());
    }
    if wanted(Stage::Tests) {
        session.stage("tests", |session| {
            let broker = broker::Broker::start(session)?;
            let database = database::Database::start(session)?;
            let cache = cache::Cache::start(session)?;
            broker.until_ready()?;
            let variables = [
                ("TEST_DATABASE_URL", database.url()),
                ("TEST_REDIS_URL", cache.url()),
                ("TEST_KAFKA_BROKERS", broker.address()),
                build::wrapper(),
                build::lints(),
            ];
            let variables = variables
                .each_ref()
                .map(|(name, value)| (*name, value.as_str()));
            let Some(service) = &args.service else {
                return session.cargo(&["test", "--workspace", "--no-fail-fast"], &variables);
            };
            // Its tests start and kill the program itself.
            session.cargo(&["build", "--workspace", "--bin", service], &variables)?;
            session.cargo(&["test", "--workspace", "--bin", service], &variables)
        })?;
    }
    if wanted(Stage::E2e) {
        e2e::run(session, args.script.as_deref())?;
    }
    Ok(())
}

impl<'a> Session<'a> {
    pub(crate) fn new(checkout: &'a Checkout, folder: Folder) -> anyhow::Result<Self> {
        Ok(Self {
            checkout,
            folder,
            stop: Stop::on_signals()?,
            outcomes: Vec::new(),
        })
    }

    /// Prints how each stage ended; one that failed fails the command.
    pub(crate) fn finish(self, done: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
        self.summary();
        done?;
        let failed = self.outcomes.iter().any(|outcome| outcome.result.is_err());
        Ok(if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    /// Runs a stage and notes how it ended; only an interruption ends the session.
    pub(crate) fn stage(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.stop.check()?;
        eprintln!("\n== {name}");
        let began = Instant::now();
        let result = work(self);
        if let Err(error) = &result
            && error.is::<Interrupted>()
        {
            return result;
        }
        let seconds = began.elapsed().as_secs_f64();
        let result = result.map_err(|error| format!("{error:#}"));
        match &result {
            Ok(()) => eprintln!("== {name}: passed, {seconds:.1} s"),
            Err(why) => eprintln!("== {name}: FAILED, {seconds:.1} s: {why}"),
        }
        self.outcomes.push(Outcome {
            name: name.to_owned(),
            seconds,
            result,
        });
        Ok(())
    }

    fn failed(&self, name: &str) -> bool {
        self.outcomes
            .iter()
            .any(|outcome| outcome.name == name && outcome.result.is_err())
    }

    fn summary(&self) {
        if self.outcomes.is_empty() {
            return;
        }
        eprintln!();
        for outcome in &self.outcomes {
            let word = if outcome.result.is_ok() {
                "passed"
            } else {
                "FAILED"
            };
            eprintln!("{word}  {:>7.1} s  {}", outcome.seconds, outcome.name);
        }
        let total: f64 = self.outcomes.iter().map(|outcome| outcome.seconds).sum();
        eprintln!("        {total:>7.1} s  in all");
    }

    fn cargo(&self, args: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.args(args).envs(variables.iter().copied());
        self.command(cargo, &format!("cargo {}", args.join(" ")))
    }

    /// Runs a command in the root of the checkout and demands that it succeeds.
    fn command(&self, mut command: Command, title: &str) -> anyhow::Result<()> {
        let mut child = command
            .current_dir(&self.checkout.root)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {title}"))?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if self.stop.asked() {
                let _ = child.kill();
                let _ = child.wait();
            }
            self.stop.check()?;
            thread::sleep(Duration::from_millis(50));
        };
        self.stop.check()?;
        if !status.success() {
            bail!("{title}: {status}");
        }
        Ok(())
    }

    fn root(&self) -> &Path {
        &self.checkout.root
    }
}
