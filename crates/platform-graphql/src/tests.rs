//! The endpoint from outside, over a schema with everything that can go wrong.

mod edge;
mod live;
mod overload;
mod persisted;
mod traces;
mod traps;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_graphql::{Context, EmptySubscription, Object, Schema, SchemaBuilder, SimpleObject};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, ALLOW, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use platform::auth::Verifier;
use platform::config::AuthArgs;
use serde_json::{Value, json};
use tonic::Status;
use tower::ServiceExt;

use crate::{Endpoint, Limits, Long, Open, schemas};

#[derive(Clone, Default)]
struct Bumps(Arc<AtomicUsize>);

struct Query;

#[derive(SimpleObject)]
struct Row {
    fine: &'static str,
    broken: Option<Result<i32, Status>>,
}

#[Object]
impl Query {
    async fn echo(&self, text: String) -> Option<String> {
        Some(text)
    }

    async fn numbers(&self, of: Vec<i32>) -> usize {
        of.len()
    }

    async fn itself(&self) -> Query {
        Query
    }

    async fn rows(&self, count: usize) -> Vec<Row> {
        let row = || Row {
            fine: "yes",
            broken: Some(Err(Status::internal("select * from secrets"))),
        };
        std::iter::repeat_with(row).take(count).collect()
    }

    async fn long(&self) -> Option<Long> {
        Some(Long(i64::MAX))
    }

    async fn foreign(&self) -> Option<Result<i32, std::num::ParseIntError>> {
        Some("a secret".parse())
    }

    async fn hangs(&self, ctx: &Context<'_>) -> Option<i32> {
        let _inside = ctx.data_unchecked::<Gate>().enter();
        std::future::pending().await
    }

    /// Waits for the gate to open.
    async fn gated(&self, ctx: &Context<'_>, first: Option<i32>) -> Option<i32> {
        ctx.data_unchecked::<Gate>().pass().await;
        first.or(Some(0))
    }

    async fn long_text(&self, letters: usize) -> String {
        "lorem ipsum ".chars().cycle().take(letters).collect()
    }

    async fn remaining_ms(&self) -> Option<u64> {
        u64::try_from(platform::deadline::remaining()?.as_millis()).ok()
    }

    async fn who(&self, ctx: &Context<'_>) -> Option<Result<String, Status>> {
        let caller = crate::Context::of(ctx).caller();
        Some(caller.map(|caller| caller.principal().into_owned()))
    }
}

/// Holds fields back until it is opened, and counts who is inside.
#[derive(Clone)]
struct Gate {
    inside: tokio::sync::watch::Sender<usize>,
    entered: Arc<AtomicUsize>,
    open: tokio::sync::watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate {
            inside: tokio::sync::watch::Sender::new(0),
            entered: Arc::default(),
            open: tokio::sync::watch::Sender::new(false),
        }
    }
}

impl Gate {
    fn enter(&self) -> Inside {
        self.entered.fetch_add(1, Ordering::SeqCst);
        self.inside.send_modify(|count| *count += 1);
        Inside(self.clone())
    }

    async fn pass(&self) {
        let _inside = self.enter();
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }

    async fn until_inside(&self, count: usize) {
        let mut inside = self.inside.subscribe();
        let reached = inside.wait_for(|inside| *inside == count);
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .unwrap()
            .unwrap();
    }
}

struct Inside(Gate);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.send_modify(|count| *count -= 1);
    }
}

struct Mutation;

#[Object]
impl Mutation {
    async fn login(&self) -> String {
        "a secret ".repeat(1_000)
    }

    async fn gated_bump(&self, ctx: &Context<'_>) -> usize {
        ctx.data_unchecked::<Gate>().pass().await;
        ctx.data_unchecked::<Bumps>()
            .0
            .fetch_add(1, Ordering::SeqCst)
            + 1
    }

    async fn bump(&self, ctx: &Context<'_>) -> usize {
        ctx.data_unchecked::<Bumps>()
            .0
            .fetch_add(1, Ordering::SeqCst)
            + 1
    }
}

type Builder = SchemaBuilder<Query, Mutation, EmptySubscription>;
type TestEndpoint = Endpoint<Schema<Query, Mutation, EmptySubscription>>;

struct Site {
    router: Router,
    bumps: Bumps,
    gate: Gate,
}

impl Site {
    fn new() -> Site {
        Site::with(|endpoint| endpoint)
    }

    fn with(change: impl FnOnce(TestEndpoint) -> TestEndpoint) -> Site {
        Site::open(Open::ALL, change)
    }

    fn open(open: Open, change: impl FnOnce(TestEndpoint) -> TestEndpoint) -> Site {
        let (bumps, gate) = (Bumps::default(), Gate::default());
        let (schema, checker) = schemas(open, || -> Builder {
            Schema::build(Query, Mutation, EmptySubscription)
                .data(bumps.clone())
                .data(gate.clone())
        });
        // Nobody answers there, so a token cannot be verified.
        let verifier = Verifier::new(&AuthArgs {
            issuer_url: "http://127.0.0.1:1".to_owned(),
            jwks_url: None,
            token_audience: "api".to_owned(),
        });
        let endpoint = Endpoint::new(schema, checker, Limits::default(), Arc::new(verifier))
            .deadline(Duration::from_millis(200), Duration::from_secs(60));
        Site {
            router: change(endpoint).router("/graphql"),
            bumps,
            gate,
        }
    }

