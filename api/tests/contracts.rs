//! What other systems know this platform by, written down a second time: a change here is a
//! change for every reader of a topic, and must be meant.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use api::homeward::identity::v1::{
    LoginRequest, RegisterRequest, UserKind, UserRevoked, UserRoleRevoked, UserSessionEnded,
};
use platform_contract::{Access, Class, Idempotency, Once, Paged, Voided};
use prost::Message as _;

/// Each service has its events in a table beside its code.
#[test]
fn every_event_has_its_name_topic_and_key() {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services");
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(services).unwrap() {
        let service = entry.unwrap().path();
        let source = format!("/homeward/{}", service.file_name().unwrap().display());
        let table = fs::read_to_string(service.join("events.tsv")).unwrap_or_default();
        let mut rows = table.lines().filter(|line| !line.starts_with('#'));
        assert!(matches!(rows.next(), None | Some("event\ttopic\tkey")));
        written.extend(rows.map(|row| format!("{source}\t{row}")));
    }
    let stated = api::EVENTS
        .iter()
        .map(|event| [event.source, event.name, event.topic, event.key].join("\t"));
    assert_eq!(stated.collect::<BTreeSet<_>>(), written);
    assert!(written.len() >= 12);
}

#[test]
fn what_lessens_rights_voids_tokens_and_nothing_else_does() {
    let voids = |name: &str, event: &dyn Fn() -> Vec<u8>| {
        let found = api::EVENTS.iter().find(|event| event.name == name);
        found.unwrap().voids.map(|read| read(&event()).unwrap())
    };
    let below = Voided::Below {
        subject: "u".into(),
        access_version: 7,
    };
    let revoked = || {
        let event = UserRevoked {
            user_id: "u".into(),
            version: 9,
            access_version: 7,
        };
        event.encode_to_vec()
    };
    assert_eq!(voids("user.revoked", &revoked), Some(below.clone()));
    let role_revoked = || {
        let event = UserRoleRevoked {
            user_id: "u".into(),
            access_version: 7,
            ..Default::default()
        };
        event.encode_to_vec()
    };
    assert_eq!(voids("user.role_revoked", &role_revoked), Some(below));
    let ended = || {
        let event = UserSessionEnded {
            user_id: "u".into(),
            version: 9,
            session_id: "s".into(),
        };
        event.encode_to_vec()
    };
    let session = Voided::Session {
        subject: "u".into(),
        session: "s".into(),
    };
    assert_eq!(voids("user.session_ended", &ended), Some(session));
    let all = api::EVENTS.iter().filter(|event| event.voids.is_some());
    assert_eq!(all.count(), 3);
}

#[test]
fn every_task_has_its_name_and_topic() {
    let tasks: Vec<_> = api::TASKS
        .iter()
        .map(|task| (task.name, task.topic))
        .collect();
    assert_eq!(tasks, []);
}

#[test]
fn every_event_names_its_source_and_schema() {
    for event in api::EVENTS {
        let service = event.source.strip_prefix("/homeward/").unwrap();
        let service = service.replace('-', "_");
        assert!(
            event.schema.starts_with(&format!("homeward.{service}.v1.")),
            "{event:?}"
        );
    }
}

#[test]
fn the_access_table_says_what_the_proto_says() {
    let service = &api::homeward::catalog::v1::CATALOG_SERVICE;
    let method = |name| {
        service
            .methods
            .iter()
            .find(|method| method.name == name)
            .unwrap()
    };
    assert_eq!(
        (service.name, service.domain),
        ("catalog", "catalog.homeward")
    );
    assert_eq!(method("GetOffer").access, Access::Public);
    assert_eq!(method("GetOffer").idempotency, Idempotency::Natural);
    let voters = Access::Allowed {
        roles: &["voter"],
        services: &[],
        delegation: false,
    };
    assert_eq!(method("CastVote").access, voters);
    assert_eq!(method("CastVote").idempotency, Idempotency::RequestId);
    for (name, class) in [
        ("CastVote", Class::Mutation),
        ("GetOffer", Class::Read),
        ("BatchGetOffers", Class::Read),
        ("ListOffers", Class::List),
    ] {
        assert_eq!(method(name).class, class, "{name}");
    }
    assert_eq!(
        method("CastVote").path,
        "/homeward.catalog.v1.CatalogService/CastVote"
    );
    assert_eq!(
        RegisterRequest::METHOD,
        "/homeward.identity.v1.IdentityService/Register"
    );
}

#[test]
fn a_secret_is_not_printed() {
    let mut request = RegisterRequest {
        password: "open sesame".into(),
        ..Default::default()
    };
    request.set_kind(UserKind::Business);
    let printed = format!("{request:?}");
    assert!(
        printed.contains("password: ***") && printed.contains("kind: Business"),
        "{printed}"
    );
    let request = LoginRequest {
        password: "open sesame".into(),
        ..Default::default()
    };
    assert!(!format!("{request:#?}").contains("sesame"));
}

#[test]
fn pages_of_one_query_differ_only_in_size_and_token() {
    let first = api::homeward::catalog::v1::ListOffersRequest {
        page_size: 5,
        search: "van".into(),
        ..Default::default()
    };
    let mut second = first.clone();
    second.page_token = "sealed".into();
    assert_ne!(first, second);
    assert_eq!(first.query(), second.query());
    assert_eq!(second.query().search, "van");
}
