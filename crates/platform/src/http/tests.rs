use axum::routing::{get, post};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use super::*;
use crate::telemetry::tests::{attribute, recorded, recording};

const LIMIT: Duration = Duration::from_secs(1);

struct Server {
    addr: SocketAddr,
    drain: CancellationToken,
    abort: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

async fn server(router: Router) -> Server {
    server_within(Limits::of(16), router).await
}

async fn server_within(limits: Limits, router: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
    let router = stack(router, LIMIT, &mut Registry::default());
    let serving = tokio::spawn(serve(
        listener,
        router,
        limits,
        drain.clone(),
        abort.clone(),
    ));
    Server {
        addr,
        drain,
        abort,
        serving,
    }
}

async fn send(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn asked(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_panic_is_answered_and_the_next_request_too() {
    async fn fails() -> &'static str {
        panic!("planted")
    }
    let router = Router::new()
        .route("/panic", get(fails))
        .route("/fine", get("fine"));
    let server = server(router).await;
    assert!(
        send(server.addr, &asked("/panic", ""))
            .await
            .starts_with("HTTP/1.1 500")
    );
    assert!(
        send(server.addr, &asked("/fine", ""))
            .await
            .ends_with("fine")
    );
}

#[tokio::test]
async fn a_place_is_not_kept_for_a_connection_that_asks_nothing() {
    let limits = Limits {
        connections: 1,
        head_time: Duration::from_millis(100),
    };
    let server = server_within(limits, Router::new().route("/", get("here"))).await;
    // Nothing; what may become HTTP/1 or HTTP/2; half a head; an answered request and then nothing.
    let whole = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    for said in ["", "P", "GET / HTTP/1.1\r\nhos", whole] {
        let mut silent = TcpStream::connect(server.addr).await.unwrap();
        silent.write_all(said.as_bytes()).await.unwrap();
        let request = asked("/", "");
        let next = timeout(Duration::from_secs(10), send(server.addr, &request)).await;
        assert!(
            next.is_ok_and(|next| next.ends_with("here")),
            "after {said:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let router = Router::new().route(
        "/",
        post(async |body: bytes::Bytes| {
            assert!(deadline::remaining().is_some());
            body
        }),
    );
    let server = server(router).await;
    let broken_off =
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\nabc";
    assert!(
        send(server.addr, broken_off)
            .await
            .starts_with("HTTP/1.1 504")
    );
}

#[tokio::test]
async fn a_handler_runs_in_the_trace_of_its_request() {
    let router = Router::new().route("/", get(async || trace::current().to_string()));
    let server = server(router).await;
    let sent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let answer = send(server.addr, &asked("/", sent)).await;
    assert!(
        answer.contains("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_request_is_a_span_of_its_route_and_says_nothing_of_its_path() {
    async fn fails() -> &'static str {
        panic!("planted")
    }
    let router = Router::new()
        .route("/people/{name}", get("hello"))
        .route("/hangs", get(std::future::pending::<()>))
        .route("/panics", get(fails));
    let server = server(router).await;
    recording();
    for (path, name, status, fault) in [
        ("/people/anna?token=secret", "GET /people/{name}", "200", ""),
        ("/anna", "GET none", "404", ""),
        ("/panics", "GET /panics", "500", "500"),
        ("/hangs", "GET /hangs", "504", "504"),
    ] {
        let root = TraceContext::new();
        let traced = format!("traceparent: {root}\r\n");
        send(server.addr, &asked(path, &traced)).await;
        let spans = recorded(root, 1).await;
        let span = &spans[0];
        assert_eq!((&*span.name, &span.span_kind), (name, &Kind::Server));
        assert_eq!(span.parent_span_id, root.span_id.into());
        assert_eq!(attribute(span, "http.response.status_code"), status);
        assert_eq!(attribute(span, "error.type"), fault);
        let text = format!("{span:?}");
        assert!(!text.contains("anna") && !text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_413_announced_or_not() {
    let router = Router::new().route("/", post(async |body: bytes::Bytes| body.len().to_string()));
    let server = server(limit_bodies(router, 10)).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let announced = |bytes: &str| format!("{head}content-length: {}\r\n\r\n{bytes}", bytes.len());
    assert!(
        send(server.addr, &announced("0123456789"))
            .await
            .ends_with("10")
    );
    assert!(
        send(server.addr, &announced("0123456789a"))
            .await
            .starts_with("HTTP/1.1 413")
    );
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n");
    assert!(
        send(server.addr, &chunked)
            .await
            .starts_with("HTTP/1.1 413")
    );
}

#[tokio::test]
async fn a_refused_body_is_thrown_away_and_the_next_request_is_answered() {
    let router = Router::new().route("/", post(async |body: bytes::Bytes| body.len().to_string()));
    let server = server(limit_bodies(router, 10)).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\n";
    let large = format!("content-length: 1000000\r\n\r\n{}", "x".repeat(1_000_000));
    let next = "connection: close\r\ncontent-length: 2\r\n\r\nab";
    let answers = send(server.addr, &format!("{head}{large}{head}{next}")).await;
    assert!(answers.starts_with("HTTP/1.1 413"), "{answers}");
    assert!(answers.contains("HTTP/1.1 200"), "{answers}");
}

#[tokio::test]
async fn a_refused_body_that_does_not_come_ends_the_connection_and_the_answer_says_so() {
    let router = Router::new().route("/", post(async |body: bytes::Bytes| body.len().to_string()));
    let server = server(limit_bodies(router, 10)).await;
    let refused = send(
        server.addr,
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\nabc",
    )
    .await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    assert!(refused.contains("connection: close\r\n"), "{refused}");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_drain_began_and_503_when_it_is_over() {
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let wait = {
        let (began, go_on) = (began.clone(), go_on.clone());
        async move || {
            began.notify_one();
            go_on.notified().await;
            "done"
        }
    };
    let server = server(Router::new().route("/", get(wait))).await;
    let first = tokio::spawn(async move { send(server.addr, &asked("/", "")).await });
    began.notified().await;
    let second = tokio::spawn(async move { send(server.addr, &asked("/", "")).await });
    began.notified().await;

    server.drain.cancel();
    go_on.notify_one();
    assert!(first.await.unwrap().ends_with("done"));
    assert!(TcpStream::connect(server.addr).await.is_err());
    server.abort.cancel();
    assert!(second.await.unwrap().starts_with("HTTP/1.1 503"));
    server.serving.await.unwrap();
}

#[tokio::test]
async fn a_request_is_called_what_its_client_calls_it_also_where_nothing_is_found() {
    let id = async || trace::request_id().unwrap().to_string();
    let server = server(Router::new().route("/", get(id))).await;
    let answer = send(server.addr, &asked("/", "x-request-id: order-17\r\n")).await;
    assert!(
        answer.contains("\r\nx-request-id: order-17\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("order-17"), "{answer}");
    let answer = send(server.addr, &asked("/none", "x-request-id: two words\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(
        answer.contains("\r\nx-request-id: ") && !answer.contains("words"),
        "{answer}"
    );
}

#[tokio::test]
async fn work_for_a_client_that_went_away_is_dropped() {
    struct Worked(Arc<Notify>);
    impl Drop for Worked {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hangs = {
        let (began, dropped) = (began.clone(), dropped.clone());
        async move || {
            let _worked = Worked(dropped);
            began.notify_one();
            std::future::pending::<&str>().await
        }
    };
    // Without a deadline of its own that could end the work first.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let hour = Duration::from_secs(3600);
    let router = stack(
        Router::new().route("/", get(hangs)),
        hour,
        &mut Registry::default(),
    );
    let never = CancellationToken::new();
    let _serving = tokio::spawn(serve(
        listener,
        router,
        Limits::of(16),
        never.clone(),
        never,
    ));

    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(asked("/", "").as_bytes()).await.unwrap();
    began.notified().await;
    drop(stream);
    tokio::time::timeout(Duration::from_secs(10), dropped.notified())
        .await
        .unwrap();
}