    async fn answer(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, serde_json::from_slice(&body).unwrap())
    }

    async fn post(&self, body: &Value) -> (StatusCode, Value) {
        self.send(json_request(body.to_string())).await
    }

    async fn query(&self, text: &str) -> (StatusCode, Value) {
        self.post(&json!({ "query": text })).await
    }

    fn bumped(&self) -> usize {
        self.bumps.0.load(Ordering::SeqCst)
    }

    /// Refused with this word, without `data`, and the process serves on.
    async fn refuses(&self, body: &Value, status: StatusCode, reason: &str) {
        let (answered, answer) = self.post(body).await;
        assert_eq!(
            (answered, reason_of(&answer)),
            (status, reason),
            "{answer:.300}"
        );
        assert!(answer.get("data").is_none());
        assert_eq!(
            self.query("{ echo(text: \"on\") }").await.1,
            json!({ "data": { "echo": "on" } })
        );
    }
}

fn json_request(body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/graphql").header(CONTENT_TYPE, "application/json");
    let request = request.header(ACCEPT, "application/graphql-response+json");
    request.body(body.into()).unwrap()
}

fn reason_of(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["reason"]
        .as_str()
        .unwrap_or("none")
}

#[tokio::test]
async fn a_query_is_answered_by_post_and_by_get() {
    let site = Site::new();
    let asked = json!({
        "query": "query A($t: String!) { echo(text: $t) } query B { long }",
        "operationName": "A",
        "variables": { "t": "hello" },
        "extensions": {},
    });
    let hello = (StatusCode::OK, json!({ "data": { "echo": "hello" } }));
    assert_eq!(site.post(&asked).await, hello);

    let uri =
        "/graphql?query=query($t:String!)%7Becho(text:$t)%7D&variables=%7B%22t%22:%22hello%22%7D";
    assert_eq!(
        site.send(Request::get(uri).body(Body::empty()).unwrap())
            .await,
        hello
    );
}

#[tokio::test]
async fn the_media_type_of_the_answer_is_the_one_asked_for() {
    for (accept, answered) in [
        ("application/json", "application/json; charset=utf-8"),
        (
            "application/graphql-response+json",
            "application/graphql-response+json; charset=utf-8",
        ),
    ] {
        let mut request = json_request(r#"{"query":"{ __typename }"}"#);
        request
            .headers_mut()
            .insert(ACCEPT, accept.parse().unwrap());
        let response = Site::new().router.oneshot(request).await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()[CONTENT_TYPE]),
            (StatusCode::OK, &answered.parse().unwrap())
        );
    }
}

#[tokio::test]
async fn a_mutation_by_get_is_refused_without_effect() {
    let site = Site::new();
    let uri = "/graphql?query=mutation%7Bbump%7D";
    let response = site
        .router
        .clone()
        .oneshot(Request::get(uri).body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(response.headers().contains_key(ALLOW));
    assert_eq!(site.bumped(), 0);
}

#[tokio::test]
async fn other_methods_are_refused() {
    let request = Request::builder().method(Method::PUT).uri("/graphql");
    let (status, answer) = Site::new().send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, reason_of(&answer)),
        (StatusCode::METHOD_NOT_ALLOWED, "GRAPHQL_METHOD_NOT_ALLOWED")
    );
}

