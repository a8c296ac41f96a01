use std::fmt::Write;

use async_graphql::Value;
use serde_json::json;

use super::Both;
use super::world::{Item, Items, Price, Timestamp, World, item, owner, uuid};

fn world() -> World {
    let mut odd = item(1);
    odd.title = "\"quoted\" \\ \u{0}\u{1f}\n\t\u{7f} søn 🏠 \u{2028}".to_owned();
    odd.note = None;
    odd.nick = String::new();
    odd.colour = 2;
    odd.mood = 0;
    odd.count = (1 << 53) - 1;
    odd.open = false;
    odd.known = None;
    odd.ended = Some(Timestamp {
        seconds: -1,
        nanos: 999_000_000,
    });
    odd.last_price = Some(Price {
        amount: -((1 << 53) - 1),
        currency: "JPY".to_owned(),
    });
    let mut bare = item(2);
    bare.owner_id = String::new();
    bare.note = Some(String::new());
    bare.mood = 99;
    bare.known = Some(true);
    bare.title = String::new();
    let mut stray = item(3);
    stray.owner_id = uuid(9_999);
    let items = Items {
        rows: vec![item(0), odd, bare, stray, item(4), item(5)],
        next_page_token: "next \"page\"".to_owned(),
    };
    World::new(&items, (0..3).map(owner).collect())
}

fn rows(rows: Vec<Item>) -> World {
    let items = Items {
        rows,
        next_page_token: String::new(),
    };
    World::new(&items, (0..3).map(owner).collect())
}

const ALL: &str =
    "id title note nick colour mood price { amount currency } lastPrice { currency amount }
    createdAt endedAt count open known owner { id name createdAt version }";

#[tokio::test]
async fn every_query_is_answered_as_by_the_ordinary_path() {
    let both = Both::new(&world());
    let mut queries = vec![
        // Scalars, one and all.
        "{ items { nodes { id } } }".to_owned(),
        format!("{{ items {{ nodes {{ {ALL} }} }} }}"),
        format!("{{ items {{ edges {{ cursor node {{ {ALL} }} }} }} }}"),
        format!("{{ item(at: 1) {{ {ALL} }} }}"),
        format!("{{ sure(at: 2) {{ {ALL} }} }}"),
        format!("{{ all {{ {ALL} }} }}"),
    ];
    for query in [
        // Parts of a connection.
        "{ items { pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }",
        r#"{ items(first: 5, after: "x") { pageInfo { hasNextPage hasPreviousPage endCursor } } }"#,
        "{ items { pageInfo { __typename endCursor } edges { cursor } } }",
        "{ items { edges { __typename } __typename nodes { __typename } } }",
        "{ items { edges { cursor again: cursor node { id } same: node { title } } } }",
        "{ items { nodes { id } edges { node { id } } pageInfo { endCursor } more: nodes { title } } }",
        "{ empty { nodes { id } edges { cursor } pageInfo { hasNextPage hasPreviousPage endCursor } } }",
        "{ empty { nodes { owner { name } } __typename } }",
        "{ empty { edges { node { id } } } items { edges { node { id } } } }",
        // Order and aliases.
        "{ items { nodes { title id } } }",
        "{ items { nodes { b: id a: id id } } }",
        "{ a: items { nodes { id } } b: items { nodes { title } } }",
        "{ items { nodes { __typename kind: __typename title } } }",
        "{ items { nodes { owner: title title: id } } }",
        // The same key more than once.
        "{ items { nodes { id id id } nodes { title id } } }",
        "{ items { nodes { price { amount } id price { currency amount } } } }",
        "{ items { nodes { id } } items { nodes { title } pageInfo { endCursor } } }",
        "{ items { nodes { id } } __typename items { edges { cursor } } items { nodes { owner { name } } } }",
        "{ pair(at: 0) { left { id } size left { title } } pair(at: 0) { right { id } left { count } } }",
        "{ item(at: 0) { owner { id } } item(at: 0) { owner { name } title } }",
        // Fragments.
        "{ items { ...P } } fragment P on ItemConnection { nodes { ...I } } fragment I on Item { id title }",
        "{ items { nodes { ... { id } ... on Item { title ... on Thing { id } } } } }",
        "{ ...Q } fragment Q on Query { items { nodes { id ...A ...B } } } fragment A on Item { price { amount } } fragment B on Item { price { currency } count }",
        "{ ...Q items { nodes { title } } } fragment Q on Query { items { nodes { id } } }",
        "{ ... on Query { items { nodes { title } } } ...Q } fragment Q on Query { items { nodes { id } } item(at: 1) { id } }",
        "{ items { ...E } } fragment E on ItemConnection { edges { ...F } } fragment F on ItemEdge { cursor node { ...T id } } fragment T on Thing { id __typename }",
        "{ items { nodes { ...T } } } fragment T on Thing { ... on Owner { name } ... on Item { title } id }",
        // Interfaces.
        "{ thing(at: 0) { id __typename } }",
        "{ thing(at: 0) { ... on Item { title owner { name } } ... on Owner { name } } }",
        "{ thing(at: 99) { ... on Item { title } ... on Owner { name parent { name } version } id } }",
        "{ thing(at: 0) { __typename ... on Thing { id } ...I ...O } } fragment I on Item { x: title } fragment O on Owner { x: name }",
        "{ a: thing(at: 0) { ...X } b: thing(at: 99) { ...X } } fragment X on Thing { ... on Item { k: id price { amount } } ... on Owner { k: id version } }",
        // Joins.
        "{ items { nodes { owner { name } } } }",
        "{ items { nodes { a: owner { name } b: owner { id version } owner { __typename } } } }",
        "{ items { nodes { owner { name } } edges { node { owner { version } other: owner { id } } } } }",
        "{ items { nodes { owner { parent { name parent { name parent { id } } } } } } }",
        "{ items { nodes { owner { parent { name } up: parent { id } } } } }",
        "{ all { owner { name id } title } }",
        "{ all { owner { parent { name } } } }",
        "{ item(at: 2) { owner { name } } }",
        "{ item(at: 3) { owner { name } id } }",
        "{ pair(at: 1) { left { owner { name } } right { owner { id } title } } }",
        // Nothing there.
        "{ item(at: 77) { id owner { name } } }",
        "{ pair(at: 77) { left { id } } }",
        "{ items(first: 0) { nodes { id } } item(at: 0) { id } }",
        "{ __typename items { nodes { id } } }",
        "{ items { nodes { id } } __schema { queryType { name } } }",
        "query Named { items { nodes { endedAt ended: endedAt lastPrice { amount } } } }",
    ] {
        queries.push(query.to_owned());
    }
    assert!(queries.len() >= 50, "{}", queries.len());
    for query in &queries {
        let answer = both.ask(query, json!({})).await;
        assert!(
            serde_json::from_str::<serde_json::Value>(&answer.data).is_ok(),
            "{}",
            answer.data
        );
    }
}

