//! The catalogues that readers outside go by are what the protos say.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::fs;
use std::path::{Path, PathBuf};

use api::homeward::identity::v1 as identity;
use platform_build::Contracts;
use platform_contract::{PlatformReason, Reason as _, RequestReason};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn contracts() -> Contracts {
    Contracts::new("homeward").root(root().join("proto"))
}

/// With `UPDATE=1` it is written instead; whoever does that sees in the diff what changes.
fn compare(file: &str, expected: &str) {
    let path = root().join(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "{file} is out of date: run `UPDATE=1 cargo test -p api`"
    );
}

#[test]
fn the_catalogue_of_events_is_what_the_protos_say() {
    let catalogue = contracts().asyncapi().unwrap();
    for event in api::EVENTS {
        assert!(catalogue.contains(event.name), "{} is missing", event.name);
    }
    compare("docs/events.asyncapi.yaml", &catalogue);
}

#[test]
fn the_list_of_errors_is_what_the_protos_say() {
    let list = contracts().errors().unwrap();
    let platform = PlatformReason::ALL.iter().map(|reason| reason.word());
    let request = RequestReason::ALL.iter().map(|reason| reason.word());
    let service = identity::ErrorReason::ALL
        .iter()
        .map(|reason| reason.word());
    for word in platform.chain(request).chain(service) {
        let rows = list.matches(&format!("| `{word}` |")).count();
        assert_eq!(rows, 1, "{word}");
    }
    compare("docs/errors.md", &list);
}

#[test]
fn what_charts_and_topics_say_is_what_the_protos_say() {
    let folder = root().join("charts/contracts");
    let files: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            path.file_stem().unwrap().to_string_lossy().into_owned()
        })
        .collect();
    let charts = contracts().charts(&files).unwrap();
    for service in api::SERVICES {
        for method in service.methods {
            assert!(
                charts[service.name].contains(method.path),
                "{}",
                method.path
            );
        }
    }
    for (service, values) in &charts {
        compare(&format!("charts/contracts/{service}.yaml"), values);
    }
    let topics = contracts().topics().unwrap();
    for event in api::EVENTS {
        assert!(
            topics.contains(&format!("  name: {}\n", event.topic)),
            "{}",
            event.topic
        );
    }
    compare("k8s/base/kafka/topics.yaml", &topics);
}
