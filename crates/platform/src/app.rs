//! The `main` of every service.

use std::{collections::BTreeMap, ffi::OsString, io::Write, process::ExitCode, time::Duration};

use clap::{ArgMatches, Args, Command};
use futures_util::{FutureExt, future::LocalBoxFuture};
use platform_contract::{EventType, Service};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, CommonArgs, Variables, Whole},
    describe::{Events, describe},
    logging,
    runtime::Runtime,
    shutdown,
};

/// A configuration that cannot be used, and a command line that cannot be read.
const EXIT_CODE_USAGE: u8 = 2;

/// For blocking work that outlives the servers; the process does not wait for more.
const BLOCKING_TIME_MAX: Duration = Duration::from_millis(100);

/// A service as a program: `X` serves, `X migrate` runs a command, `X describe` says what it is,
/// `X --help` describes every option.
pub struct App<C> {
    name: &'static str,
    services: &'static [&'static Service],
    events: Option<Events>,
    commands: BTreeMap<&'static str, Subcommand<C>>,
}

struct Subcommand<C> {
    line: Command,
    run: Box<Run<C>>,
}

/// How logging begins, for a server and for a command.
struct Loggers {
    serving: fn(&'static str, &CommonArgs),
    command: fn(&'static str, &CommonArgs),
}

type Run<C> = dyn FnOnce(C, &ArgMatches) -> LocalBoxFuture<'static, anyhow::Result<()>>;

impl<C: Args + 'static> App<C> {
    /// A service by its one name: of binary, database, chart values and metrics.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            services: &[],
            events: None,
            commands: BTreeMap::new(),
        }
    }

    /// The gRPC services that `describe` tells of.
    #[must_use]
    pub fn services(mut self, services: &'static [&'static Service]) -> Self {
        self.services = services;
        self
    }

    /// What the service has to do with events, of those in `contract`: `describe` tells which topics
    /// it publishes to, as the owner of their events, and which it `hears`. It can read no other,
    /// since the broker would refuse it what its description does not name.
    #[must_use]
    pub fn events(
        mut self,
        contract: &'static [EventType],
        hears: &'static [&'static str],
    ) -> Self {
        self.events = Some(Events { contract, hears });
        self
    }

    /// Adds a command that does one thing and ends.
    #[must_use]
    pub fn command(
        self,
        name: &'static str,
        about: &'static str,
        run: impl AsyncFnOnce(C) -> anyhow::Result<()> + 'static,
    ) -> Self {
        self.command_with::<Nothing>(name, about, async |config, Nothing {}| run(config).await)
    }

    /// Adds a command with arguments of its own.
    #[must_use]
    pub fn command_with<A: Args + 'static>(
        mut self,
        name: &'static str,
        about: &'static str,
        run: impl AsyncFnOnce(C, A) -> anyhow::Result<()> + 'static,
    ) -> Self {
        let command = Subcommand {
            line: A::augment_args(Command::new(name)).about(about),
            run: Box::new(|config, matches| {
                let arguments = A::from_arg_matches(matches);
                async move { run(config, arguments?).await }.boxed_local()
            }),
        };
        self.commands.insert(name, command);
        self
    }

    /// Reads command line and environment, and serves or runs the command. Without a usable
    /// configuration, all its mistakes are on stderr and the code is 2.
    pub fn main(self, start: impl AsyncFnOnce(&mut Runtime, C) -> anyhow::Result<()>) -> ExitCode {
        self.run(std::env::args_os(), &config::process_variables(), start)
            .into()
    }

    /// As [`App::main`], with command line and environment from elsewhere; returns the exit code.
    pub fn run(
        self,
        arguments: impl IntoIterator<Item = OsString>,
        variables: &Variables,
        start: impl AsyncFnOnce(&mut Runtime, C) -> anyhow::Result<()>,
    ) -> u8 {
        let loggers = Loggers {
            serving: logging::init_of_service,
            command: logging::init_of_command,
        };
        self.run_logged(arguments, variables, &loggers, start)
    }

    fn run_logged(
        mut self,
        arguments: impl IntoIterator<Item = OsString>,
        variables: &Variables,
        loggers: &Loggers,
        start: impl AsyncFnOnce(&mut Runtime, C) -> anyhow::Result<()>,
    ) -> u8 {
        let configuration = Whole::<C>::augment_args(Command::new(self.name));
        let line = config::flags(&configuration)
            .subcommands(self.commands.values().map(|command| command.line.clone()))
            .subcommand(Command::new("describe").about("Says as JSON what this service is."));
        let matches = match line.clone().try_get_matches_from(arguments) {
            Ok(matches) => matches,
            Err(error) => {
                // Help is an `error` here as well, with code 0; a closed pipe is nobody's mistake.
                let _ = error.print();
                return u8::try_from(error.exit_code()).unwrap_or(EXIT_CODE_USAGE);
            }
        };
        let command = matches.subcommand();
        if let Some(("describe", _)) = command {
            let said = describe(self.name, &configuration, &line, self.services, self.events);
            // A reader may have seen enough and be gone.
            let _ = writeln!(std::io::stdout(), "{said:#}");
            return 0;
        }
        let read = config::from_values(self.name, &configuration, variables, Some(&matches));
        let Whole { common, config } = match read {
            Ok(whole) => whole,
            Err(errors) => {
                eprintln!("{errors}");
                return EXIT_CODE_USAGE;
            }
        };
        let init_logging = match command {
            None => loggers.serving,
            Some(_) => loggers.command,
        };
        init_logging(self.name, &common);
        let runtime = match tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!("cannot start the runtime: {error}");
                return 1;
            }
        };
        let result = match command {
            None => runtime.block_on(serve(self.name, self.events, common, config, start)),
            Some((name, matches)) => match self.commands.remove(name) {
                Some(command) => runtime.block_on((command.run)(config, matches)),
                None => Err(anyhow::anyhow!("there is no command {name}")),
            },
        };
        runtime.shutdown_timeout(BLOCKING_TIME_MAX);
        match result {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!("{} failed: {error:#}", self.name);
                1
            }
        }
    }
}

