use std::process::Command;
use std::time::Duration;

use platform_testkit::until_within;
use serde_json::{Value, json};

use super::Site;

const STATUS: &str = "{ platformStatus { services { name state since why replicas replicasUp } } }";

/// What a service is said to be by one of the BFFs, and then by the other.
async fn status(site: &Site, service: &str) -> Value {
    let data = site.data(None, STATUS, json!({})).await;
    let services = data["platformStatus"]["services"].as_array().unwrap();
    let mut services = services.iter().filter(|row| row["name"] == service);
    services.next().unwrap().clone()
}

/// Waits until both BFFs say so, within the two seconds that are promised.
async fn until_both(site: &Site, service: &str, what: &str, seen: impl Fn(&Value) -> bool) {
    until_within(Duration::from_secs(2), what, async || {
        let both = (status(site, service).await, status(site, service).await);
        (seen(&both.0) && seen(&both.1)).then_some(())
    })
    .await;
}

fn signal(site: &Site, service: &str, replica: usize, name: &str) {
    let pid = site.stack.pid(service, replica).unwrap();
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn a_service_that_stops_is_seen_within_two_seconds_since_when_and_why() {
    let site = Site::start().await;
    until_both(&site, "catalog", "all to be up", |row| {
        row["state"] == "UP" && row["why"].is_null() && row["replicasUp"] == 2
    })
    .await;
    let up_since = status(&site, "catalog").await["since"].clone();

    site.stack.kill("catalog", 0);
    until_both(&site, "catalog", "one replica to be missed", |row| {
        row["state"] == "UP" && row["why"] == "UNREACHABLE" && row["replicasUp"] == 1
    })
    .await;

    // Connected, and without an answer.
    signal(&site, "catalog", 1, "-STOP");
    until_both(&site, "catalog", "catalog to be down", |row| {
        row["state"] == "DOWN" && row["replicasUp"] == 0 && row["replicas"] == 2
    })
    .await;
    signal(&site, "catalog", 1, "-CONT");
    until_both(&site, "catalog", "catalog to be up", |row| {
        row["state"] == "UP"
    })
    .await;
    let up_again = status(&site, "catalog").await["since"].clone();
    assert!(
        up_again.as_str() > up_since.as_str(),
        "{up_again} {up_since}"
    );

    site.stack.kill("identity", 0);
    until_both(&site, "identity", "identity to be down", |row| {
        row["state"] == "DOWN" && row["why"] == "UNREACHABLE"
    })
    .await;
    let others = status(&site, "recommendations").await;
    assert_eq!(
        (&others["state"], &others["why"]),
        (&json!("UP"), &Value::Null)
    );
}

#[tokio::test]
async fn every_service_that_is_called_is_told() {
    use clap::Args;
    let site = Site::start().await;
    let data = site.data(None, STATUS, json!({})).await;
    let services = data["platformStatus"]["services"].as_array().unwrap();
    let told = services.iter().map(|row| {
        let name = row["name"].as_str().unwrap();
        format!("GRPC_{}", name.to_uppercase().replace('-', "_"))
    });
    let command = crate::Config::augment_args(clap::Command::new("bff"));
    let called = command
        .get_arguments()
        .filter_map(|arg| arg.get_env()?.to_str());
    let called = called.filter(|name| name.starts_with("GRPC_"));
    assert_eq!(told.collect::<Vec<_>>(), called.collect::<Vec<_>>());
}