#[tokio::test]
async fn what_variables_leave_out_is_left_out_whatever_was_asked_before() {
    let both = Both::new(&world());
    let queries = [
        "query($a: Boolean!, $b: Boolean!) { items { nodes { id @include(if: $a) title @skip(if: $b) } } }",
        "query($a: Boolean!, $b: Boolean!) { items { nodes { title @include(if: $a) id title @skip(if: $b) } } }",
        "query($a: Boolean!, $b: Boolean!) { items { nodes @include(if: $a) { id } nodes { title } edges @skip(if: $b) { cursor } } }",
        "query($a: Boolean!, $b: Boolean!) { items { nodes { ...F @include(if: $a) ... @skip(if: $b) { count } } } } fragment F on Item { price { amount @skip(if: $b) currency } }",
        "query($a: Boolean!, $b: Boolean!) { items { nodes { owner @include(if: $a) { name } other: owner @skip(if: $b) { id } } } }",
        "query($a: Boolean!, $b: Boolean!) { items { nodes { price @include(if: $a) { amount } } } item(at: 0) @skip(if: $b) { id } }",
        "query($a: Boolean!, $b: Boolean!) { items @include(if: $a) { nodes { id } } items { nodes { title @skip(if: $b) count } } }",
        "query($a: Boolean! = true, $b: Boolean! = false) { items { nodes { id @include(if: $a) title @skip(if: $b) @include(if: $a) count } } }",
        "query($a: Boolean!, $b: Boolean!) { items { nodes { id @include(if: $a) @skip(if: $b) } pageInfo { endCursor @skip(if: true) hasNextPage @include(if: false) } } }",
    ];
    for query in queries {
        for round in 0..8 {
            let (a, b) = (round & 1 != 0, round & 2 != 0);
            let answer = both.ask(query, json!({ "a": a, "b": b })).await;
            assert_eq!(answer.errors, Vec::<serde_json::Value>::new(), "{query}");
        }
    }
    both.ask(queries[7], json!({})).await;
}

