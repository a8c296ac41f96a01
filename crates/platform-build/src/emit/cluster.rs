//! From checked contracts to what a cluster must know of them: values of charts, topics.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::MethodDescriptor;

use super::messages;
use super::yaml::Node;
use crate::load::Loaded;
use crate::names;
use crate::options::{Access, Class, Idempotency};

/// The values of each service that has a contract, and of `others`, which have none but may call
/// all that have.
pub(crate) fn charts(contracts: &Loaded, others: &[String]) -> BTreeMap<String, String> {
    let mut methods: BTreeMap<String, Vec<Node>> = BTreeMap::new();
    for service in contracts.services() {
        let of = methods
            .entry(names::deployable(service.package_name()))
            .or_default();
        of.extend(service.methods().map(|line| method(contracts, &line)));
    }
    let everybody: Vec<Node> = methods.keys().map(|name| text(name)).collect();
    let topics = topics_by_service(contracts);
    let all: BTreeSet<&String> = methods.keys().chain(topics.keys()).chain(others).collect();

    let values = |name: &String| {
        let published = topics.get(name).into_iter().flatten();
        let contract = map([
            (
                "methods",
                Node::List(methods.get(name).cloned().unwrap_or_default()),
            ),
            (
                "publishes",
                Node::List(published.map(|topic| text(topic)).collect()),
            ),
            ("everybody", Node::List(everybody.clone())),
        ]);
        let mut yaml =
            "# Made from the protos; see `platform_build::Contracts::charts`.\n".to_owned();
        map([("contract", contract)]).write(&mut yaml);
        yaml
    };
    all.into_iter()
        .map(|name| (name.clone(), values(name)))
        .collect()
}

/// Every topic as a resource of Strimzi, with the partitions and the age that services give one
/// which they make themselves; the number of partitions never changes, since keys would move. Whose
/// Kafka it is made in stands in the place of `environment` in the end.
pub(crate) fn topics(contracts: &Loaded) -> String {
    let by_service = topics_by_service(contracts);
    let names: BTreeSet<&String> = by_service.values().flatten().collect();
    let topic = |name: &String| {
        format!(
            "apiVersion: kafka.strimzi.io/v1
kind: KafkaTopic
metadata:
  name: {name}
  labels:
    strimzi.io/cluster: environment
spec:
  partitions: 12
  replicas: 3
  config:
    cleanup.policy: delete
    min.insync.replicas: 2
    retention.ms: 2592000000
"
        )
    };
    let topics: Vec<String> = names.into_iter().map(topic).collect();
    topics.join("---\n")
}

fn topics_by_service(contracts: &Loaded) -> BTreeMap<String, BTreeSet<String>> {
    let mut topics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for message in contracts.messages() {
        if let Some(event) = contracts.options.event(&message) {
            topics
                .entry(names::deployable(message.package_name()))
                .or_default()
                .insert(names::topic(&event.name));
        }
    }
    topics
}

fn method(contracts: &Loaded, method: &MethodDescriptor) -> Node {
    let class = match Class::of(method) {
        Class::Mutation => "mutation",
        Class::Read => "read",
        Class::List => "list",
    };
    let idempotency = match contracts.options.idempotency(method) {
        Some(Idempotency::RequestId) => "request_id",
        Some(Idempotency::Natural) => "natural",
        Some(Idempotency::None) | None => "none",
    };
    let access = contracts.options.access(method).unwrap_or_default();
    map([
        ("path", text(&messages::path(method))),
        ("class", text(class)),
        ("idempotency", text(idempotency)),
        ("access", allowed(&access)),
    ])
}

fn allowed(access: &Access) -> Node {
    if access.public {
        return text("public");
    }
    if access.authenticated {
        return text("authenticated");
    }
    let words = |words: &[String]| Node::List(words.iter().map(|word| text(word)).collect());
    map([
        ("roles", words(&access.roles)),
        ("services", words(&access.services)),
    ])
}

fn text(text: &str) -> Node {
    Node::Text(text.to_owned())
}

fn map<const N: usize>(entries: [(&str, Node); N]) -> Node {
    let entries = entries
        .into_iter()
        .map(|(key, node)| (key.to_owned(), node));
    Node::Map(entries.collect())
}
