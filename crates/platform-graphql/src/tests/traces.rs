//! What is told of operations.

use platform::trace::{self, TraceContext};
use platform_testkit::collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;

#[tokio::test]
async fn an_operation_is_a_span_without_its_document_and_is_measured() {
    let collector = collector();
    let mut registry = Registry::default();
    let site = Site::with(|endpoint| {
        endpoint.register(&mut registry);
        endpoint
    });
    let root = TraceContext::new();
    let asked = async {
        site.query(r#"query Anna { echo(text: "secret") }"#).await;
        site.query("mutation { bump }").await;
        site.query("{ foreign }").await
    };
    let (_, failed) = trace::scope(root, asked).await;
    let reason = reason_of(&failed);
    let spans = collector
        .trace(root, &[("query", 2), ("mutation", 1)])
        .await;
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            assert_eq!((span.kind, &span.parent_id), ("Internal", &root.span_id()));
            assert_eq!(span.attributes["graphql.operation.type"], span.name);
            let text = format!("{span:?}");
            assert!(!text.contains("Anna") && !text.contains("secret"), "{text}");
            (
                span.name.as_str(),
                span.attributes.get("error.type").map(String::as_str),
            )
        })
        .collect();
    assert_eq!(
        told,
        [("query", None), ("mutation", None), ("query", Some(reason))]
    );

    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for (kind, outcome) in [("query", "ok"), ("query", "errors"), ("mutation", "ok")] {
        let labels = format!(r#"graphql_operation_type="{kind}",outcome="{outcome}""#);
        let line = format!("graphql_server_operation_duration_seconds_count{{{labels}}} 1");
        assert!(text.contains(&line), "{line} in\n{text}");
    }
}
