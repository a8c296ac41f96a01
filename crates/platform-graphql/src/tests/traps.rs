//! Documents that abort, hang or deceive the library behind the checks.

use super::*;

#[tokio::test]
async fn traps_of_the_library_are_refused_and_the_process_lives() {
    let site = Site::new();
    let bad = StatusCode::BAD_REQUEST;
    for open in ["[", "{a:"] {
        let nested = format!("{{ numbers(of: {}", open.repeat(6_000 / open.len()));
        site.refuses(
            &json!({ "query": nested }),
            bad,
            "GRAPHQL_DOCUMENT_TOO_LARGE",
        )
        .await;
    }

    let mut doubling = String::from("{ ...F0 } ");
    for level in 0..25 {
        let next = level + 1;
        doubling += &format!("fragment F{level} on Query {{ ...F{next} ...F{next} }} ");
    }
    doubling += "fragment F25 on Query { long }";
    let begun = Instant::now();
    site.refuses(
        &json!({ "query": doubling }),
        bad,
        "GRAPHQL_DOCUMENT_TOO_LARGE",
    )
    .await;
    assert!(begun.elapsed() < Duration::from_millis(100));

    let defined: String = (0..4_000).map(|i| format!("$v{i}:Int ")).collect();
    site.refuses(
        &json!({ "query": format!("query({defined}){{ long }}") }),
        bad,
        "GRAPHQL_DOCUMENT_TOO_LARGE",
    )
    .await;
    let given: serde_json::Map<_, _> = (0..4_000).map(|i| (format!("v{i}"), json!(1))).collect();
    site.refuses(
        &json!({ "query": "{ long }", "variables": given }),
        bad,
        "GRAPHQL_INPUT_INVALID",
    )
    .await;

    site.refuses(
        &json!({ "query": "mutation { bump bump }" }),
        bad,
        "GRAPHQL_DOCUMENT_INVALID",
    )
    .await;
    assert_eq!(site.bumped(), 0);
    assert_eq!(
        site.query("mutation { a: bump b: bump }").await.1,
        json!({ "data": { "a": 1, "b": 2 } })
    );
}

/// Why the guard is there; when this fails, the library has learnt, and part of the guard can go.
#[tokio::test]
async fn the_library_alone_runs_a_repeated_mutation_twice_and_overlooks_defaults() {
    let bumps = Bumps::default();
    let schema = Schema::build(Query, Mutation, EmptySubscription)
        .data(bumps.clone())
        .finish();
    schema.execute("mutation { bump bump }").await;
    assert_eq!(bumps.0.load(Ordering::SeqCst), 2);

    let skipped = "query($no: Boolean = true) { echo(text: \"a\") @skip(if: $no) }";
    let answer = schema.execute(skipped).await.data.into_json().unwrap();
    assert_eq!(answer, json!({ "echo": "a" }));
}

#[tokio::test]
async fn the_largest_documents_allowed_are_refused_or_answered_quickly() {
    let site = Site::new();
    let name = "x".repeat(120);
    let unknown = format!(
        "{{ {} }} fragment F on Query {{ {name} }}",
        "...F ".repeat(1_600)
    );
    let values = vec![1; 20_000];
    let variable = format!(
        "query($v: [Int!]!) {{ {} }}",
        (0..15)
            .map(|i| format!("a{i}: numbers(of: $v) "))
            .collect::<String>()
    );
    let wide = format!(
        "{{ {} }}",
        "itself { itself { itself { long } } } ".repeat(18)
    );
    for body in [
        json!({ "query": unknown }),
        json!({ "query": variable, "variables": { "v": values } }),
        json!({ "query": wide }),
    ] {
        let begun = Instant::now();
        let (_, answer) = site.post(&body).await;
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        assert!(answer.to_string().len() < 100_000);
    }
}
