//! `homeward events`: each service that has such a command carries it out.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    process::{Child, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::bail;
use serde_json::Value;

use super::{Base, plan_of};
use crate::{
    checkout::Checkout,
    os::{
        process::{Identity, Signal},
        signals::Stop,
    },
    progress::answer,
    stack::{plan::Plan, supervisor},
};

/// The command of a service that this one calls.
const COMMAND: &str = "events";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    base: Base,
    /// Asks this service only; by default, all that say or hear events.
    #[arg(long, global = true)]
    service: Option<String>,
    /// Prints JSON: an array, or a value per line while following the log.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Tells which events the services say and hear, and how far they are with them.
    List,
    /// Prints the events of the last minutes, decoded; with `--follow`, the new ones as they come.
    Tail {
        #[command(flatten)]
        of: Of,
        /// How far back to begin, such as 90s or 2h; 10m by default.
        #[arg(long, value_name = "DURATION")]
        since: Option<String>,
        /// Begins with the oldest event that is kept.
        #[arg(long, conflicts_with = "since")]
        from_beginning: bool,
        /// Waits for more instead of ending with what is there.
        #[arg(long, short)]
        follow: bool,
    },
    /// Lists parked events with their causes.
    Parked {
        #[command(flatten)]
        filter: Filter,
        /// Most events that a service lists; 100 by default.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// Tries parked events again, in order; without a filter, all.
    Redrive {
        #[command(flatten)]
        filter: Filter,
    },
    /// Gives parked events up; later ones of their keys go on without them.
    Drop {
        #[command(flatten)]
        filter: Filter,
        /// Gives up all that there are.
        #[arg(long)]
        all: bool,
    },
}

/// Which events; the services check what is given.
#[derive(clap::Args)]
struct Of {
    /// Those of one topic, as the contract names it: `events.offer`.
    #[arg(long)]
    topic: Option<String>,
    /// Those of one key.
    #[arg(long)]
    key: Option<String>,
    /// Those of one name: `offer.published`.
    #[arg(long = "type", value_name = "NAME")]
    name: Option<String>,
}

/// Which parked events.
#[derive(clap::Args)]
struct Filter {
    #[command(flatten)]
    of: Of,
    /// The one with this id in the list of parked ones.
    #[arg(long)]
    id: Option<String>,
    /// Those of one consumer.
    #[arg(long)]
    consumer: Option<String>,
    /// Those with one cause, such as `failed`.
    #[arg(long)]
    cause: Option<String>,
}

impl Action {
    /// The same for a service.
    fn arguments(&self) -> Vec<OsString> {
        let mut line = Line(vec![COMMAND.into()]);
        match self {
            Self::List => line.word("list"),
            Self::Tail {
                of,
                since,
                from_beginning,
                follow,
            } => {
                line.word("tail");
                line.of(of);
                line.option("--since", since.as_ref());
                line.flag("--from-beginning", *from_beginning);
                line.flag("--follow", *follow);
            }
            Self::Parked { filter, limit } => {
                line.word("parked");
                line.filter(filter);
                line.option("--limit", limit.as_ref());
            }
            Self::Redrive { filter } => {
                line.word("redrive");
                line.filter(filter);
            }
            Self::Drop { filter, all } => {
                line.word("drop");
                line.filter(filter);
                line.flag("--all", *all);
            }
        }
        line.0
    }

    fn follows(&self) -> bool {
        matches!(self, Self::Tail { follow: true, .. })
    }
}

struct Line(Vec<OsString>);

impl Line {
    fn word(&mut self, word: &str) {
        self.0.push(word.into());
    }

    fn flag(&mut self, name: &str, given: bool) {
        if given {
            self.word(name);
        }
    }

