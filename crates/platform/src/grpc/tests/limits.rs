//! Time and load.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use platform_contract::PlatformReason;
use prost::Message;
use tokio::net::TcpStream;
use tonic::{Code, Request};

use crate::error::Details;
use crate::grpc::testing::{Running, args, eventually, nobodys_verifier};

const DO: &str = "/test.v1.TestService/Do";

pub(super) fn within(limit: Duration, order: &str) -> Request<String> {
    let mut request = Request::new(order.to_owned());
    // Set by hand: tonic's own client would give up by itself and hide what the server says.
    let value = crate::grpc::timeout_header(limit)
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    request.metadata_mut().insert("grpc-timeout", value);
    request
}

#[tokio::test]
async fn a_passed_deadline_is_said_so_and_the_work_is_dropped() {
    let mut args = args();
    args.deadline_default = Duration::from_millis(100);
    let running = Running::with(&args, nobodys_verifier()).await;
    let client = running.client().await;
    let started = Instant::now();
    let status = client.run("sleep:1000").await.unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(900));
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(Details::is(&status, PlatformReason::DeadlinePassed));
    assert_eq!(Details::of(&status).retryable, Some(true));
    tokio::time::sleep_until((started + Duration::from_millis(1200)).into()).await;
    assert_eq!(running.server.done.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn handlers_see_what_is_left_of_the_callers_time() {
    let mut args = args();
    (args.deadline_default, args.deadline_max) = (Duration::from_secs(20), Duration::from_secs(30));
    let running = Running::with(&args, nobodys_verifier()).await;
    let client = running.client().await;
    for (asked, expected) in [(None, 20_000), (Some(5), 5_000), (Some(3600), 30_000)] {
        let request = match asked {
            Some(seconds) => within(Duration::from_secs(seconds), "remaining"),
            None => Request::new("remaining".to_owned()),
        };
        let left: u64 = client.call(DO, request).await.unwrap().parse().unwrap();
        assert!(
            (expected - 3000..=expected).contains(&left),
            "{left} of {expected}"
        );
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_deadline() {
    let mut args = args();
    args.deadline_default = Duration::from_millis(100);
    let running = Running::with(&args, nobodys_verifier()).await;
    let mut stream = running.client().await.stream("").await.unwrap();
    let status = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match stream.message().await {
                Ok(message) => assert!(message.is_some(), "it ended without a status"),
                Err(status) => return status,
            }
        }
    });
    let status = status.await.expect("the stream ended in time");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(Details::is(&status, PlatformReason::DeadlinePassed));
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_work_along() {
    let running = Running::start().await;
    let client = running.client().await;
    let call = tokio::spawn(async move { client.run("sleep:60000").await });
    running.has_begun(1).await;
    call.abort();
    eventually(|| running.metrics().contains("rpc_server_calls_in_flight 0")).await;
    assert!(
        running
            .metrics()
            .contains(r#"rpc_response_status_code="CANCELLED""#)
    );
}

#[tokio::test]
async fn a_call_waits_for_its_turn_within_the_age() {
    let mut args = args();
    (args.calls_max, args.call_queue_age_max) = (1, Duration::from_secs(5));
    let running = Running::with(&args, nobodys_verifier()).await;
    let client = running.client().await;
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.run("sleep:5").await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn streams_keep_their_place_until_they_end() {
    let mut args = args();
    (args.calls_max, args.call_queue_age_max) = (1, Duration::from_millis(20));
    let running = Running::with(&args, nobodys_verifier()).await;
    let client = running.client().await;
    let mut stream = client.stream("").await.unwrap();
    stream.message().await.unwrap();
    assert_eq!(
        client.run("echo:x").await.unwrap_err().code(),
        Code::ResourceExhausted
    );
    drop(stream);
    eventually(|| running.metrics().contains("rpc_server_calls_in_flight 0")).await;
    assert_eq!(client.run("echo:x").await.unwrap(), "x");
}

#[tokio::test]
async fn one_connection_has_a_bounded_number_of_streams() {
    let mut args = args();
    args.streams_per_connection_max = 3;
    let running = Running::with(&args, nobodys_verifier()).await;
    let client = running.client().await;
    // The limit is known to the client once the first answer is there.
    client.run("echo:x").await.unwrap();
    let calls: Vec<_> = (0..9)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.run("sleep:200").await })
        })
        .collect();
    let started = Instant::now();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // Three at a time.
    assert!(started.elapsed() >= Duration::from_millis(600));
}

#[tokio::test]
async fn an_answer_that_is_not_taken_loses_its_place_with_the_deadline() {
    let mut args = args();
    args.deadline_default = Duration::from_secs(1);
    let running = Running::with(&args, nobodys_verifier()).await;
    let order = "big:1000000".to_owned().encode_to_vec();
    let prefix = [0, 0, 0, 0, u8::try_from(order.len()).unwrap()];
    // No room at all, and room to begin with.
    for window in [0, 1] {
        let socket = TcpStream::connect(running.addr).await.unwrap();
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(socket))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("{}{DO}", running.url()))
            .header("content-type", "application/grpc")
            .body(Full::new(Bytes::from([&prefix, &order[..]].concat())))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert!(running.metrics().contains("rpc_server_calls_in_flight 1"));
        eventually(|| running.metrics().contains("rpc_server_calls_in_flight 0")).await;
        assert!(answer.into_body().collect().await.is_err());
        // The connection is good for who reads.
        assert!(sender.ready().await.is_ok());
    }
}

#[tokio::test]
async fn what_is_not_grpc_has_no_longer_to_take_its_answer_either() {
    let mut args = args();
    args.deadline_default = Duration::from_millis(200);
    let running = Running::with(&args, nobodys_verifier()).await;
    for (method, status, bytes) in [("GET", 405, Err(())), ("HEAD", 405, Ok(0))] {
        let socket = TcpStream::connect(running.addr).await.unwrap();
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(TokioIo::new(socket))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = http::Request::builder()
            .method(method)
            .uri(running.url())
            .body(Full::new(Bytes::new()))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status);
        let ended = tokio::time::timeout(Duration::from_secs(10), answer.into_body().collect());
        let body = ended.await.expect("the stream is reset");
        let taken = body.map(|body| body.to_bytes().len()).map_err(|_| ());
        assert_eq!(taken, bytes, "{method}");
    }
}
