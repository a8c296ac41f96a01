mod footprint;
mod images;

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    checkout::{Checkout, Folder},
    image::build,
    os::{
        hash, ports,
        process::{Identity, MYSELF, Signal},
        secret,
        signals::{Stop, wait_until},
    },
    packages::{self, Need},
    progress::Progress,
    stack::{
        kafka::{self, Kafka, metadata},
        postgres::Postgres,
        process::Spec,
        redis::{self, Redis},
        supervisor::{lock, tail},
    },
};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Subcommand)]
pub(crate) enum What {
    /// The relay, beside the raw rates of what it does.
    Outbox(Rest),
    /// The BFF, beside the same by hand and Apollo Server.
    Graphql(Rest),
    /// Logins that fail: whether time tells an unknown name from a wrong password.
    Login(Rest),
    /// Size, memory and start of each service and of the whole stack; writes the table of docs/operations.md.
    Footprint(footprint::Args),
    /// Size of the program and of the image of each service.
    Images,
}

#[derive(clap::Args)]
pub(crate) struct Rest {
    /// Further arguments for it, after `--`; `-- --help` lists them.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Outbox,
    Graphql,
    Login,
}

impl Name {
    fn word(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Graphql => "graphql",
            Self::Login => "login",
        }
    }
}

pub(crate) fn run(checkout: &Checkout, what: &What) -> anyhow::Result<ExitCode> {
    match what {
        What::Outbox(rest) => beside_peers(checkout, Name::Outbox, &rest.rest),
        What::Graphql(rest) => beside_peers(checkout, Name::Graphql, &rest.rest),
        What::Login(rest) => beside_peers(checkout, Name::Login, &rest.rest),
        What::Footprint(args) => footprint::run(checkout, args),
        What::Images => images::run(checkout),
    }
}

/// With servers that nobody else uses; Postgres as durable as that of `up`.
fn beside_peers(checkout: &Checkout, name: Name, rest: &[String]) -> anyhow::Result<ExitCode> {
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
    if name == Name::Graphql {
        install_apollo(checkout)?;
    }
    let program = release(checkout, &["bench"])?.join("bench");
    let outcome = measure(checkout, &folder, &program, name, rest, &stop);
    let purged = folder.purge();
    outcome.and_then(|code| purged.map(|()| code))
}

/// Built as for images, so that what is measured is what is shipped.
fn release(checkout: &Checkout, beside: &[&str]) -> anyhow::Result<PathBuf> {
    eprintln!("building as for images, which takes minutes the first time");
    let mut names = checkout.services()?;
    names.extend(beside.iter().map(|&name| name.to_owned()));
    build::programs(checkout, &names, None)
}

/// Installs what the lock file of the peer lists, once.
fn install_apollo(checkout: &Checkout) -> anyhow::Result<()> {
    let folder = checkout.root.join("bench/apollo");
    let wanted = hash::hex(&fs::read(folder.join("package-lock.json"))?);
    let installed = folder.join("node_modules/.installed");
    if fs::read_to_string(&installed).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    let status = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .arg("--loglevel=error")
        .current_dir(&folder)
        .stdin(Stdio::null())
        .status()
        .context("cannot run npm: Node 20 or newer is needed, with npm")?;
    if !status.success() {
        bail!("npm failed");
    }
    fs::write(installed, wanted)?;
    Ok(())
}

fn measure(
    checkout: &Checkout,
    folder: &Folder,
    program: &PathBuf,
    name: Name,
    rest: &[String],
    stop: &Stop,
) -> anyhow::Result<ExitCode> {
    let mut bench = Command::new(program);
    bench
        .arg(name.word())
        .args(rest)
        .env("SEAL_KEY", secret::random()?)
        .env("ENVIRONMENT", "test")
        .env("LOG_FORMAT", "human")
        .env("LOG_LEVEL", "warn,platform::runtime=error,sqlx=error")
        // What it starts is to die with it.
        .env("HOMEWARD_CLI", fs::read_link(MYSELF)?)
        .env("HOMEWARD_ROOT", &checkout.root)
        .stdin(Stdio::null());

    let kafka = Kafka::throwaway(checkout, folder, (ports::any()?, ports::any()?))?;
    kafka.prepare()?;
    let _kafka = Started::from(&kafka.spec())?;
    bench.env("KAFKA_BROKERS", kafka.brokers());
    let mut started = Vec::new();
    match name {
        Name::Outbox | Name::Login => {
            let postgres = Postgres::durable(folder, ports::any()?)?;
            postgres.prepare()?;
            started.push(Started::from(&postgres.spec())?);
            until(&postgres.spec(), || {
                postgres.sql("postgres", "SELECT 1").is_ok()
            })?;
            bench
                .env("DATABASE_URL", postgres.url())
                .env("TEST_DATABASE_URL", postgres.url())
                .env("TEST_KAFKA_BROKERS", kafka.brokers());
        }
        Name::Graphql => {
            let redis = Redis::new(folder, ports::any()?)?;
            redis.prepare()?;
            started.push(Started::from(&redis.spec())?);
            until(&redis.spec(), || {
                redis::serves(redis.port, Duration::from_secs(2)).is_ok()
            })?;
            bench.env("REDIS_URL", redis.url());
        }
    }
    until(&kafka.spec(), || {
        metadata::brokers(kafka.port, Duration::from_secs(2)).is_ok_and(|count| count > 0)
    })?;
    let mut bench = bench
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
