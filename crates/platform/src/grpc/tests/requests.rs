//! What comes in: malformed, oversized, unknown; and what goes wrong inside.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use platform_contract::PlatformReason;
use prost::Message;
use tokio::net::TcpStream;
use tonic::{Code, Status};

use crate::error::Details;
use crate::grpc::testing::{Running, args, nobodys_verifier};

const DO: &str = "/test.v1.TestService/Do";

/// Bytes as they are, over a connection of our own; answers HTTP status, and the gRPC status.
async fn raw(
    running: &Running,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, Option<Status>) {
    let socket = TcpStream::connect(running.addr).await.unwrap();
    let (mut sender, connection) =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(format!("http://{}{path}", running.addr));
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender
        .send_request(request.body(Full::new(body.into())).unwrap())
        .await
        .unwrap();
    let code = response.status().as_u16();
    let mut headers: HeaderMap = response.headers().clone();
    let body = response.into_body().collect().await.unwrap();
    headers.extend(body.trailers().cloned().unwrap_or_default());
    (code, Status::from_header_map(&headers))
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend(message);
    out
}

fn order(text: &str) -> Vec<u8> {
    framed(&text.to_owned().encode_to_vec())
}

#[track_caller]
fn assert_refused(status: &Status, code: Code, reason: PlatformReason) {
    assert_eq!(status.code(), code, "{status:?}");
    assert!(Details::is(status, reason), "{status:?}");
    assert_eq!(
        Details::of(status).domain.as_deref(),
        Some("test.homeward"),
        "{status:?}"
    );
}

#[tokio::test]
async fn a_call_is_answered() {
    let running = Running::start().await;
    assert_eq!(
        running.client().await.run("echo:hello").await.unwrap(),
        "hello"
    );
}

#[tokio::test]
async fn a_panic_is_one_calls_internal_fault_and_the_connection_lives() {
    let running = Running::start().await;
    let client = running.client().await;
    let other = tokio::spawn({
        let client = client.clone();
        async move { client.run("sleep:200").await }
    });
    running.has_begun(1).await;
    let status = client.run("panic").await.unwrap_err();
    assert_refused(&status, Code::Internal, PlatformReason::InternalFault);
    assert!(!status.message().contains("as asked"));
    assert_eq!(client.run("echo:alive").await.unwrap(), "alive");
    // The call beside it on the same connection was not disturbed.
    assert_eq!(other.await.unwrap().unwrap(), "slept");
}

#[tokio::test]
async fn a_panic_in_a_stream_ends_it_with_a_status() {
    let running = Running::start().await;
    let client = running.client().await;
    let mut stream = client.stream("panic").await.unwrap();
    let status = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "the stream ended without a status"),
            Err(status) => break status,
        }
    };
    assert_refused(&status, Code::Internal, PlatformReason::InternalFault);
    assert_eq!(client.run("echo:alive").await.unwrap(), "alive");
}

#[tokio::test]
async fn a_refusal_in_a_stream_names_the_domain() {
    let running = Running::start().await;
    let mut stream = running.client().await.stream("refuse").await.unwrap();
    stream.message().await.unwrap();
    stream.message().await.unwrap();
    assert_refused(
        &stream.message().await.unwrap_err(),
        Code::Aborted,
        PlatformReason::VersionMismatch,
    );
}

