//! `bench graphql`: what the edge costs, beside the same by hand, Apollo Server, bare axum and a raw client.
//!
//! Servers are processes of their own and are charged with the time that they had a processor, so that who
//! asks, and what stands behind them, costs nothing. Wants a Redis, and a Kafka for the BFF:
//! `./homeward bench graphql` starts such.

mod bare;
mod by_hand;
mod caches;
mod lists;
mod load;
mod memory;
mod overload;
mod process;
mod rows;
mod upstream;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use platform::App;
use platform::config::{at_least_one, duration};
use platform_cache::RedisArgs;
use platform_testkit::Issuer;

use load::Target;
use process::Process;
use upstream::Upstream;

const PATIENCE: Duration = Duration::from_secs(30);

/// Where everything is.
#[derive(clap::Args)]
pub(crate) struct Config {
    #[command(flatten)]
    redis: RedisArgs,

    /// The checkout: contracts, and the peer on Node.
    #[arg(env = "HOMEWARD_ROOT", default_value = ".")]
    root: PathBuf,
}

/// What is measured, and for how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each server is asked in one pass.
    #[arg(long, default_value = "4s", value_parser = duration)]
    time: Duration,
    /// Passes, there and back in turn.
    #[arg(long, default_value_t = 4, value_parser = at_least_one)]
    passes: usize,
    /// Connections, and so requests at once.
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    connections: usize,
    /// Different documents before memory is looked at again.
    #[arg(long, default_value_t = 100_000)]
    documents: u64,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// A page of offers, beside the same by hand and Apollo Server.
    Lists,
    /// A request that asks for nothing, beside bare axum.
    Probe,
    /// A token that was verified before, and a value that lies in Redis.
    Caches,
    /// Memory of the BFF.
    Memory,
    /// What becomes of requests when there are too many.
    Overload,
}

/// The program that measures, and the peers that are ours. Their configurations are not the service's.
pub(crate) fn main(command: &str) -> Option<ExitCode> {
    let nothing = "this is a command";
    Some(match command {
        "graphql" => App::<Config>::new("bench")
            .command_with("graphql", "Measures the BFF.", run)
            .main(async |_, _| bail!(nothing)),
        "by-hand" => App::<by_hand::Config>::new("bench")
            .command("by-hand", "Serves one list, by hand.", by_hand::run)
            .main(async |_, _| bail!(nothing)),
        "bare" => App::<bare::Config>::new("bench")
            .command("bare", "Serves one constant.", bare::run)
            .main(async |_, _| bail!(nothing)),
        _ => return None,
    })
}

async fn run(config: Config, args: Args) -> anyhow::Result<()> {
    let bench = Bench {
        upstream: Upstream::start().await?,
        issuer: Issuer::start().await,
        programs: std::env::current_exe()?
            .parent()
            .context("a program lies in a folder")?
            .to_owned(),
        config,
        args,
    };
    bench.head();
    // What is too slow is told when everything was measured.
    let mut slow = Vec::new();
    if bench.wants(Part::Lists) {
        slow = lists::lists(&bench).await?;
    }
    if bench.wants(Part::Probe) {
        lists::probe(&bench).await?;
    }
    if bench.wants(Part::Caches) {
        caches::token(&bench).await?;
        caches::redis(&bench).await?;
    }
    if bench.wants(Part::Memory) {
        memory::measure(&bench).await?;
    }
    if bench.wants(Part::Overload) {
        overload::measure(&bench).await?;
    }
    ensure!(
        slow.is_empty(),
        "slower than it should be: {}",
        slow.join(", ")
    );
    Ok(())
}

struct Bench {
    config: Config,
    args: Args,
    upstream: Upstream,
    issuer: Issuer,
    /// The folder of the programs, which were built together.
    programs: PathBuf,
}

impl Bench {
    fn wants(&self, part: Part) -> bool {
        self.args.only.is_empty() || self.args.only.contains(&part)
    }

