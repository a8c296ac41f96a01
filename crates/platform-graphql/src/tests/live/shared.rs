use http::Method;

use super::*;

const TOKEN: &str = "x-graphql-event-stream-token";

struct Caller<'a> {
    site: &'a Site,
    bearer: Option<String>,
}

impl Caller<'_> {
    async fn send(
        &self,
        method: Method,
        uri: &str,
        token: &str,
        body: Value,
    ) -> (StatusCode, String) {
        let (status, body) = self.raw(method, uri, token, body).await;
        let body = body.collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn raw(&self, method: Method, uri: &str, token: &str, body: Value) -> (StatusCode, Body) {
        let mut request = Request::builder()
            .method(&method)
            .uri(uri)
            .header(TOKEN, token);
        if token.is_empty() {
            request.headers_mut().unwrap().clear();
        }
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        request = match method {
            Method::GET => request.header(ACCEPT, "text/event-stream"),
            _ => request.header(CONTENT_TYPE, "application/json"),
        };
        let request = request.body(body.to_string().into()).unwrap();
        let response = self.site.send(request).await;
        (response.status(), response.into_body())
    }

    async fn reserve(&self) -> String {
        let (status, token) = self.send(Method::PUT, "/graphql", "", json!(null)).await;
        assert_eq!(status, StatusCode::CREATED);
        assert_eq!(token.len(), 22);
        token
    }

    async fn read(&self, token: &str) -> Reader {
        let (status, body) = self.raw(Method::GET, "/graphql", token, json!(null)).await;
        assert_eq!(status, StatusCode::OK);
        let text = String::new();
        Reader { body, text }
    }

    async fn order(&self, token: &str, id: &str, query: &str) -> (StatusCode, String) {
        let body = json!({ "query": query, "extensions": { "operationId": id } });
        self.send(Method::POST, "/graphql", token, body).await
    }
}

fn nobody(site: &Site) -> Caller<'_> {
    Caller { site, bearer: None }
}