async fn serve<C>(
    name: &'static str,
    events: Option<Events>,
    common: CommonArgs,
    config: C,
    start: impl AsyncFnOnce(&mut Runtime, C) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let drain = CancellationToken::new();
    shutdown::on_signals(drain.clone())?;
    raise_open_files();
    let mut runtime = Runtime::new(
        name,
        common.environment,
        common.listen_admin,
        common.shutdown_grace,
    )
    .await?;
    runtime.hear_only(events.map_or(&[], |events| events.hears));
    runtime.record_spans(&common.telemetry)?;
    tokio::select! {
        started = start(&mut runtime, config) => started?,
        () = drain.cancelled() => return Ok(()),
    }
    runtime.started()?;
    runtime.serve(drain).await
}

/// As many open files as the system allows: the usual 1,024 are for programs that wait with
/// `select`, and would be all the connections of a server.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the number of open files stays {:?}", limit.current);
    }
}

/// No arguments.
#[derive(Args)]
struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GrpcArgs, Secret};

    #[derive(Args)]
    struct Config {
        #[command(flatten)]
        _grpc: GrpcArgs,
        /// The key.
        #[arg(env = "SEAL_KEY")]
        seal_key: Secret,
    }

    #[derive(Args)]
    struct Grant {
        email: String,
    }

    fn run(arguments: &[&str], variables: &[(&str, &str)]) -> u8 {
        let variables = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        App::<Config>::new("catalog")
            .command("migrate", "Migrates.", async |config: Config| {
                anyhow::ensure!(config.seal_key.expose() == "right", "wrong key");
                Ok(())
            })
            .command_with::<Grant>("grant", "Grants.", async |_, grant| {
                anyhow::ensure!(grant.email == "a@b.de", "wrong e-mail");
                Ok(())
            })
            .run_logged(
                ["catalog"].iter().chain(arguments).map(OsString::from),
                &variables,
                // The log of a test run is not this service's.
                &Loggers {
                    serving: |_, _| {},
                    command: |_, _| {},
                },
                async |_, _| anyhow::bail!("cannot start"),
            )
    }

    #[test]
    fn a_command_gets_the_configuration_and_its_own_arguments() {
        let right = &[("SEAL_KEY", "right")];
        assert_eq!(run(&["migrate"], right), 0);
        assert_eq!(run(&["migrate"], &[("SEAL_KEY", "wrong")]), 1);
        assert_eq!(run(&["grant", "a@b.de"], right), 0);
        assert_eq!(run(&["grant", "x"], right), 1);
        assert_eq!(run(&["grant"], right), 2);
    }

    #[test]
    fn a_bad_configuration_or_line_exits_with_2_and_needs_none_to_describe() {
        assert_eq!(run(&[], &[]), 2);
        assert_eq!(run(&["--nonsense"], &[("SEAL_KEY", "right")]), 2);
        assert_eq!(run(&["describe"], &[]), 0);
        assert_eq!(run(&["--help"], &[]), 0);
    }

    #[test]
    fn a_start_that_fails_exits_with_1() {
        assert_eq!(
            run(&["--listen-admin=127.0.0.1:0"], &[("SEAL_KEY", "right")]),
            1
        );
    }
}
