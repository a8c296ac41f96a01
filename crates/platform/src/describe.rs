//! What a binary says about itself: the answer to `describe`, read by the CLI, the charts' tests
//! and the documentation, so that a new service is no edit there.

use std::collections::BTreeSet;

use clap::Command;
use platform_contract::{Access, EventType, Idempotency, Service};
use serde_json::{Value, json};

use crate::config;

/// Outside systems, by the variable that says where they are.
const NEEDS: &[(&str, &str)] = &[
    ("DATABASE_URL", "postgres"),
    ("KAFKA_BROKERS", "kafka"),
    ("REDIS_URL", "redis"),
];

const PORTS: &[(&str, &str)] = &[
    ("LISTEN_GRPC", "grpc"),
    ("LISTEN_HTTP", "http"),
    ("LISTEN_ADMIN", "admin"),
];

/// Services called, by variable: `GRPC_CATALOG` is the address of `catalog`.
const CALLS: &str = "GRPC_";

/// What a service has to do with events.
#[derive(Clone, Copy)]
pub(crate) struct Events {
    /// All events that there are.
    pub(crate) contract: &'static [EventType],
    /// The topics that are read.
    pub(crate) hears: &'static [&'static str],
}

impl Events {
    /// The topics of the events that the service alone says.
    fn publishes(&self, service: &str) -> BTreeSet<&'static str> {
        let own = |event: &&EventType| event.source.rsplit('/').next() == Some(service);
        let events = self.contract.iter().filter(own);
        events.map(|event| event.topic).collect()
    }
}