#[tokio::test]
async fn one_stream_carries_the_answers_of_all_operations() {
    let site = Site::new().await;
    let caller = nobody(&site);
    let token = caller.reserve().await;
    // One is ordered before the stream is opened.
    let ordered = caller.order(&token, "early", "{ echo(text: \"a\") }").await;
    assert_eq!(ordered, (StatusCode::ACCEPTED, String::new()));
    let mut reader = caller.read(&token).await;
    assert_eq!(
        reader.next().await,
        json!({ "id": "early", "payload": { "data": { "echo": "a" } } })
    );
    let complete = |id: &str| Some(("complete".to_owned(), json!({ "id": id })));
    assert_eq!(reader.event().await, complete("early"));

    assert_eq!(
        caller.order(&token, "s", "subscription { quiet }").await.0,
        StatusCode::ACCEPTED
    );
    assert_eq!(reader.next().await["payload"]["data"]["quiet"], 0);
    assert_eq!(
        caller.order(&token, "m", "mutation { bump }").await.0,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        reader.next().await,
        json!({ "id": "m", "payload": { "data": { "bump": 1 } } })
    );
    assert_eq!(reader.event().await, complete("m"));

    site.gate.until_inside(1).await;
    let uri = format!("/graphql?token={token}&operationId=s");
    assert_eq!(
        caller.send(Method::DELETE, &uri, "", json!(null)).await.0,
        StatusCode::OK
    );
    site.gate.until_inside(0).await;
    assert_eq!(
        caller
            .order(&token, "s", "{ echo(text: \"free\") }")
            .await
            .0,
        StatusCode::ACCEPTED
    );
    assert_eq!(reader.next().await["payload"]["data"]["echo"], "free");

    caller.order(&token, "left", "subscription { quiet }").await;
    site.gate.until_inside(1).await;
    drop(reader);
    site.gate.until_inside(0).await;
    site.until_open(0).await;
    assert_eq!(
        caller.order(&token, "x", "{ echo(text: \"a\") }").await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn every_violation_of_the_shared_stream_has_its_status() {
    let site = Site::with(|args| args.live_operations_max = 2).await;
    let caller = nobody(&site);
    let token = caller.reserve().await;
    let _reader = caller.read(&token).await;
    let operation = "/graphql?operationId=1";
    let query = json!({ "query": "mutation { bump }" });
    for (method, uri, with, status) in [
        (Method::GET, "/graphql", "unknown", StatusCode::NOT_FOUND),
        (Method::POST, "/graphql", "unknown", StatusCode::NOT_FOUND),
        (Method::DELETE, operation, "unknown", StatusCode::NOT_FOUND),
        (Method::DELETE, operation, "", StatusCode::NOT_FOUND),
        (
            Method::GET,
            "/graphql",
            token.as_str(),
            StatusCode::CONFLICT,
        ),
        (
            Method::POST,
            "/graphql",
            token.as_str(),
            StatusCode::BAD_REQUEST,
        ),
        (
            Method::DELETE,
            "/graphql",
            token.as_str(),
            StatusCode::BAD_REQUEST,
        ),
        (Method::DELETE, operation, token.as_str(), StatusCode::OK),
        (
            Method::PATCH,
            "/graphql",
            token.as_str(),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
    ] {
        let answer = caller.send(method.clone(), uri, with, query.clone()).await;
        assert_eq!(answer.0, status, "{method} {uri} {with}: {}", answer.1);
    }
    for (id, query, status) in [
        ("", "mutation { bump }", StatusCode::BAD_REQUEST),
        ("1", "{ echo", StatusCode::OK),
        ("1", "subscription { quiet }", StatusCode::ACCEPTED),
        ("1", "mutation { bump }", StatusCode::CONFLICT),
        ("2", "subscription { quiet }", StatusCode::ACCEPTED),
        ("3", "mutation { bump }", StatusCode::TOO_MANY_REQUESTS),
    ] {
        let answer = caller.order(&token, id, query).await;
        assert_eq!(answer.0, status, "{id} {query}: {}", answer.1);
    }
    assert_eq!(site.counts.bumps.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_stream_is_for_those_who_reserved_it() {
    let site = Site::new().await;
    let (one, other) = (
        site.issuer.user("user-mover"),
        site.issuer.user("user-mover"),
    );
    let caller = |token: &platform_testkit::issuer::Token| Caller {
        site: &site,
        bearer: Some(token.sign()),
    };
    let token = caller(&one).reserve().await;
    for stranger in [caller(&other), nobody(&site)] {
        let refused = StatusCode::NOT_FOUND;
        assert_eq!(
            stranger
                .raw(Method::GET, "/graphql", &token, json!(null))
                .await
                .0,
            refused
        );
        assert_eq!(
            stranger.order(&token, "1", "mutation { bump }").await.0,
            refused
        );
    }
    // A newer token of the same session is as good.
    let renewed = one.claim("jti", uuid::Uuid::now_v7().to_string());
    let mut reader = caller(&renewed).read(&token).await;
    assert_eq!(
        caller(&renewed).order(&token, "1", "{ who }").await.0,
        StatusCode::ACCEPTED
    );
    let who = reader.next().await["payload"]["data"]["who"].to_string();
    assert!(who.starts_with("\"user:"), "{who}");

    let bad = Caller {
        site: &site,
        bearer: Some("x".to_owned()),
    };
    assert_eq!(
        bad.raw(Method::PUT, "/graphql", "", json!(null)).await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_reservation_that_nobody_opens_is_given_back() {
    let site = Site::with(|args| args.live_init_time = Duration::from_millis(50)).await;
    let caller = nobody(&site);
    let token = caller.reserve().await;
    caller.order(&token, "1", "subscription { quiet }").await;
    site.until_open(0).await;
    site.until_operations(0).await;
    assert_eq!(
        caller
            .raw(Method::GET, "/graphql", &token, json!(null))
            .await
            .0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_shared_stream_without_operations_ends() {
    let site = Site::with(|args| {
        args.live_idle_time = Duration::from_millis(50);
        args.live_keep_alive_interval = Duration::from_millis(20);
    })
    .await;
    let caller = nobody(&site);
    let mut reader = caller.read(&caller.reserve().await).await;
    assert_eq!(reader.event().await, None);
    site.until_open(0).await;
}
