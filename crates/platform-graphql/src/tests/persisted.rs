//! Documents that are named instead of sent.

use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};

use super::*;
use crate::persisted::sha256;
use crate::{Manifest, Persisted};

const APQ_BYTES: usize = 1 << 20;

fn hex(text: &str) -> String {
    sha256(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn named(hash: &str, query: Option<&str>) -> Value {
    let extensions = json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
    match query {
        Some(query) => json!({ "query": query, "extensions": extensions }),
        None => json!({ "extensions": extensions }),
    }
}

fn automatic() -> Site {
    Site::with(|endpoint| {
        endpoint
            .persisted(Persisted::default().automatic(APQ_BYTES))
            .public_age(Duration::from_secs(30))
    })
}

/// As Apollo's client asks: the hash by GET.
fn get_by_hash(query: &str) -> Request<Body> {
    let extensions = format!(
        r#"%7B%22persistedQuery%22:%7B%22version%22:1,%22sha256Hash%22:%22{}%22%7D%7D"#,
        hex(query)
    );
    let request = Request::get(format!("/graphql?extensions={extensions}"));
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn the_handshake_of_automatic_persisted_queries_ends_with_an_answer() {
    let site = automatic();
    let query = "{ echo(text: \"kept\") }";
    // Old and new clients alike look at the message of an answer that is fine by its status.
    for accept in [
        "application/json",
        "application/graphql-response+json, application/json;q=0.9",
    ] {
        let mut request = json_request(named(&hex(query), None).to_string());
        request
            .headers_mut()
            .insert(ACCEPT, accept.parse().unwrap());
        let (status, answer) = site.send(request).await;
        assert_eq!(status, StatusCode::OK, "{accept}");
        assert_eq!(answer["errors"][0]["message"], "PersistedQueryNotFound");
        assert_eq!(reason_of(&answer), "PERSISTED_QUERY_NOT_FOUND");
        assert!(answer.get("data").is_none());
    }
    let (status, _) = site.post(&named(&hex(query), None)).await;
    assert_eq!(
        status,
        StatusCode::BAD_REQUEST,
        "no plain JSON, no plain status"
    );

    let kept = (StatusCode::OK, json!({ "data": { "echo": "kept" } }));
    assert_eq!(site.post(&named(&hex(query), Some(query))).await, kept);
    assert_eq!(site.post(&named(&hex(query), None)).await, kept);
    assert_eq!(site.send(get_by_hash(query)).await, kept);
    let id = format!("sha256:{}", hex(query));
    assert_eq!(site.post(&json!({ "documentId": id })).await, kept);
    let uri = format!("/graphql?documentId={id}");
    let request = Request::get(uri).body(Body::empty()).unwrap();
    assert_eq!(site.send(request).await, kept);
}

#[tokio::test]
async fn what_is_no_document_is_not_kept() {
    let site = automatic();
    for query in ["{ nothing }", "{"] {
        let (status, _) = site.post(&named(&hex(query), Some(query))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let (_, answer) = site.post(&named(&hex(query), None)).await;
        assert_eq!(reason_of(&answer), "PERSISTED_QUERY_NOT_FOUND");
    }
    let (_, answer) = site
        .post(&named(&hex("{ long }"), Some("{ __typename }")))
        .await;
    assert_eq!(reason_of(&answer), "PERSISTED_QUERY_MISMATCH");
    let version = json!({ "extensions": { "persistedQuery": { "version": 2, "sha256Hash": hex("{ long }") } } });
    let (_, answer) = site.post(&version).await;
    assert_eq!(reason_of(&answer), "GRAPHQL_REQUEST_MALFORMED");
}

#[tokio::test]
async fn only_listed_documents_run_where_that_is_set() {
    let listed = "mutation { bump }";
    let manifest = json!({ hex(listed): listed, "Greeting": "{ echo(text: \"hello\") }" });
    let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
    let persisted = Persisted::default().manifest(manifest).only_listed(true);
    let site = Site::with(|endpoint| endpoint.persisted(persisted));
    let hello = (StatusCode::OK, json!({ "data": { "echo": "hello" } }));
    assert_eq!(site.post(&json!({ "documentId": "Greeting" })).await, hello);
    assert_eq!(
        site.post(&named(&hex(listed), None)).await.1,
        json!({ "data": { "bump": 1 } })
    );
    assert_eq!(site.query(listed).await.1, json!({ "data": { "bump": 2 } }));

    let other = "mutation { again: bump }";
    for body in [json!({ "query": other }), named(&hex(other), Some(other))] {
        let (status, answer) = site.post(&body).await;
        assert_eq!(
            (status, reason_of(&answer)),
            (StatusCode::BAD_REQUEST, "PERSISTED_QUERY_REQUIRED")
        );
    }
    let by_get = format!("/graphql?documentId=sha256:{}", hex(listed));
    let (status, _) = site
        .send(Request::get(by_get).body(Body::empty()).unwrap())
        .await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(site.bumped(), 2);
}

#[tokio::test]
async fn the_answer_to_nobodys_persisted_query_can_be_kept_and_is_told_by_its_tag() {
    let site = automatic();
    let query = "{ echo(text: \"kept\") }";
    site.post(&named(&hex(query), Some(query))).await;
    let answer = site.answer(get_by_hash(query)).await;
    assert_eq!(answer.headers()[CACHE_CONTROL], "public, max-age=30");
    let tag = answer.headers()[ETAG].clone();

    let mut again = get_by_hash(query);
    again.headers_mut().insert(IF_NONE_MATCH, tag.clone());
    let answer = site.answer(again).await;
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(answer.headers()[ETAG], tag);
    assert!(
        answer
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );

    let mut other = get_by_hash(query);
    other
        .headers_mut()
        .insert(IF_NONE_MATCH, "W/\"other\"".parse().unwrap());
    assert_eq!(site.answer(other).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_answer_to_somebody_is_kept_by_nobody() {
    let site = automatic();
    let (query, failing) = ("{ who }", "{ foreign }");
    for query in [query, failing] {
        site.post(&named(&hex(query), Some(query))).await;
    }
    let with = |name: &'static str, value: &str| {
        let mut request = get_by_hash(query);
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let by_text = Request::get("/graphql?query=%7Bwho%7D").body(Body::empty());
    for request in [
        with("authorization", "Bearer x"),
        with("cookie", "a=b"),
        with("x-api-key", "k"),
        get_by_hash(failing),
        by_text.unwrap(),
        json_request(named(&hex(query), None).to_string()),
    ] {
        let answer = site.answer(request).await;
        assert_eq!(answer.headers()[CACHE_CONTROL], "private, no-store");
        assert!(!answer.headers().contains_key(ETAG));
    }
    assert_eq!(
        site.answer(get_by_hash(query)).await.headers()[CACHE_CONTROL],
        "public, max-age=30"
    );
}
