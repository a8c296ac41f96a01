//! Which process gets which port.
//!
//! Port base +0..9 BFF, +10..19 identity's HTTP, +20 Postgres, +21 Redis, +22 and +23 Kafka, +29 a
//! collector of spans in tests, from +30 gRPC and admin ports. The first replicas of all services come first, so that their
//! ports do not depend on `--replicas`.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context, bail};

use super::{
    describe::Description,
    kafka::Kafka,
    postgres::Postgres,
    redis::Redis,
    replicas::Replicas,
    state::{Environment, Wanted},
};
use crate::{
    checkout::{Checkout, Folder},
    os::ports,
};

pub(crate) const DEFAULT_BASE: u16 = 4600;
/// Ports that one stack may use.
pub(crate) const SPAN: u16 = 100;
const IDENTITY: u16 = 10;
const POSTGRES: u16 = 20;
const REDIS: u16 = 21;
const KAFKA: u16 = 22;
const COLLECTOR: u16 = 29;
const SERVICES: u16 = 30;

/// All there is to know before anything is started.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) checkout: Checkout,
    pub(crate) folder: Folder,
    pub(crate) port_base: u16,
    /// Where the built programs lie.
    pub(crate) programs: PathBuf,
    pub(crate) services: Vec<Description>,
    /// Of all services, whether they are started or not: others hold their addresses.
    pub(crate) endpoints: Vec<Endpoint>,
    /// The services to start.
    pub(crate) started: BTreeSet<String>,
    /// What services are given besides.
    pub(crate) environment: Environment,
}

/// Where one replica of a service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) service: String,
    /// From 1.
    pub(crate) replica: u16,
    pub(crate) grpc: Option<u16>,
    pub(crate) http: Option<u16>,
    pub(crate) admin: u16,
}

impl Plan {
    pub(crate) fn new(
        checkout: &Checkout,
        port_base: u16,
        programs: PathBuf,
        services: Vec<Description>,
        wanted: &Wanted,
    ) -> anyhow::Result<Self> {
        let Wanted { replicas, only, .. } = wanted;
        let known: BTreeSet<&str> = services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        for name in replicas.names().chain(only.iter().map(String::as_str)) {
            if !known.contains(name) {
                let known: Vec<&str> = known.into_iter().collect();
                bail!(
                    "there is no service {name:?}; there are {}",
                    known.join(", ")
                );
            }
        }
        let started = services
            .iter()
            .map(|service| service.name.clone())
            .filter(|name| only.is_empty() || only.contains(name))
            .collect();
        Ok(Self {
            checkout: checkout.clone(),
            folder: checkout.folder(port_base),
            port_base,
            programs,
            endpoints: endpoints(port_base, &services, replicas)?,
            services,
            started,
            environment: wanted.environment.clone(),
        })
    }

    /// Postgres, if a started service needs it.
    pub(crate) fn postgres(&self) -> anyhow::Result<Option<Postgres>> {
        let postgres = || Postgres::durable(&self.folder, postgres_port(self.port_base));
        self.needs("postgres").then(postgres).transpose()
    }

    /// Redis, if a started service needs it.
    pub(crate) fn redis(&self) -> anyhow::Result<Option<Redis>> {
        let redis = || Redis::new(&self.folder, redis_port(self.port_base));
        self.needs("redis").then(redis).transpose()
    }

    /// Kafka, if a started service needs it.
    pub(crate) fn kafka(&self) -> anyhow::Result<Option<Kafka>> {
        let kafka = || Kafka::durable(&self.checkout, &self.folder, kafka_ports(self.port_base));
        self.needs("kafka").then(kafka).transpose()
    }

    fn needs(&self, what: &str) -> bool {
        self.started_services().any(|service| service.needs(what))
    }

    pub(crate) fn started_services(&self) -> impl Iterator<Item = &Description> {
        self.services
            .iter()
            .filter(|service| self.started.contains(&service.name))
    }

    pub(crate) fn started_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints
            .iter()
            .filter(|endpoint| self.started.contains(&endpoint.service))
    }

    /// Every port that the stack is about to listen on.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let of_services = self
            .started_endpoints()
            .flat_map(|endpoint| [endpoint.http, endpoint.grpc, Some(endpoint.admin)]);
        let mut ports: Vec<u16> = of_services
            .flatten()
            .chain([postgres_port(self.port_base), redis_port(self.port_base)])
            .chain(<[u16; 2]>::from(kafka_ports(self.port_base)))
            .collect();
        ports.sort_unstable();
        ports
    }

    /// One URL per replica of the BFF.
    pub(crate) fn graphql(&self) -> Vec<String> {
        let bff = self
            .started_endpoints()
            .filter(|endpoint| endpoint.service == "bff");
        bff.filter_map(|endpoint| Some(format!("{}/graphql", url(endpoint.http?))))
            .collect()
    }

    /// The address of the issuer of tokens, whether it is started here or not.
    pub(crate) fn issuer(&self) -> String {
        url(self.port_base + IDENTITY)
    }
}

pub(crate) fn postgres_port(port_base: u16) -> u16 {
    port_base + POSTGRES
}

pub(crate) fn redis_port(port_base: u16) -> u16 {
    port_base + REDIS
}

/// What a stack of so many services needs with one replica each, or a little more: known without
/// asking them.
pub(crate) fn usual_ports(port_base: u16, services: usize) -> BTreeSet<u16> {
    let (kafka, controller) = kafka_ports(port_base);
    let of_services = (port_base + SERVICES..port_base + SPAN).take(2 * services);
    [port_base, port_base + IDENTITY]
        .into_iter()
        .chain([postgres_port(port_base), redis_port(port_base)])
        .chain([kafka, controller])
        .chain(of_services)
        .collect()
}