/// `configuration` has the options, `line` the commands.
pub(crate) fn describe(
    name: &str,
    configuration: &Command,
    line: &Command,
    services: &[&Service],
    events: Option<Events>,
) -> Value {
    let variables: Vec<String> = config::options(configuration)
        .map(config::variable)
        .collect();
    let present = |table: &[(&str, &'static str)]| -> Vec<&'static str> {
        let there = table
            .iter()
            .filter(|(variable, _)| variables.iter().any(|v| v == variable));
        there.map(|(_, word)| *word).collect()
    };
    let ports = present(PORTS);
    // A gateway is called synchronously, a worker by events and tasks only; it may have a gRPC port
    // for health checks.
    let methods = services.iter().any(|service| !service.methods.is_empty());
    let kind = if methods || ports.contains(&"http") {
        "gateway"
    } else {
        "worker"
    };
    let calls: Vec<String> = variables
        .iter()
        .filter_map(|variable| variable.strip_prefix(CALLS))
        .map(|called| called.to_ascii_lowercase().replace('_', "-"))
        .collect();
    json!({
        "name": name,
        "kind": kind,
        "ports": ports,
        "needs": present(NEEDS),
        "calls": calls,
        "publishes": events.map(|events| events.publishes(name)).unwrap_or_default(),
        "hears": BTreeSet::from_iter(events.map_or(&[][..], |events| events.hears)),
        "config": config::options(configuration).map(option).collect::<Vec<_>>(),
        "commands": line.get_subcommands().map(|command| json!({
            "name": command.get_name(),
            "help": command.get_about().map(ToString::to_string),
        })).collect::<Vec<_>>(),
        "services": services.iter().map(|s| service(s)).collect::<Vec<_>>(),
    })
}

fn option(arg: &clap::Arg) -> Value {
    let defaults = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy());
    let default = defaults.collect::<Vec<_>>().join(",");
    json!({
        "env": config::variable(arg),
        "default": Some(default).filter(|default| !default.is_empty()),
        "secret": config::is_secret(arg),
        "required": config::is_required(arg),
        "help": config::help(arg),
    })
}

fn service(service: &Service) -> Value {
    json!({
        "full_name": service.full_name,
        "methods": service.methods.iter().map(|method| json!({
            "path": method.path,
            "access": access(&method.access),
            "idempotency": match method.idempotency {
                Idempotency::None => "none",
                Idempotency::RequestId => "request_id",
                Idempotency::Natural => "natural",
            },
            "class": method.class.word(),
        })).collect::<Vec<_>>(),
    })
}

fn access(access: &Access) -> Value {
    match access {
        Access::Public => json!("public"),
        Access::Authenticated => json!("authenticated"),
        Access::Allowed {
            roles,
            services,
            delegation,
        } => {
            json!({ "roles": roles, "services": services, "delegation": delegation })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Args;
    use platform_contract::{Class, Method};

    use super::*;
    use crate::config::{CommonArgs, GrpcArgs, SealArgs};

    #[derive(Args)]
    struct Config {
        #[command(flatten)]
        _common: CommonArgs,
        #[command(flatten)]
        _grpc: GrpcArgs,
        #[command(flatten)]
        _seal: SealArgs,
        /// Where identity is.
        #[arg(env = "GRPC_IDENTITY")]
        _grpc_identity: String,
    }

    static SERVICE: Service = Service {
        name: "catalog",
        full_name: "homeward.catalog.v1.CatalogService",
        domain: "catalog.homeward",
        roles: &[("user-business", "seller")],
        methods: &[Method {
            name: "CastVote",
            path: "/homeward.catalog.v1.CatalogService/CastVote",
            input: "homeward.catalog.v1.CastVoteRequest",
            output: "homeward.catalog.v1.CastVoteResponse",
            access: Access::Allowed {
                roles: &["voter"],
                services: &[],
                delegation: false,
            },
            idempotency: Idempotency::RequestId,
            class: Class::Mutation,
        }],
        descriptors: &[],
    };

    #[test]
    fn a_description_says_what_the_service_needs_and_offers() {
        let configuration = Config::augment_args(Command::new("catalog"));
        let line = Command::new("catalog").subcommand(Command::new("migrate").about("Migrates."));
        let event = |topic, source| EventType {
            name: "offer.published",
            topic,
            source,
            key: "offer_id",
            schema: "homeward.catalog.v1.OfferPublished",
            voids: None,
        };
        let contract = Box::leak(Box::new([
            event("events.vote", "/homeward/catalog"),
            event("events.offer", "/homeward/catalog"),
            event("events.offer", "/homeward/catalog"),
            event("events.catalogue", "/homeward/big-catalog"),
        ]));
        let events = Events {
            contract,
            hears: &["events.user", "events.offer"],
        };
        let services: &[&Service] = &[&SERVICE];
        let said = describe("catalog", &configuration, &line, services, Some(events));
        assert_eq!(said["kind"], "gateway");
        assert_eq!(said["ports"], json!(["grpc", "admin"]));
        assert_eq!(said["needs"], json!([]));
        assert_eq!(said["calls"], json!(["identity"]));
        assert_eq!(said["publishes"], json!(["events.offer", "events.vote"]));
        assert_eq!(said["hears"], json!(["events.offer", "events.user"]));
        assert_eq!(
            said["commands"],
            json!([{ "name": "migrate", "help": "Migrates." }])
        );
        let options = said["config"].as_array().unwrap();
        let of = |env: &str| options.iter().find(|option| option["env"] == env).unwrap();
        assert_eq!(of("SEAL_KEY")["secret"], true);
        assert_eq!(of("SEAL_KEY")["required"], true);
        assert_eq!(of("LISTEN_GRPC")["default"], "127.0.0.1:8081");
        assert_eq!(of("LISTEN_GRPC")["help"], "Address of the gRPC server");
        let method = &said["services"][0]["methods"][0];
        assert_eq!(method["idempotency"], "request_id");
        assert_eq!(method["class"], "mutation");
        assert_eq!(method["access"]["roles"], json!(["voter"]));
    }

    #[test]
    fn a_service_without_a_method_is_a_worker_also_if_it_answers_health_checks() {
        let configuration = Config::augment_args(Command::new("counts"));
        let silent = Service {
            methods: &[],
            ..SERVICE
        };
        let said = describe(
            "counts",
            &configuration,
            &Command::new("counts"),
            &[&silent],
            None,
        );
        assert_eq!(said["kind"], "worker");
        assert_eq!(said["publishes"], json!([]));
        assert_eq!(said["hears"], json!([]));
    }
}