#[tokio::test]
async fn errors_have_the_paths_and_nulls_of_the_ordinary_path() {
    let broken = |change: fn(&mut Item)| {
        let mut broken = item(1);
        change(&mut broken);
        Both::new(&rows(vec![item(0), broken, item(2)]))
    };
    let all = format!("{{ items {{ nodes {{ {ALL} }} }} }}");
    let edges = format!("{{ items {{ edges {{ node {{ {ALL} }} cursor }} nodes {{ title }} }} }}");
    let more = [
        all.as_str(),
        edges.as_str(),
        "{ items { nodes { title } } all { id colour } item(at: 1) { title price { amount currency } createdAt count } }",
        "{ item(at: 1) { id colour price { amount } createdAt lastPrice { amount } endedAt count } __typename }",
        "{ sure(at: 1) { title count colour id createdAt price { amount } } }",
        "{ pair(at: 1) { left { lastPrice { amount } title } right { endedAt count } size } }",
        "{ items { nodes { x: lastPrice { y: amount currency } z: endedAt } } }",
        "{ thing(at: 1) { ... on Item { lastPrice { amount } colour } } }",
    ];
    let changes: [fn(&mut Item); 9] = [
        |item| item.id = "no id".to_owned(),
        |item| item.id = String::new(),
        |item| item.colour = 0,
        |item| item.colour = 3,
        |item| item.price = None,
        |item| item.created = None,
        |item| item.count = 1 << 53,
        |item| {
            item.last_price = Some(Price {
                amount: i64::MIN,
                currency: String::new(),
            })
        },
        |item| {
            item.ended = Some(Timestamp {
                seconds: i64::MAX,
                nanos: -1,
            })
        },
    ];
    let mut errors = 0;
    for change in changes {
        let both = broken(change);
        for query in more {
            errors += both.ask(query, json!({})).await.errors.len();
        }
    }
    assert!(errors > 40, "{errors}");
    let answer = broken(|item| item.price = None)
        .ask("{ items { nodes { id price { amount } } } }", json!({}))
        .await;
    assert_eq!(
        answer.errors[0]["path"],
        json!(["items", "nodes", 1, "price"])
    );
    assert_eq!(
        answer.errors[0]["locations"],
        json!([{ "line": 1, "column": 22 }])
    );
}

#[tokio::test]
async fn a_join_that_fails_costs_its_fields_only() {
    let both = Both::new(&world().down());
    for query in [
        "{ items { nodes { id owner { name } } } }",
        "{ items { edges { node { a: owner { name } b: owner { id } title } cursor } } }",
        "{ all { owner { parent { id } } count } }",
        "{ item(at: 0) { owner { name } title } other: item(at: 2) { owner { name } title } }",
    ] {
        let answer = both.ask(query, json!({})).await;
        assert!(!answer.errors.is_empty(), "{query}");
        assert_eq!(answer.errors[0]["extensions"]["code"], "UNAVAILABLE");
    }
    // An owner that cannot be shown is null wherever it stands, each time with its own path.
    let mut bad = owner(0);
    bad.created = None;
    let items = Items {
        rows: vec![item(0), item(1), item(3), item(4)],
        next_page_token: String::new(),
    };
    let both = Both::new(&World::new(&items, vec![bad, owner(1), owner(2)]));
    for query in [
        "{ items { nodes { owner { name createdAt } } } }",
        "{ items { nodes { owner { name } other: owner { createdAt } } } }",
        "{ items { nodes { owner { name parent { createdAt } } } } }",
    ] {
        let answer = both.ask(query, json!({})).await;
        assert!(answer.errors.len() > 1, "{query}: {answer:?}");
    }
}

#[tokio::test]
async fn one_call_fetches_a_level_of_all_rows() {
    let both = Both::new(&world());
    for (query, calls) in [
        ("{ items { nodes { id } } }", 0),
        ("{ items { nodes { owner @skip(if: true) { name } } } }", 0),
        (
            "{ items { nodes { owner { name } other: owner { id } } edges { node { owner { version } } } } }",
            1,
        ),
        // Nobody's parent is new.
        ("{ items { nodes { owner { parent { name } } } } }", 1),
        ("{ all { owner { name } } }", 1),
        (
            "{ items { nodes { owner { name } } } items { nodes { owner { id } } } }",
            1,
        ),
    ] {
        both.hot.ask(query, json!({})).await;
        assert_eq!(both.hot.world.calls(), calls, "{query}");
    }
    let both = Both::new(&rows(vec![item(2), item(5)]));
    both.hot
        .ask(
            "{ items { nodes { owner { parent { parent { name } } } } } }",
            json!({}),
        )
        .await;
    assert_eq!(both.hot.world.calls(), 3);
}

#[tokio::test]
async fn ten_thousand_aliases_are_answered() {
    let mut query = "{ items { nodes { ".to_owned();
    for alias in 0..10_000 {
        write!(query, "a{alias}: count ").unwrap();
    }
    query.push_str("} } }");
    let both = Both::new(&rows(vec![item(0), item(1)]));
    let answer = both.ask(&query, json!({})).await;
    assert_eq!(answer.data.matches(":1").count(), 10_000);
}

#[tokio::test]
async fn no_projected_value_meets_serde() {
    let both = Both::new(&world());
    let response = both
        .hot
        .run(
            "{ pair(at: 0) { left { id } size } items { nodes { id } } }",
            json!({}),
        )
        .await;
    fn binaries(value: &Value) -> usize {
        match value {
            Value::Binary(_) => 1,
            Value::List(items) => items.iter().map(binaries).sum(),
            Value::Object(fields) => fields.values().map(binaries).sum(),
            _ => 0,
        }
    }
    assert_eq!(binaries(&response.data), 2);
    // What serde would make of it is another document than the one that the writer makes.
    let mut written = Vec::new();
    crate::json::write(&response.data, &mut written);
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert!(written["items"]["nodes"][0]["id"].is_string());
    assert_ne!(serde_json::to_value(&response.data).unwrap(), written);
}