/// A port base with nobody on any of its ports, far from those that people choose.
pub(crate) fn free_base() -> anyhow::Result<u16> {
    let mut bases = (14_600..30_000).step_by(usize::from(SPAN));
    let free = bases.find(|base| (*base..base + SPAN).all(ports::free));
    free.context("there is no free range of ports")
}

/// For clients, and for the broker's own controller.
pub(crate) fn kafka_ports(port_base: u16) -> (u16, u16) {
    (port_base + KAFKA, port_base + KAFKA + 1)
}

/// Where tests collect spans; a stack starts nothing there.
pub(crate) fn collector_port(port_base: u16) -> u16 {
    port_base + COLLECTOR
}

pub(crate) fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A port base leaves room for the ports above it; use it as `value_parser`.
pub(crate) fn port_base(text: &str) -> Result<u16, String> {
    let most = u16::MAX - SPAN;
    match text.parse() {
        Ok(base) if (1024..=most).contains(&base) => Ok(base),
        _ => Err(format!("it must be a number from 1024 to {most}")),
    }
}

fn endpoints(
    base: u16,
    services: &[Description],
    replicas: &Replicas,
) -> anyhow::Result<Vec<Endpoint>> {
    let mut next = base + SERVICES;
    let mut from_pool = || {
        let port = next;
        next += 1;
        if port < base + SPAN {
            Ok(port)
        } else {
            bail!("these are too many replicas: the {SPAN} ports of a stack are used up")
        }
    };
    let most = services
        .iter()
        .map(|service| replicas.of(&service.name))
        .max()
        .unwrap_or(0);
    let mut endpoints = Vec::new();
    for replica in 1..=most {
        for service in services
            .iter()
            .filter(|service| replica <= replicas.of(&service.name))
        {
            let grpc = if service.has_port("grpc") {
                Some(from_pool()?)
            } else {
                None
            };
            let http = match service.name.as_str() {
                _ if !service.has_port("http") => None,
                "bff" => Some(base + replica - 1),
                "identity" => Some(base + IDENTITY + replica - 1),
                _ => Some(from_pool()?),
            };
            let admin = from_pool()?;
            endpoints.push(Endpoint {
                service: service.name.clone(),
                replica,
                grpc,
                http,
                admin,
            });
        }
    }
    Ok(endpoints)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn services() -> Vec<Description> {
        serde_json::from_str(
            r#"[{"name": "bff", "ports": ["http", "admin"]},
                {"name": "catalog", "ports": ["grpc", "admin"], "needs": ["postgres", "kafka"],
                 "commands": [{"name": "events"}]},
                {"name": "identity", "ports": ["grpc", "http", "admin"], "needs": ["postgres"]}]"#,
        )
        .unwrap()
    }

    pub(crate) fn plan(replicas: &str, only: &[&str]) -> anyhow::Result<Plan> {
        let checkout = Checkout {
            root: PathBuf::from("/nowhere"),
        };
        let wanted = Wanted {
            only: only.iter().map(ToString::to_string).collect(),
            replicas: replicas.parse().unwrap(),
            ..Wanted::default()
        };
        Plan::new(&checkout, 4600, PathBuf::from("/bin"), services(), &wanted)
    }

    #[test]
    fn public_ports_are_where_the_port_base_says() {
        let plan = plan("bff=2", &[]).unwrap();
        assert_eq!(
            plan.graphql(),
            [
                "http://127.0.0.1:4600/graphql",
                "http://127.0.0.1:4601/graphql"
            ]
        );
        assert_eq!(plan.issuer(), "http://127.0.0.1:4610");
        assert_eq!(postgres_port(4600), 4620);
        assert_eq!(redis_port(4600), 4621);
        assert_eq!(kafka_ports(4600), (4622, 4623));
    }

    #[test]
    fn first_replicas_keep_their_ports_whatever_the_replicas() {
        let one = plan("bff=1", &[]).unwrap().endpoints;
        let many = plan("bff=3,catalog=2", &[]).unwrap().endpoints;
        assert_eq!(one[..], many[..3]);
        assert_eq!(one[1].grpc, Some(4631));
    }

    #[test]
    fn no_port_is_given_twice() {
        let ports = plan("bff=10,catalog=10,identity=10", &[]).unwrap().ports();
        let distinct: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(ports.len(), distinct.len());
        assert!(ports.iter().all(|port| (4600..4700).contains(port)));
    }

    #[test]
    fn the_usual_ports_hold_those_of_a_plan() {
        let plan = plan("bff=1", &[]).unwrap();
        let usual = usual_ports(4600, plan.services.len());
        assert!(plan.ports().iter().all(|port| usual.contains(port)));
        assert!(!usual.contains(&4699));
    }

    #[test]
    fn only_starts_what_is_named_and_leaves_the_addresses() {
        let plan = plan("bff=1", &["catalog"]).unwrap();
        let started: Vec<&str> = plan
            .started_services()
            .map(|service| service.name.as_str())
            .collect();
        assert_eq!(started, ["catalog"]);
        assert!(plan.graphql().is_empty());
        assert_eq!(plan.endpoints.len(), 3);
    }

    #[test]
    fn an_unknown_service_is_refused_by_name() {
        let error = plan("bff=1", &["catalogue"]).unwrap_err().to_string();
        assert!(
            error.contains("catalogue") && error.contains("bff, catalog, identity"),
            "{error}"
        );
    }

    #[test]
    fn a_port_base_leaves_room_above_it() {
        assert_eq!(port_base("4600"), Ok(4600));
        for bad in ["80", "65500", "-1", "x", "70000"] {
            assert!(port_base(bad).is_err(), "{bad}");
        }
    }
}