    fn head(&self) {
        let locked = [
            "async-graphql",
            "axum",
            "fred",
            "hyper",
            "tonic",
            "prost",
            "tokio",
        ]
        .map(version);
        println!(
            "graphql: {} connections, {} passes of {:?}; {}; {} CPUs{}\n",
            self.args.connections,
            self.args.passes,
            self.args.time,
            locked.join(", "),
            std::thread::available_parallelism().map_or(0, usize::from),
            if cfg!(debug_assertions) {
                ", NOT A RELEASE BUILD"
            } else {
                ""
            },
        );
    }

    /// A token of somebody.
    fn token(&self) -> Arc<str> {
        self.issuer.user("user-mover").sign().into()
    }

    /// The BFF as in production, with `more` in its environment; without rate limits, unless `more` has some.
    async fn bff(&self, more: &[(&str, &str)]) -> anyhow::Result<Process> {
        let mut variables = self.trust();
        variables.extend(
            [
                ("ENVIRONMENT", "production"),
                ("PUBLIC_URL", "https://bench.example"),
            ]
            .map(owned),
        );
        variables
            .extend(["RATE_ADDRESS", "RATE_USER", "RATE_COST"].map(|rate| owned((rate, "off"))));
        variables.extend(more.iter().copied().map(owned));
        let bff = self.programs.join("bff");
        ensure!(
            bff.is_file(),
            "{} is missing: build it as well",
            bff.display()
        );
        let variables = variables
            .iter()
            .map(|(name, value)| (&**name, value.clone()));
        self.started(Process::start(&bff, &[], variables)?, lists::PROBE)
            .await
    }

    /// A peer that is ours: a command of this program.
    async fn peer(&self, command: &str, probe: lists::Probe) -> anyhow::Result<Process> {
        let program = std::env::current_exe()?;
        let variables = self.trust();
        let variables = variables
            .iter()
            .map(|(name, value)| (&**name, value.clone()));
        let process = Process::start(&program, &[OsStr::new(command)], variables)?;
        self.started(process, probe).await
    }

    async fn apollo(&self) -> anyhow::Result<Process> {
        let server = self.config.root.join("bench/apollo/server.mjs");
        let variables = [
            ("NODE_ENV", "production".to_owned()),
            ("ROOT", self.config.root.display().to_string()),
            ("UPSTREAM", self.upstream.addr.to_string()),
        ];
        let process = Process::start(Path::new("node"), &[server.as_os_str()], variables)?;
        self.started(process, lists::PROBE).await
    }

    /// Whose tokens are believed, and what stands behind.
    fn trust(&self) -> Vec<(String, String)> {
        let upstream = format!("http://{}", self.upstream.addr);
        let services = api::SERVICES.iter().map(|service| {
            let name = service.name.to_uppercase().replace('-', "_");
            (format!("GRPC_{name}"), upstream.clone())
        });
        let log = [("LOG_LEVEL", "error"), ("LOG_FORMAT", "json")].map(owned);
        self.issuer
            .vars()
            .into_iter()
            .chain(services)
            .chain(log)
            .collect()
    }

    /// Waits for the first answer.
    async fn started(&self, mut process: Process, probe: lists::Probe) -> anyhow::Result<Process> {
        let target = self.target(&process, probe);
        let began = Instant::now();
        while let Err(error) = target.ask(1).await {
            process.alive()?;
            if began.elapsed() > PATIENCE {
                return Err(error.context("a server does not start"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(process)
    }

    fn target(&self, process: &Process, (path, body): lists::Probe) -> Target {
        Target {
            addr: process.addr,
            path,
            token: self.token(),
            body,
        }
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The version of a library that was built in.
fn version(name: &str) -> String {
    let locked = include_str!("../../Cargo.lock");
    let entry = locked.split_once(&format!("name = \"{name}\"\nversion = \""));
    let version = entry.and_then(|(_, rest)| rest.split('"').next());
    format!("{name} {}", version.unwrap_or("?"))
}
