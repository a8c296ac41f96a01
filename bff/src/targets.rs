//! Where the services are: an address for each that the contracts have, so that a new one is no
//! edit here.

use std::collections::BTreeMap;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use platform::client::GrpcTarget;

/// The addresses of all services by name, each from its variable: `GRPC_CATALOG`.
#[derive(Clone, Debug)]
pub(crate) struct Targets(pub(crate) BTreeMap<&'static str, GrpcTarget>);

/// Every service of the contracts, once.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let names: BTreeMap<_, _> = api::SERVICES.iter().map(|s| (s.name, ())).collect();
    names.into_keys()
}

/// As everybody calls it who is told where a service is.
pub(crate) fn variable(service: &str) -> String {
    format!("GRPC_{}", service.to_uppercase().replace('-', "_"))
}

fn id(service: &str) -> String {
    variable(service).to_lowercase()
}

impl Args for Targets {
    fn augment_args(command: Command) -> Command {
        command.args(names().map(|service| {
            Arg::new(id(service))
                .env(variable(service))
                .required(true)
                .value_parser(value_parser!(GrpcTarget))
                .help(format!("Addresses of `{service}`, separated by commas"))
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Targets::augment_args(command)
    }
}

impl FromArgMatches for Targets {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Targets, clap::Error> {
        let target = |service| -> Result<_, clap::Error> {
            let target = matches.get_one::<GrpcTarget>(&id(service)).cloned();
            let missing = || clap::Error::new(ErrorKind::MissingRequiredArgument);
            Ok((service, target.ok_or_else(missing)?))
        };
        names().map(target).collect::<Result<_, _>>().map(Targets)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Targets::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use platform_testkit::Vars;

    use super::*;

    fn vars() -> Vars {
        let url = |service: &str| format!("http://{service}:8081");
        names()
            .map(|service| (variable(service), url(service)))
            .collect()
    }

    #[test]
    fn every_service_of_the_contracts_has_its_address() {
        let Targets(targets) = platform::config::parse("bff", &vars()).unwrap();
        assert_eq!(targets.len(), vars().len());
        for service in ["catalog", "identity", "recommendations"] {
            assert_eq!(
                targets[service].to_string(),
                format!("http://{service}:8081")
            );
        }
    }

    #[test]
    fn one_that_is_missing_or_wrong_is_named() {
        let mut vars = vars();
        vars.remove("GRPC_CATALOG");
        vars.insert("GRPC_IDENTITY".to_owned(), "identity".to_owned());
        let errors = platform::config::parse::<Targets>("bff", &vars).unwrap_err();
        let named: Vec<_> = errors
            .mistakes
            .iter()
            .map(|mistake| mistake.variable.as_str())
            .collect();
        assert_eq!(named, ["GRPC_CATALOG", "GRPC_IDENTITY"]);
    }
}
