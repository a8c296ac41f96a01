use std::fs;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};

use crate::schema::sdl;

/// The fields at the root, with whether they can be null.
pub(super) fn roots() -> Vec<(String, bool)> {
    let document = parse_schema(sdl()).unwrap();
    let mut fields = Vec::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(object) = definition else {
            continue;
        };
        let object = object.node;
        if let ("Query" | "Mutation" | "Subscription", TypeKind::Object(kind)) =
            (object.name.node.as_str(), object.kind)
        {
            let all = kind.fields.into_iter().map(|field| field.node);
            fields.extend(all.map(|field| (field.name.node.to_string(), field.ty.node.nullable)));
        }
    }
    assert!(fields.len() >= 15);
    fields
}

#[test]
fn the_schema_is_the_one_checked_in() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");
    let checked_in = fs::read_to_string(path).unwrap();
    assert!(
        checked_in == sdl(),
        "run `cargo run -p bff -- sdl > bff/schema.graphql` and look at the difference"
    );
}

#[test]
fn every_field_at_the_root_can_be_null() {
    for (name, nullable) in roots() {
        assert!(nullable, "{name} would take all others down with it");
    }
}

#[test]
fn the_configuration_is_well_formed() {
    platform::config::debug_assert::<crate::Config>();
}