    /// In one word, since a value may begin with a hyphen.
    fn option(&mut self, name: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.word(&format!("{name}={}", value.to_string()));
        }
    }

    fn of(&mut self, of: &Of) {
        self.option("--topic", of.topic.as_ref());
        self.option("--key", of.key.as_ref());
        self.option("--type", of.name.as_ref());
    }

    fn filter(&mut self, filter: &Filter) {
        self.of(&filter.of);
        self.option("--id", filter.id.as_ref());
        self.option("--consumer", filter.consumer.as_ref());
        self.option("--cause", filter.cause.as_ref());
    }
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let (_, plan) = plan_of(checkout, args.base.port_base)?;
    let services = services(&plan, args.service.as_deref())?;
    let mut arguments = args.action.arguments();
    if args.json {
        arguments.push("--json".into());
    }
    let done = if args.action.follows() {
        together(&plan, &services, &arguments, &stop)?
    } else {
        one_by_one(&plan, &services, &arguments, args.json, &stop)?
    };
    Ok(if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn services<'a>(plan: &'a Plan, only: Option<&str>) -> anyhow::Result<Vec<&'a str>> {
    let able: Vec<&str> = plan
        .services
        .iter()
        .filter(|service| service.has_command(COMMAND))
        .map(|service| service.name.as_str())
        .collect();
    match only {
        None => Ok(able),
        Some(only) => match able.iter().find(|name| **name == only) {
            Some(name) => Ok(vec![*name]),
            None => bail!(
                "{only} neither says nor hears events; {} do",
                able.join(", ")
            ),
        },
    }
}

/// Starts the command of a service, with the environment that the service has in this stack.
pub(super) fn start(
    plan: &Plan,
    service: &str,
    arguments: &[OsString],
    out: Stdio,
) -> anyhow::Result<Child> {
    let mut launch = supervisor::command(plan, service, arguments.to_vec())?;
    // Complaints are for whoever called.
    launch
        .env
        .entry("LOG_FORMAT".to_owned())
        .or_insert_with(|| "human".to_owned());
    Ok(launch.start_in_front(out)?)
}

fn one_by_one(
    plan: &Plan,
    services: &[&str],
    arguments: &[OsString],
    json: bool,
    stop: &Stop,
) -> anyhow::Result<bool> {
    let mut values: Vec<Value> = Vec::new();
    let mut done = true;
    for service in services {
        stop.check()?;
        let mut child = start(plan, service, arguments, Stdio::piped())?;
        let out = child.stdout.take();
        for line in out.into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let line = line?;
            if json {
                values.push(serde_json::from_str(&line)?);
            } else {
                answer(&line);
            }
        }
        done &= child.wait()?.success();
    }
    stop.check()?;
    if json {
        answer(&serde_json::to_string_pretty(&values)?);
    }
    Ok(done)
}

/// All at once, until they end or somebody asks to stop.
fn together(
    plan: &Plan,
    services: &[&str],
    arguments: &[OsString],
    stop: &Stop,
) -> anyhow::Result<bool> {
    let mut children = Vec::new();
    for service in services {
        children.push(start(plan, service, arguments, Stdio::inherit())?);
    }
    let mut done = true;
    while !children.is_empty() && !stop.asked() {
        children.retain_mut(|child| match child.try_wait() {
            Ok(None) => true,
            ended => {
                done &= ended.is_ok_and(|status| status.is_some_and(|status| status.success()));
                false
            }
        });
        thread::sleep(Duration::from_millis(50));
    }
    for mut child in children {
        if let Some(identity) = Identity::of(child.id()) {
            identity.signal(Signal::TERM);
        }
        child.wait()?;
    }
    stop.check()?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::plan::tests::plan;

    fn filter() -> Filter {
        Filter {
            of: Of {
                topic: Some("events.offer".to_owned()),
                key: Some("-x".to_owned()),
                name: None,
            },
            id: None,
            consumer: None,
            cause: Some("hole".to_owned()),
        }
    }

    #[test]
    fn a_service_is_asked_what_the_command_was_asked() {
        let parked = Action::Parked {
            filter: filter(),
            limit: Some(5),
        };
        let expected = "events parked --topic=events.offer --key=-x --cause=hole --limit=5";
        assert_eq!(parked.arguments(), expected.split(' ').collect::<Vec<_>>());
        let drop = Action::Drop {
            filter: filter(),
            all: true,
        };
        assert_eq!(drop.arguments().last().unwrap(), "--all");
    }

    #[test]
    fn services_with_the_command_are_asked_and_no_others() {
        let plan = plan("bff=1", &[]).unwrap();
        assert_eq!(services(&plan, None).unwrap(), ["catalog"]);
        assert_eq!(services(&plan, Some("catalog")).unwrap(), ["catalog"]);
        let error = services(&plan, Some("bff")).unwrap_err().to_string();
        assert!(error.contains("catalog do"), "{error}");
    }
}
