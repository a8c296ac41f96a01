use super::*;

fn get(query: &str, accept: &str) -> Request<Body> {
    let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let request = Request::get(format!("/graphql?query={query}")).header(ACCEPT, accept);
    request.body(Body::empty()).unwrap()
}

const NUMBERS: &str = "subscription { numbers(to: 2) }";

#[tokio::test]
async fn each_operation_can_have_a_stream_of_its_own() {
    let site = Site::new().await;
    for request in [post(NUMBERS), get(NUMBERS, "text/event-stream")] {
        let response = site.send(request).await;
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let mut reader = Reader::new(response);
        for n in 0..2 {
            assert_eq!(reader.next().await, json!({ "data": { "numbers": n } }));
        }
        reader.complete().await;
    }
    for (query, data) in [
        ("{ echo(text: \"a\") }", json!({ "echo": "a" })),
        ("mutation { bump }", json!({ "bump": 1 })),
    ] {
        let mut reader = Reader::new(site.send(post(query)).await);
        assert_eq!(reader.next().await, json!({ "data": data }));
        reader.complete().await;
    }
    site.until_open(0).await;
    site.until_operations(0).await;
}

#[tokio::test]
async fn what_is_wrong_with_the_document_is_told_on_the_stream() {
    let site = Site::new().await;
    for (query, word) in [
        ("{ echo", "GRAPHQL_SYNTAX_INVALID"),
        ("subscription { nothing }", "GRAPHQL_DOCUMENT_INVALID"),
        ("subscription { panics }", "INTERNAL_FAULT"),
    ] {
        let mut reader = Reader::new(site.send(post(query)).await);
        let data = reader.next().await;
        assert_eq!(reason(&data), word);
        assert!(data.get("data").is_none());
        reader.complete().await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_request_keeps_its_status() {
    let site = Site::new().await;
    let mut malformed = post("");
    *malformed.body_mut() = Body::from("{");
    let mut plain = post("mutation { bump }");
    plain
        .headers_mut()
        .insert(CONTENT_TYPE, "text/plain".parse().unwrap());
    for (request, status) in [
        (malformed, StatusCode::BAD_REQUEST),
        (plain, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (
            get("mutation { bump }", "text/event-stream"),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (get("{ a }", "text/plain"), StatusCode::NOT_ACCEPTABLE),
    ] {
        let (answered, answer) = json_of(site.send(request).await).await;
        assert_eq!(answered, status, "{answer}");
    }
    assert_eq!(site.counts.bumps.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_subscription_needs_a_stream_and_a_query_none() {
    let site = Site::new().await;
    for (request, status) in [
        (get(NUMBERS, "application/json"), StatusCode::OK),
        (
            get(NUMBERS, "application/graphql-response+json"),
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let (answered, answer) = json_of(site.send(request).await).await;
        assert_eq!(
            (answered, reason(&answer)),
            (status, "GRAPHQL_STREAM_REQUIRED")
        );
    }
    let both = "application/graphql-response+json, text/event-stream";
    let mut reader = Reader::new(site.send(get(NUMBERS, both)).await);
    assert_eq!(reader.next().await, json!({ "data": { "numbers": 0 } }));
    let (status, answer) = json_of(site.send(get("{ echo(text: \"a\") }", both)).await).await;
    assert_eq!(
        (status, answer),
        (StatusCode::OK, json!({ "data": { "echo": "a" } }))
    );
}

#[tokio::test]
async fn a_reader_that_leaves_takes_the_operation_along() {
    let site = Site::new().await;
    let mut reader = Reader::new(site.send(post("subscription { quiet }")).await);
    reader.next().await;
    site.gate.until_inside(1).await;
    drop(reader);
    site.gate.until_inside(0).await;
    site.until_open(0).await;
}

#[tokio::test]
async fn a_stream_with_nothing_to_say_writes_comments() {
    let site = Site::with(|args| args.live_keep_alive_interval = Duration::from_millis(20)).await;
    let mut reader = Reader::new(site.send(post("subscription { quiet }")).await);
    let mut comments = 0;
    while comments < 4 {
        comments += usize::from(reader.piece().await.unwrap() == ":");
    }
    site.gate.open.send_replace(true);
    while reader.event().await != Some(("complete".to_owned(), Value::Null)) {}
}

#[tokio::test]
async fn a_page_of_another_origin_may_ask_before_it_reserves() {
    let site = Site::serving(
        |_| {},
        |endpoint, _| endpoint.cors("https://app.example.org".parse().unwrap()),
    )
    .await;
    let request = Request::options("/graphql")
        .header("origin", "https://app.example.org")
        .header("access-control-request-method", "PUT")
        .header(
            "access-control-request-headers",
            "x-graphql-event-stream-token",
        );
    let answer = site.send(request.body(Body::empty()).unwrap()).await;
    let headers = answer.headers();
    assert_eq!(
        headers["access-control-allow-methods"],
        "GET, POST, PUT, DELETE"
    );
    assert_eq!(
        headers["access-control-allow-headers"],
        "x-graphql-event-stream-token"
    );
}
