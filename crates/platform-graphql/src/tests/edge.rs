//! Methods, media types, statuses, headers.

use axum::extract::Request as AxumRequest;
use axum::response::IntoResponse;
use flate2::read::GzDecoder;
use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, ORIGIN, VARY,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn bytes(response: Response) -> Vec<u8> {
    let body = response.into_body().collect().await.unwrap();
    body.to_bytes().to_vec()
}

fn with(
    mut request: Request<Body>,
    name: impl http::header::IntoHeaderName,
    value: &str,
) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn post(query: &str) -> Request<Body> {
    json_request(json!({ "query": query }).to_string())
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_request_that_was_understood_is_200_for_clients_of_plain_json() {
    let site = Site::new();
    for (query, variables) in [
        ("{", json!({})),
        ("{ nothing }", json!({})),
        (
            "query($t: String!) { echo(text: $t) }",
            json!({ "t": null }),
        ),
    ] {
        let body = json!({ "query": query, "variables": variables }).to_string();
        for (accept, status) in [
            ("application/json", StatusCode::OK),
            ("*/*", StatusCode::OK),
            ("application/graphql-response+json", StatusCode::BAD_REQUEST),
        ] {
            let request = with(json_request(body.clone()), ACCEPT, accept);
            let (answered, answer) = site.send(request).await;
            assert_eq!(answered, status, "{query} {accept}");
            assert!(answer.get("data").is_none() && answer["errors"].is_array());
        }
    }
    // Not a request at all.
    let request = with(json_request("{"), ACCEPT, "application/json");
    assert_eq!(site.send(request).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_client_that_reads_neither_form_gets_406_and_no_effect() {
    let site = Site::new();
    let request = with(post("mutation { bump }"), ACCEPT, "text/html, image/*");
    let (status, answer) = site.send(request).await;
    assert_eq!(
        (status, reason_of(&answer)),
        (StatusCode::NOT_ACCEPTABLE, "GRAPHQL_NOT_ACCEPTABLE")
    );
    assert_eq!(site.bumped(), 0);
}

#[tokio::test]
async fn an_answer_says_that_it_is_private_and_what_it_depends_on() {
    let site = Site::new();
    for query in ["{ __typename }", "{"] {
        let headers = site.answer(post(query)).await.headers().clone();
        assert_eq!(headers[CACHE_CONTROL], "private, no-store");
        assert_eq!(
            headers[VARY],
            "accept, accept-encoding, authorization, cookie, origin"
        );
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let site = Site::new();
    let uri = "/graphql?query=%7B__typename%7D";
    let full = site.answer(get(uri)).await;
    let head = Request::head(uri).body(Body::empty()).unwrap();
    let head = site.answer(head).await;
    assert_eq!(head.status(), full.status());
    assert_eq!(head.headers()[CONTENT_TYPE], full.headers()[CONTENT_TYPE]);
    let length = head.headers()[CONTENT_LENGTH].clone();
    assert_eq!(length, bytes(full).await.len().to_string().as_str());
    assert!(bytes(head).await.is_empty());

    let head = Request::head("/graphql?query=mutation%7Bbump%7D");
    let refused = site.answer(head.body(Body::empty()).unwrap()).await;
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(site.bumped(), 0);
}

#[tokio::test]
async fn options_names_the_methods_and_listed_origins_may_ask() {
    let site = Site::with(|endpoint| endpoint.cors("https://app.example".parse().unwrap()));
    let options = |origin: Option<&str>| {
        let mut request = Request::options("/graphql")
            .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, "content-type,x-request-id");
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        request.body(Body::empty()).unwrap()
    };
    let listed = site.answer(options(Some("https://app.example"))).await;
    assert_eq!(listed.status(), StatusCode::NO_CONTENT);
    let headers = listed.headers();
    assert_eq!(headers[ALLOW], "GET, HEAD, POST, OPTIONS");
    assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
    assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    assert_eq!(
        headers[ACCESS_CONTROL_ALLOW_HEADERS],
        "content-type,x-request-id"
    );
    for other in [None, Some("https://evil.example"), Some("null")] {
        let answer = site.answer(options(other)).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        let headers = answer.headers();
        assert!(
            !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN),
            "{other:?}"
        );
        assert_eq!(headers[VARY], "origin");

        // The answer itself, refusals as well.
        for query in ["{ __typename }", "{"] {
            let plain = with(post(query), ORIGIN, other.unwrap_or("https://b.example"));
            let answer = site.answer(plain).await;
            assert!(!answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
            let listed = with(post(query), ORIGIN, "https://app.example");
            let answer = site.answer(listed).await;
            assert_eq!(
                answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN],
                "https://app.example"
            );
        }
    }
}

#[tokio::test]
async fn long_answers_to_queries_are_compressed_and_secrets_never() {
    let site = Site::new();
    let long = "{ longText(letters: 20000) }";
    let plain = bytes(site.answer(post(long)).await).await;
    let answer = site
        .answer(with(post(long), ACCEPT_ENCODING, "gzip, br"))
        .await;
    assert_eq!(answer.headers()[CONTENT_ENCODING], "gzip");
    let smaller = bytes(answer).await;
    assert!(smaller.len() * 10 < plain.len());
    let mut back = Vec::new();
    std::io::Read::read_to_end(&mut GzDecoder::new(&smaller[..]), &mut back).unwrap();
    assert_eq!(back, plain);

    for query in ["{ longText(letters: 100) }", "mutation { login }", "{"] {
        let answer = site
            .answer(with(post(query), ACCEPT_ENCODING, "gzip"))
            .await;
        assert!(!answer.headers().contains_key(CONTENT_ENCODING), "{query}");
    }
}

#[tokio::test]
async fn a_person_with_a_browser_sees_the_page() {
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    let site =
        Site::with(|endpoint| endpoint.page(|head| head.uri.path().to_owned().into_response()));
    let page = site.answer(with(get("/graphql"), ACCEPT, browser)).await;
    assert_eq!(bytes(page).await, b"/graphql");
    let asked = with(get("/graphql?query=%7B__typename%7D"), ACCEPT, browser);
    assert_eq!(
        site.send(asked).await,
        (StatusCode::OK, json!({ "data": { "__typename": "Query" } }))
    );
    for other in [
        with(get("/graphql"), ACCEPT, "*/*"),
        with(post(""), ACCEPT, browser),
    ] {
        assert_eq!(site.send(other).await.0, StatusCode::BAD_REQUEST);
    }
    let without = Site::new()
        .send(with(get("/graphql"), ACCEPT, browser))
        .await;
    assert_eq!(reason_of(&without.1), "GRAPHQL_REQUEST_MALFORMED");
}

#[tokio::test]
async fn a_client_says_how_long_it_waits() {
    let site = Site::new();
    let remaining = async |timeout: &str| {
        let request = with(post("{ remainingMs }"), "request-timeout", timeout);
        site.send(request).await.1["data"]["remainingMs"]
            .as_u64()
            .unwrap()
    };
    assert!((1_000..=1_500).contains(&remaining("1500ms").await));
    assert!((50_000..=60_000).contains(&remaining("1h").await));

    let begun = Instant::now();
    let (status, answer) = site
        .send(with(post("{ hangs }"), "request-timeout", "10ms"))
        .await;
    assert_eq!(
        (status, reason_of(&answer)),
        (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_PASSED")
    );
    assert!(begun.elapsed() < Duration::from_secs(5));

    let (status, answer) = site
        .send(with(post("mutation { bump }"), "request-timeout", "soon"))
        .await;
    assert_eq!(
        (status, reason_of(&answer)),
        (StatusCode::BAD_REQUEST, "GRAPHQL_REQUEST_MALFORMED")
    );
    assert_eq!(site.bumped(), 0);
}

#[tokio::test]
async fn the_work_for_clients_that_went_away_is_dropped() {
    let hour = Duration::from_secs(3600);
    let site = Site::with(|endpoint| endpoint.deadline(hour, hour));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(axum::serve(listener, site.router.clone()).into_future());

    let body = r#"{"query":"{ hangs }"}"#;
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = TcpStream::connect(addr).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        clients.push(client);
    }
    site.gate.until_inside(10).await;
    drop(clients.split_off(3));
    site.gate.until_inside(3).await;
    drop(clients);
    site.gate.until_inside(0).await;
    serving.abort();
}

#[tokio::test]
async fn health_is_answered_to_anybody() {
    let router = crate::health();
    let ask = async |method: Method| {
        let request = AxumRequest::builder().method(method).uri("/healthz");
        let request = request.body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    };
    let answer = ask(Method::GET).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(bytes(answer).await, b"{\"status\":\"ok\"}\n");
    assert_eq!(ask(Method::HEAD).await.status(), StatusCode::OK);
    assert_eq!(
        ask(Method::POST).await.status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}
