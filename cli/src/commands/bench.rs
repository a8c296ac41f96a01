use std::{
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{
    checkout::{Checkout, Folder},
    os::{
        ports,
        process::{Identity, Signal},
        secret,
        signals::{Stop, wait_until},
    },
    packages::{self, Need},
    progress::Progress,
    stack::{
        kafka::{self, Kafka, metadata},
        postgres::Postgres,
        process::Spec,
        supervisor::{lock, tail},
    },
};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is measured.
    name: Name,
    /// Further arguments for it, after `--`; `-- --help` lists them.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// The relay, beside the raw rates of what it does.
    Outbox,
}

/// With a Postgres and a Kafka that nobody else uses; Postgres as durable as that of `up`.
pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    packages::ensure(Need::FOR_UP)?;
    let folder = checkout.folder("bench");
    folder.make()?;
    let Some(_lock) = lock(&folder)? else {
        bail!("another `bench` runs in this checkout");
    };
    let stop = Stop::on_signals()?;
    let mut progress = Progress::new();
    kafka::ensure(checkout, &stop, &mut progress)?;
    progress.finish();
    let program = build(checkout)?;
    let outcome = measure(checkout, &folder, &program, args, &stop);
    let purged = folder.purge();
    outcome.and_then(|code| purged.map(|()| code))
}

/// Optimised as what is released, and for that in a folder of its own.
fn build(checkout: &Checkout) -> anyhow::Result<PathBuf> {
    eprintln!("building as for a release, which takes minutes the first time");
    let status = Command::new("cargo")
        .args(["build", "--release", "--package", "bench"])
        .current_dir(&checkout.root)
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| checkout.root.join("target"));
    Ok(target.join("release/bench"))
}

fn measure(
    checkout: &Checkout,
    folder: &Folder,
    program: &PathBuf,
    args: &Args,
    stop: &Stop,
) -> anyhow::Result<ExitCode> {
    let postgres = Postgres::durable(folder, ports::any()?)?;
    postgres.prepare()?;
    let _postgres = Started::from(&postgres.spec())?;
    let kafka = Kafka::throwaway(checkout, folder, (ports::any()?, ports::any()?))?;
    kafka.prepare()?;
    let _kafka = Started::from(&kafka.spec())?;
    until(&postgres.spec(), || {
        postgres.sql("postgres", "SELECT 1").is_ok()
    })?;
    until(&kafka.spec(), || {
        metadata::brokers(kafka.port, Duration::from_secs(2)).is_ok_and(|count| count > 0)
    })?;

    let name = args
        .name
        .to_possible_value()
        .context("every name has a word")?;
    let mut bench = Command::new(program)
        .arg(name.get_name())
        .args(&args.rest)
        .env("DATABASE_URL", postgres.url())
        .env("KAFKA_BROKERS", kafka.brokers())
        .env("SEAL_KEY", secret::random()?)
        .env("ENVIRONMENT", "test")
        .env("LOG_FORMAT", "human")
        .env("LOG_LEVEL", "warn,platform::runtime=error,sqlx=error")
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let ended = loop {
        if let Some(status) = bench.try_wait()? {
            break status;
        }
        if stop.asked() {
            let _ = bench.kill();
            let _ = bench.wait();
        }
        stop.check()?;
        std::thread::sleep(Duration::from_millis(50));
    };
    Ok(if ended.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn until(spec: &Spec, condition: impl Fn() -> bool) -> anyhow::Result<()> {
    if !wait_until(PATIENCE, condition) {
        bail!("{} does not start\n{}", spec.name, tail(&spec.launch.log));
    }
    Ok(())
}

/// A process that ends with this value.
struct Started {
    child: Child,
    identity: Option<Identity>,
    stop: Signal,
}

impl Started {
    fn from(spec: &Spec) -> anyhow::Result<Self> {
        let child = spec.launch.start()?;
        Ok(Self {
            identity: Identity::of(child.id()),
            child,
            stop: spec.stop,
        })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(identity) = self.identity {
            identity.end(self.stop, Duration::from_secs(10));
        }
        let _ = self.child.wait();
    }
}
