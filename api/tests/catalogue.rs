//! The catalogue that readers outside go by is what the protos say.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::fs;
use std::path::Path;

/// With `UPDATE=1` it is written instead; whoever does that sees in the diff what changes.
#[test]
fn the_catalogue_of_events_is_what_the_protos_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let catalogue = platform_build::Contracts::new("homeward")
        .root(root.join("proto"))
        .asyncapi()
        .unwrap();
    for event in api::EVENTS {
        assert!(catalogue.contains(event.name), "{} is missing", event.name);
    }
    let path = root.join("docs/events.asyncapi.yaml");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &catalogue).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == catalogue,
        "docs/events.asyncapi.yaml is out of date: run `UPDATE=1 cargo test -p api`"
    );
}
