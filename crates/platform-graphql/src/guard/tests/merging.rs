//! Fields of one response key.

use async_graphql::parser::parse_query;

use super::zoo::{checker, word};
use super::{FINE, INVALID, LARGE};
use crate::guard::{Limits, Open, overlap};

#[test]
fn fields_that_are_one_are_merged() {
    for text in [
        "{ cat { name name } }",
        "{ cat { n: name n: name } }",
        "{ cat { name } cat { name lives } }",
        "{ a: dogs(first: 1) { name } a: dogs(first: 1) { barks } }",
        "{ a: dogs(first: 1, filter: {name: \"x\", legs: 2}) { name } a: dogs(filter: {legs: 2, name: \"x\"}, first: 1) { name } }",
        "{ pet { ... on Dog { a: name } ... on Cat { a: name } } }",
        // Of two object types only one can be there, so fields may differ, as long as their kinds do not.
        "{ pet { ... on Dog { x: toy(at: 1) { __typename } } ... on Cat { x: toy(at: 2) { __typename } } } }",
        "{ pet { ... on Dog { f: friend { name } } ... on Cat { f: friend { n: name } } } }",
        "query($a: Int) { pet { toy(at: $a) { __typename } toy(at: $a) { __typename } } }",
        "{ pet { ...P ...P } pet { ...P } } fragment P on Pet { name friend { name } }",
    ] {
        assert_eq!(word(text), FINE, "{text}");
    }
}

#[test]
fn fields_that_differ_are_refused_at_any_depth() {
    for text in [
        "{ cat { x: name x: lives } }",
        "{ cat { name: lives name } }",
        "{ pet { toy(at: 1) { __typename } toy(at: 2) { __typename } } }",
        "{ pet { toy(at: 1) { __typename } toy { __typename } } }",
        "query($a: Int, $b: Int) { pet { toy(at: $a) { __typename } toy(at: $b) { __typename } } }",
        // In different fragments, and below.
        "{ cat { ...A ...B } } fragment A on Cat { x: name } fragment B on Cat { x: lives }",
        "{ cat { friend { n: name } } cat { friend { n: __typename } } }",
        "{ a: cat { friend { friend { n: name } } } ...Q } fragment Q on Query { a: cat { friend { friend { n: __typename } } } }",
        // An interface beside one of its types.
        "{ pet { x: name ... on Dog { x: __typename } } }",
        "{ pet { ... on Dog { x: __typename } ... on Pet { x: name } } }",
        // Differing kinds, though only one can be there.
        "{ pet { toy(at: 1) { ... on Ball { size } ... on Bone { size } } } }",
        "{ pet { ... on Dog { barks } ... on Cat { barks } } }",
        "{ pet { ... on Dog { x: puppies { name } } ... on Cat { x: friend { name } } } }",
        "{ pet { ... on Dog { x: name } ... on Cat { x: friend { name } } } }",
        "{ pet { ... on Dog { f: friend { x: name } } ... on Cat { f: friend { ... on Cat { x: lives } } } } }",
    ] {
        assert_eq!(word(text), INVALID, "{text}");
    }
}

#[test]
fn types_that_multiply_are_refused_in_bounded_work() {
    let level = |inner: &str| {
        format!(
            "friend {{ name {inner} }} ... on Dog {{ friend {{ a: name {inner} }} }} ... on Cat {{ friend {{ b: name {inner} }} }}"
        )
    };
    assert_eq!(
        word(&format!("{{ pet {{ {} }} }}", level(&level("name")))),
        FINE
    );
    let chained: String = (0..9)
        .map(|i| {
            let next = format!("...F{}", i + 1);
            format!("fragment F{i} on Pet {{ {} }} ", level(&next))
        })
        .collect();
    let text = format!("{{ pet {{ ...F0 }} }} {chained} fragment F9 on Pet {{ name }}");
    assert_eq!(word(&text), LARGE);
    // Without the bound for weight there is still the one for merging.
    let document = parse_query("{ cat { name lives name lives name } }").unwrap();
    let check = |weight| {
        let limits = Limits {
            weight,
            ..Limits::default()
        };
        overlap::check(&document, checker(Open::ALL).registry(), &limits)
    };
    assert_eq!(check(1).unwrap_err().word, LARGE);
    assert_eq!(check(2).unwrap(), 6);
}

/// Why the rule is there; when this fails, the library has learnt, and the rule can go.
#[tokio::test]
async fn the_library_alone_overlooks_fields_that_differ_below() {
    let zoo = super::zoo::recipe().finish();
    let text = "{ cat { friend { n: name } } cat { friend { n: __typename } } }";
    assert!(zoo.execute(text).await.errors.is_empty());
}