#[tokio::test]
async fn other_content_types_are_refused_without_effect() {
    let site = Site::new();
    for bad in [
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/json; charset=latin-1"),
        Some("application/jsonx"),
        None,
    ] {
        let mut request = json_request(r#"{"query":"mutation { bump }"}"#);
        request.headers_mut().remove(CONTENT_TYPE);
        if let Some(bad) = bad {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, bad.parse().unwrap());
        }
        let (status, answer) = site.send(request).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{bad:?}");
        assert_eq!(reason_of(&answer), "GRAPHQL_MEDIA_TYPE_UNSUPPORTED");
    }
    assert_eq!(site.bumped(), 0);
    let mut request = json_request(r#"{"query":"mutation { bump }"}"#);
    request.headers_mut().insert(
        CONTENT_TYPE,
        "Application/JSON; charset=\"UTF-8\"".parse().unwrap(),
    );
    assert_eq!(site.send(request).await.1, json!({ "data": { "bump": 1 } }));
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_announced_or_not() {
    let site = Site::new();
    let large = json!({ "query": "mutation { bump }", "extensions": { "x": "x".repeat(70_000) } })
        .to_string();
    let pieces = large.clone().into_bytes();
    let pieces: Vec<_> = pieces
        .chunks(4_096)
        .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
        .collect();
    let unannounced = Body::from_stream(futures_util::stream::iter(pieces));
    for body in [Body::from(large), unannounced] {
        let (status, answer) = site.send(json_request(body)).await;
        assert_eq!(
            (status, reason_of(&answer)),
            (StatusCode::PAYLOAD_TOO_LARGE, "MESSAGE_TOO_LARGE")
        );
    }
    assert_eq!(site.bumped(), 0);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let site = Site::new();
    for bad in [
        "",
        "{",
        "null",
        "[]",
        r#"[{"query":"mutation { bump }"}]"#,
        "{}",
        r#"{"query":7}"#,
        r#"{"query":""}"#,
        r#"{"query":"{ long }","variables":[]}"#,
        r#"{"query":"{ long }","variables":"{}"}"#,
        r#"{"query":"{ long }","operationName":1}"#,
        r#"{"query":"{ long }","extensions":1}"#,
        r#"{"query":"{ long }","query":"mutation { bump }"}"#,
        "{\"query\":\"\u{0}\"}",
    ] {
        let (status, answer) = site.send(json_request(bad)).await;
        assert_eq!(
            (status, reason_of(&answer)),
            (StatusCode::BAD_REQUEST, "GRAPHQL_REQUEST_MALFORMED"),
            "{bad}"
        );
        assert!(answer.get("data").is_none());
    }
    let deep = format!(
        "{{\"query\":\"{{ long }}\",\"variables\":{{\"a\":{}",
        "[".repeat(50_000)
    );
    assert_eq!(
        site.send(json_request(deep)).await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(site.bumped(), 0);
}

#[tokio::test]
async fn request_errors_carry_no_data() {
    let site = Site::new();
    let bad = StatusCode::BAD_REQUEST;
    for (query, reason) in [
        ("{ long", "GRAPHQL_SYNTAX_INVALID"),
        ("{ nothing }", "GRAPHQL_DOCUMENT_INVALID"),
        ("{ echo(text: 1) }", "GRAPHQL_DOCUMENT_INVALID"),
        ("subscription { a }", "GRAPHQL_DOCUMENT_INVALID"),
        (
            "query($t: String!) { echo(text: $t) }",
            "GRAPHQL_INPUT_INVALID",
        ),
        (
            "query A { long } query B { long }",
            "GRAPHQL_OPERATION_UNKNOWN",
        ),
    ] {
        site.refuses(&json!({ "query": query }), bad, reason).await;
    }
}

#[tokio::test]
async fn a_field_that_fails_leaves_the_others_alone() {
    let (status, answer) = Site::new()
        .query("{ foreign long echo(text: \"fine\") }")
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        answer["data"],
        json!({ "foreign": null, "long": null, "echo": "fine" })
    );
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2);
    for error in errors {
        assert_eq!(error["extensions"]["code"], "INTERNAL");
        assert_eq!(error["message"], "internal fault");
        assert_eq!(error["path"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn errors_are_bounded_in_number_and_size() {
    let site = Site::new();
    let (_, answer) = site.query("{ rows(count: 500) { fine broken } }").await;
    assert_eq!(answer["data"]["rows"].as_array().unwrap().len(), 500);
    assert_eq!(
        answer["errors"].as_array().unwrap().len(),
        Limits::default().errors
    );
    assert!(!answer.to_string().contains("secrets"));

    let (_, answer) = site
        .post(&json!({ "query": "{ long }", "variables": "é".repeat(5_000) }))
        .await;
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert_eq!(message.chars().count(), Limits::default().message_chars + 1);
}

#[tokio::test]
async fn skip_and_include_see_the_defaults_of_variables() {
    let query = "query($no: Boolean = true) { a: echo(text: \"a\") @skip(if: $no) b: echo(text: \"b\") @include(if: $no) }";
    assert_eq!(
        Site::new().query(query).await.1,
        json!({ "data": { "b": "b" } })
    );
}

#[tokio::test]
async fn a_request_ends_with_its_deadline() {
    let begun = Instant::now();
    let (status, answer) = Site::new().query("{ hangs }").await;
    assert_eq!(
        (status, reason_of(&answer)),
        (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_PASSED")
    );
    assert_eq!(answer["errors"][0]["extensions"]["retryable"], true);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_token_that_is_refused_fails_the_fields_that_ask_who_calls() {
    let site = Site::new();
    assert_eq!(
        site.query("{ who }").await.1,
        json!({ "data": { "who": "nobody" } })
    );
    let mut request = json_request(r#"{"query":"{ who echo(text: \"fine\") }"}"#);
    request
        .headers_mut()
        .insert(AUTHORIZATION, "Basic abc".parse().unwrap());
    let (status, answer) = site.send(request).await;
    assert_eq!(
        (status, reason_of(&answer)),
        (StatusCode::OK, "TOKEN_INVALID")
    );
    assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    assert_eq!(answer["data"], json!({ "who": null, "echo": "fine" }));
}

#[tokio::test]
async fn introspection_can_be_off() {
    let site = Site::open(Open::NOTHING, |endpoint| endpoint);
    let (_, answer) = site.query("{ __schema { types { name } } }").await;
    assert!(answer["data"]["__schema"].is_null(), "{answer}");
    let (_, answer) = Site::new()
        .query("{ __schema { queryType { name } } }")
        .await;
    assert_eq!(answer["data"]["__schema"]["queryType"]["name"], "Query");
}
