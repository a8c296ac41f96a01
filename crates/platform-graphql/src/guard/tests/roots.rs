//! What the library does with roots, made up for.

use async_graphql::Response;
use async_graphql::futures_util::StreamExt;

use super::zoo::{self, Zoo, word};
use super::{FINE, INVALID};
use crate::Context;
use crate::document::Documents;
use crate::guard::{Limits, Open, schemas};

#[test]
fn a_repeated_mutation_field_is_refused_however_it_is_written() {
    for text in [
        "mutation { bump bump }",
        "mutation { bump ...A } fragment A on Mutation { bump }",
        "mutation { ... { bump } ... on Mutation { bump } }",
        "mutation { x: bump x: bump }",
    ] {
        assert_eq!(word(text), INVALID, "{text}");
    }
    assert_eq!(word("mutation { x: bump y: bump }"), FINE);
    assert_eq!(word("query { cat { name } cat { lives } }"), FINE);
}

#[test]
fn a_subscription_has_one_root() {
    for text in [
        "subscription { ticks(of: 1) tocks }",
        "subscription { a: tocks b: tocks }",
        "subscription { ticks(of: 1) ...T } fragment T on Changes { tocks }",
        "subscription { __typename }",
        "subscription($s: Boolean!) { tocks @skip(if: $s) }",
        "subscription($s: Boolean!) { ... @include(if: $s) { tocks } }",
    ] {
        assert_eq!(word(text), INVALID, "{text}");
    }
    assert_eq!(word("subscription { tocks }"), FINE);
}

async fn streamed(zoo: &Zoo, documents: &Documents, text: &str) -> Vec<String> {
    let document = documents.get(text).unwrap();
    let prepared = document.prepare(None, Default::default(), &Limits::default());
    let context = Context::new(Ok(platform::auth::Caller::Nobody));
    let request = prepared.unwrap().request(context);
    let data = |answer: Response| answer.data.to_string();
    zoo.execute_stream(request).map(data).collect().await
}

#[tokio::test]
async fn a_subscription_by_fragments_is_the_same_as_without() {
    let (zoo, checker) = schemas(Open::ALL, zoo::recipe);
    let documents = Documents::new(checker, Limits::default());
    let plain = streamed(&zoo, &documents, "subscription { ticks(of: 4) }").await;
    assert_eq!(plain, ["{ticks: 4}", "{ticks: 5}"]);
    for text in [
        "subscription { ... { ticks(of: 4) } }",
        "subscription S { ...T } fragment T on Changes { ... on Changes { ticks(of: 4) } }",
    ] {
        assert_eq!(streamed(&zoo, &documents, text).await, plain, "{text}");
    }
}

/// Why this is there; when it fails, the library has learnt, and the checks can go.
#[tokio::test]
async fn the_library_alone_misreads_roots() {
    let zoo = zoo::recipe().finish();
    let stream = |text: &str| zoo.execute_stream(text).count();
    assert_eq!(stream("subscription { ... { ticks(of: 4) } }").await, 0);
    assert_eq!(stream("subscription { ticks(of: 4) tocks }").await, 3);
}
