//! `homeward keys`: the service that signs tokens carries it out.

use std::{
    ffi::OsString,
    process::{ExitCode, Stdio},
};

use anyhow::Context;

use super::{Base, events, plan_of};
use crate::{checkout::Checkout, os::signals::Stop, stack::plan::Plan};

/// The command of a service that this one calls.
const COMMAND: &str = "keys";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    base: Base,
    /// Prints JSON, a value per line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Lists the keys that sign access tokens, signed, or are about to.
    List,
    /// Publishes a new key; it signs when every verifier must know it.
    Rotate,
    /// Takes a key that does not sign out of the key set, and deletes it.
    Retire {
        /// Its id, as `list` shows it.
        kid: String,
        /// Also if its tokens may be valid: they are void within minutes.
        #[arg(long)]
        leaked: bool,
    },
}

impl Args {
    /// The same for a service.
    fn arguments(&self) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec![COMMAND.into()];
        match &self.action {
            Action::List => line.push("list".into()),
            Action::Rotate => line.push("rotate".into()),
            Action::Retire { kid, leaked } => {
                line.push("retire".into());
                line.extend(leaked.then(|| "--leaked".into()));
                // An id may begin with a hyphen.
                line.extend(["--".into(), kid.into()]);
            }
        }
        if self.json {
            line.insert(1, "--json".into());
        }
        line
    }
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let (_, plan) = plan_of(checkout, args.base.port_base)?;
    let service = service(&plan)?;
    let mut child = events::start(&plan, service, &args.arguments(), Stdio::inherit())?;
    let done = child.wait()?.success();
    stop.check()?;
    Ok(if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn service(plan: &Plan) -> anyhow::Result<&str> {
    let mut services = plan.services.iter();
    let service = services.find(|service| service.has_command(COMMAND));
    let service = service.context("no service of this stack signs tokens")?;
    Ok(&service.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_asked_what_the_command_was_asked() {
        let args = Args {
            base: Base { port_base: 4600 },
            json: true,
            action: Action::Retire {
                kid: "-x".to_owned(),
                leaked: true,
            },
        };
        let expected = "keys --json retire --leaked -- -x";
        assert_eq!(args.arguments(), expected.split(' ').collect::<Vec<_>>());
    }
}