#[tokio::test]
async fn undecodable_requests_are_the_callers_fault() {
    let running = Running::start().await;
    for (what, body) in [
        ("no message of the type", framed(&[0xff; 10])),
        ("a field that is cut off", framed(&[0x0a, 0x7f, b'x'])),
        ("text that is not UTF-8", framed(&[0x0a, 0x02, 0xff, 0xfe])),
        (
            "a message that is cut off",
            order("echo:hello")[..9].to_vec(),
        ),
        ("a prefix that is cut off", vec![0, 0, 0]),
        ("nothing at all", vec![]),
        (
            "a compressed message without a compression",
            [&[1][..], &order("echo:x")[1..]].concat(),
        ),
        (
            "an unknown flag",
            [&[9][..], &order("echo:x")[1..]].concat(),
        ),
    ] {
        let (http, status) = raw(&running, DO, &[], body).await;
        assert_eq!(http, 200, "{what}");
        assert_refused(
            &status.expect(what),
            Code::InvalidArgument,
            PlatformReason::RequestUndecodable,
        );
    }
    assert_eq!(running.server.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn undecodable_requests_for_health_are_the_callers_fault_too() {
    let running = Running::start().await;
    for method in ["Check", "Watch"] {
        let path = format!("/grpc.health.v1.Health/{method}");
        let (http, status) = raw(&running, &path, &[], framed(&[0xff; 10])).await;
        assert_eq!(http, 200, "{method}");
        assert_refused(
            &status.expect(method),
            Code::InvalidArgument,
            PlatformReason::RequestUndecodable,
        );
    }
}

#[tokio::test]
async fn a_handlers_own_internal_stays_internal() {
    let running = Running::start().await;
    let client = running.client().await;
    let status = client.run("internal").await.unwrap_err();
    assert_refused(&status, Code::Internal, PlatformReason::InternalFault);
    // Also with the message cut into many frames, and with a bare status of which the cause stays inside.
    let status = client
        .run(&format!("bare:{}", "x".repeat(200_000)))
        .await
        .unwrap_err();
    assert_refused(&status, Code::Internal, PlatformReason::InternalFault);
    assert!(!status.message().contains("secret"));
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_before_it_is_read() {
    let running = Running::start().await;
    let limit = args().request_bytes_max;
    let fits = "x".repeat(limit - 100);
    let client = running.client().await;
    assert_eq!(client.run(&format!("echo:{fits}")).await.unwrap(), fits);
    let status = client
        .run(&format!("echo:{}", "x".repeat(limit)))
        .await
        .unwrap_err();
    assert_refused(
        &status,
        Code::ResourceExhausted,
        PlatformReason::MessageTooLarge,
    );
    // Only the length is sent: the answer must not wait for four gigabytes.
    let (_, status) = raw(&running, DO, &[], vec![0, 0xff, 0xff, 0xff, 0xff]).await;
    assert_refused(
        &status.unwrap(),
        Code::ResourceExhausted,
        PlatformReason::MessageTooLarge,
    );
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused() {
    let mut args = args();
    args.response_bytes_max = 10_000;
    let running = Running::with(&args, nobodys_verifier()).await;
    let client = running.client().await;
    assert_eq!(client.run("big:9000").await.unwrap().len(), 9000);
    let status = client.run("big:10000").await.unwrap_err();
    assert_refused(
        &status,
        Code::ResourceExhausted,
        PlatformReason::MessageTooLarge,
    );
}

#[tokio::test]
async fn a_path_that_is_not_in_the_contract_is_unknown() {
    let running = Running::start().await;
    for path in [
        "/test.v1.TestService/Nothing",
        "/test.v1.TestService/do",
        "/test.v1.TestService/",
        "/other.v1.Service/Do",
        "/grpc.health.v1.Health/List",
        "/",
        "/test.v1.TestService/Do/",
    ] {
        let (http, status) = raw(&running, path, &[], order("echo:x")).await;
        assert_eq!(http, 200, "{path}");
        assert_refused(
            &status.unwrap(),
            Code::Unimplemented,
            PlatformReason::MethodUnknown,
        );
    }
}

#[tokio::test]
async fn what_is_not_grpc_gets_an_answer_of_http() {
    let running = Running::start().await;
    let (http, status) = raw(
        &running,
        DO,
        &[("content-type", "application/json")],
        b"{}".to_vec(),
    )
    .await;
    assert_eq!((http, status.is_none()), (415, true));
    let (http, _) = raw(
        &running,
        DO,
        &[("content-type", "application/grpc+proto")],
        order("echo:x"),
    )
    .await;
    assert_eq!(http, 200);
}

#[tokio::test]
async fn malformed_deadlines_are_refused() {
    let running = Running::start().await;
    for bad in ["", "1", "1s", "S", "123456789S", "-1S", "1.5S", " 1S "] {
        let (_, status) = raw(&running, DO, &[("grpc-timeout", bad)], order("echo:x")).await;
        let status = status.unwrap();
        assert_refused(&status, Code::InvalidArgument, PlatformReason::FieldInvalid);
        assert_eq!(Details::of(&status).violations[0].0, "grpc-timeout");
    }
    let twice = [("grpc-timeout", "1S"), ("grpc-timeout", "2S")];
    let (_, status) = raw(&running, DO, &twice, order("echo:x")).await;
    assert_refused(
        &status.unwrap(),
        Code::InvalidArgument,
        PlatformReason::FieldInvalid,
    );
}

#[tokio::test]
async fn metadata_over_the_limit_is_refused_and_others_go_on() {
    let running = Running::start().await;
    let client = running.client().await;
    assert_eq!(client.run("echo:before").await.unwrap(), "before");
    let huge = "x".repeat(args().metadata_bytes_max as usize);
    let (http, _) = raw(&running, DO, &[("x-huge", &huge)], order("echo:x")).await;
    assert_eq!(http, 431);
    assert_eq!(client.run("echo:after").await.unwrap(), "after");
}
