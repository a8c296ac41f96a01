use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::Response;
use platform_contract::PlatformReason;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::{Code, Request};

use super::{Channel, Condition, Metrics};
use crate::error::Details;
use crate::grpc::testing::{Running, TestClient, args, eventually, nobodys_verifier};
use crate::telemetry::Kind;
use crate::telemetry::tests::{attribute, recorded, recording};
use crate::trace::TraceContext;
use crate::{deadline, trace};

const DO: &str = "/test.v1.TestService/Do";

struct Client {
    registry: Registry,
    channel: Channel,
    calls: TestClient<Channel>,
}

fn client(addresses: &[SocketAddr]) -> Client {
    let target: Vec<_> = addresses
        .iter()
        .map(|addr| format!("http://{addr}"))
        .collect();
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let channel = Channel::connect(&metrics, "test", &target.join(",").parse().unwrap());
    Client {
        registry,
        calls: TestClient(channel.clone()),
        channel,
    }
}

impl Client {
    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Calls until both replicas have answered.
    async fn is_balanced(&self) {
        let mut names = HashSet::new();
        let started = Instant::now();
        while names.len() < 2 {
            names.insert(self.calls.run("name").await.unwrap());
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "only {names:?} answers"
            );
        }
    }
}

async fn replica(name: &'static str) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Running::on(listener, &args(), nobodys_verifier(), name)
}

async fn nobody_listens() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// What a peer of the wire does with every stream.
#[derive(Clone, Copy)]
enum Peer {
    Resets(Reason),
    /// Accepts the connection, reads the request, and is gone.
    Dies,
    /// Answers a status with details that are no base64.
    Babbles,
    /// Says that it takes no streams any more, after it got the first.
    GoesAway,
    /// Is a proxy that says so in HTTP, and in words.
    FindsNobody,
    Silent,
}

/// A peer that speaks HTTP/2 and nothing else; answers its address, and how many streams it saw.
async fn peer(peer: Peer) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let streams = Arc::new(AtomicUsize::new(0));
    let seen = streams.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                let mut kept = Vec::new();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    seen.fetch_add(1, Ordering::SeqCst);
                    match peer {
                        Peer::Resets(reason) => respond.send_reset(reason),
                        Peer::Dies => return,
                        Peer::GoesAway => connection.abrupt_shutdown(Reason::NO_ERROR),
                        Peer::Silent => kept.push((request, respond)),
                        Peer::FindsNobody => {
                            let response = Response::builder()
                                .status(503)
                                .header("content-type", "text/html");
                            let response = response.body(()).unwrap();
                            let mut body = respond.send_response(response, false).unwrap();
                            body.send_data(Bytes::from("<h1>503</h1>"), true).unwrap();
                        }
                        Peer::Babbles => {
                            let response = Response::builder()
                                .header("content-type", "application/grpc")
                                .header("grpc-status", "5")
                                .header("grpc-status-details-bin", "!!!")
                                .body(())
                                .unwrap();
                            respond.send_response(response, true).map(drop).unwrap();
                        }
                    }
                }
            });
        }
    });
    (addr, streams)
}

/// A peer that answers the first request of each connection with a GOAWAY which names no stream.
async fn leaves_everything_out() -> (SocketAddr, Arc<AtomicUsize>) {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const HEADERS: u8 = 1;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let streams = Arc::new(AtomicUsize::new(0));
    let seen = streams.clone();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let seen = seen.clone();
            tokio::spawn(async move {
                socket.write_all(&SETTINGS).await.unwrap();
                socket.read_exact(&mut [0; 24]).await.unwrap();
                loop {
                    let mut head = [0; 9];
                    if socket.read_exact(&mut head).await.is_err() {
                        return;
                    }
                    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                    socket.read_exact(&mut vec![0; length]).await.unwrap();
                    if head[3] == HEADERS {
                        seen.fetch_add(1, Ordering::SeqCst);
                        socket.write_all(&GOAWAY).await.unwrap();
                    }
                }
            });
        }
    });
    (addr, streams)
}

#[tokio::test]
async fn calls_are_spread_over_the_replicas() {
    let (one, two) = (replica("one").await, replica("two").await);
    let client = client(&[one.addr, two.addr]);
    client.is_balanced().await;
    let before = [&one, &two].map(|running| running.server.done.load(Ordering::SeqCst));
    for _ in 0..20 {
        client.calls.run("echo:x").await.unwrap();
    }
    let after = [&one, &two].map(|running| running.server.done.load(Ordering::SeqCst));
    assert_eq!([after[0] - before[0], after[1] - before[1]], [10, 10]);
}

#[tokio::test]
async fn a_dead_replica_costs_no_call() {
    let live = replica("live").await;
    let client = client(&[nobody_listens().await, live.addr]);
    for _ in 0..50 {
        assert_eq!(client.calls.run("name").await.unwrap(), "live");
    }
    eventually(|| matches!(client.channel.state()[0].condition, Condition::Down(_))).await;
    assert_eq!(client.channel.state()[1].condition, Condition::Up);
}

#[tokio::test]
async fn a_replica_that_drains_under_load_costs_no_call() {
    let (one, two) = (replica("one").await, replica("two").await);
    let client = client(&[one.addr, two.addr]);
    client.is_balanced().await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (calls, stop) = (client.calls.clone(), stop.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::SeqCst) {
                    calls.run("sleep:1").await.unwrap();
                    count += 1;
                }
                count
            })
        })
        .collect();
    one.has_begun(50).await;
    one.drain.cancel();
    eventually(|| one.served.is_finished()).await;
    let begun = two.server.begun.load(Ordering::SeqCst);
    two.has_begun(begun + 50).await;
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_refused_stream_goes_to_another_replica_once() {
    let live = replica("live").await;
    let (refuses, streams) = peer(Peer::Resets(Reason::REFUSED_STREAM)).await;
    let client = client(&[refuses, live.addr]);
    for _ in 0..10 {
        assert_eq!(client.calls.run("name").await.unwrap(), "live");
    }
    eventually(|| {
        client
            .channel
            .state()
            .iter()
            .all(|state| state.condition == Condition::Up)
    })
    .await;
    for _ in 0..10 {
        assert_eq!(client.calls.run("name").await.unwrap(), "live");
    }
    let refused = streams.load(Ordering::SeqCst);
    assert!(refused > 0);
    assert!(client.metrics().contains(&format!(
        "rpc_client_calls_resent_total{{server=\"test\"}} {refused}"
    )));
}

#[tokio::test]
async fn a_call_left_out_of_a_goaway_goes_to_another_replica() {
    let live = replica("live").await;
    let (leaves_out, streams) = leaves_everything_out().await;
    let client = client(&[leaves_out, live.addr]);
    let started = Instant::now();
    while streams.load(Ordering::SeqCst) < 3 {
        assert_eq!(client.calls.run("name").await.unwrap(), "live");
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "no call went to the peer"
        );
    }
    assert!(client.metrics().contains("rpc_client_calls_resent_total{"));
}

#[tokio::test]
async fn a_call_that_a_goaway_includes_is_not_repeated() {
    // An abrupt shutdown names the last stream that was seen: that call may have been begun.
    let (away, streams) = peer(Peer::GoesAway).await;
    let status = client(&[away]).calls.run("name").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(streams.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn only_two_attempts_are_made() {
    let (refuses, streams) = peer(Peer::Resets(Reason::REFUSED_STREAM)).await;
    let client = client(&[refuses]);
    let status = client.calls.run("name").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(Details::is(&status, PlatformReason::DependencyUnavailable));
    assert_eq!(streams.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_may_have_reached_a_handler_is_not_repeated() {
    for kind in [
        Peer::Resets(Reason::CANCEL),
        Peer::Resets(Reason::INTERNAL_ERROR),
        Peer::Dies,
        Peer::FindsNobody,
    ] {
        let (broken, streams) = peer(kind).await;
        let client = client(&[broken]);
        let status = client.calls.run("name").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(Details::is(&status, PlatformReason::DependencyUnavailable));
        assert_eq!(streams.load(Ordering::SeqCst), 1);
        assert!(!client.metrics().contains("rpc_client_calls_resent_total{"));
    }
}

#[tokio::test]
async fn without_any_replica_calls_fail_at_once_and_recover() {
    let addr = nobody_listens().await;
    let client = client(&[addr]);
    let started = Instant::now();
    let status = client.calls.run("name").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(Details::is(&status, PlatformReason::DependencyUnavailable));
    assert!(started.elapsed() < Duration::from_secs(1));
    let listener = TcpListener::bind(addr).await.unwrap();
    let _late = Running::on(listener, &args(), nobodys_verifier(), "late");
    assert_eq!(client.calls.run("name").await.unwrap(), "late");
}

#[tokio::test]
async fn a_replica_that_was_restarted_is_found_again() {
    let first = replica("first").await;
    let client = client(&[first.addr]);
    assert_eq!(client.calls.run("name").await.unwrap(), "first");
    first.drain.cancel();
    eventually(|| first.served.is_finished()).await;
    let listener = TcpListener::bind(first.addr).await.unwrap();
    let _second = Running::on(listener, &args(), nobodys_verifier(), "second");
    assert_eq!(client.calls.run("name").await.unwrap(), "second");
}

#[tokio::test]
async fn the_remaining_time_goes_along() {
    let running = replica("one").await;
    let client = client(&[running.addr]);
    let left: u64 = client
        .calls
        .run("remaining")
        .await
        .unwrap()
        .parse()
        .unwrap();
    assert!((7_000..=10_000).contains(&left), "{left}");
    deadline::scope(Duration::from_secs(5), async {
        let left: u64 = client
            .calls
            .run("remaining")
            .await
            .unwrap()
            .parse()
            .unwrap();
        assert!((2_000..=5_000).contains(&left), "{left}");
        // A request's own deadline only shortens it.
        for (own, at_most) in [(3, 3_000), (60, 5_000)] {
            let mut request = Request::new("remaining".to_owned());
            request.set_timeout(Duration::from_secs(own));
            let left: u64 = client
                .calls
                .call(DO, request)
                .await
                .unwrap()
                .parse()
                .unwrap();
            assert!((at_most - 2_000..=at_most).contains(&left), "{left}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_deadline_holds_even_if_the_peer_is_silent() {
    let (silent, _) = peer(Peer::Silent).await;
    let client = client(&[silent]);
    let started = Instant::now();
    let status = deadline::scope(Duration::from_millis(100), client.calls.run("name"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(Details::is(&status, PlatformReason::DeadlinePassed));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn the_trace_goes_along() {
    let running = replica("one").await;
    let client = client(&[running.addr]);
    let context = TraceContext::new();
    let seen: TraceContext = trace::scope(context, client.calls.run("trace"))
        .await
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(seen.trace_id(), context.trace_id());
    assert_ne!(seen.span_id(), context.span_id());
}

#[tokio::test]
async fn a_call_is_a_span_at_either_end() {
    let running = replica("one").await;
    let client = client(&[running.addr]);
    let parent = recording();
    trace::scope(parent, async {
        client.calls.run("echo:x").await.unwrap();
        client.calls.run("refuse").await.unwrap_err();
        client.calls.run("panic").await.unwrap_err();
    })
    .await;
    let mut spans = recorded(parent, 6).await;
    spans.sort_by_key(|span| (span.start_time, span.span_kind == Kind::Server));
    let method = "test.v1.TestService/Do";
    for (pair, (code, server_fault)) in
        spans
            .chunks(2)
            .zip([("OK", ""), ("ABORTED", ""), ("INTERNAL", "INTERNAL")])
    {
        let [called, served] = pair else {
            panic!("{pair:?}")
        };
        assert_eq!(
            (&called.span_kind, &served.span_kind),
            (&Kind::Client, &Kind::Server)
        );
        assert_eq!(called.parent_span_id, parent.span_id.into());
        assert_eq!(served.parent_span_id, called.span_context.span_id());
        for span in pair {
            assert_eq!(span.name, method);
            assert_eq!(attribute(span, "rpc.system.name"), "grpc");
            assert_eq!(attribute(span, "rpc.method"), method);
            assert_eq!(attribute(span, "rpc.response.status_code"), code);
        }
        let client_fault = if code == "OK" { "" } else { code };
        assert_eq!(attribute(called, "error.type"), client_fault);
        assert_eq!(attribute(served, "error.type"), server_fault);
        assert_eq!(attribute(called, "server.address"), "test");
    }
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let running = replica("one").await;
    let client = client(&[running.addr]);
    client.calls.run("echo:x").await.unwrap();
    client.calls.run("refuse").await.unwrap_err();
    for code in ["OK", "ABORTED"] {
        let labels = format!(
            r#"server="test",rpc_method="test.v1.TestService/Do",rpc_response_status_code="{code}""#
        );
        let line = format!("rpc_client_call_duration_seconds_count{{{labels}}} 1");
        assert!(client.metrics().contains(&line), "{}", client.metrics());
    }
}

#[tokio::test]
async fn large_requests_and_streams_come_through() {
    let running = replica("one").await;
    let client = client(&[running.addr]);
    let large = "x".repeat(1_000_000);
    assert_eq!(
        client.calls.run(&format!("echo:{large}")).await.unwrap(),
        large
    );
    let mut stream = client.calls.stream("").await.unwrap();
    for _ in 0..10 {
        assert!(stream.message().await.unwrap().is_some());
    }
}

#[tokio::test]
async fn details_that_are_no_base64_are_left_out() {
    let (babbles, _) = peer(Peer::Babbles).await;
    let status = client(&[babbles]).calls.run("name").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.details(), Bytes::new());
}

#[tokio::test]
async fn too_much_metadata_is_refused_before_it_harms_others() {
    let running = replica("one").await;
    let client = client(&[running.addr]);
    let other = tokio::spawn({
        let calls = client.calls.clone();
        async move { calls.run("sleep:300").await }
    });
    running.has_begun(1).await;
    for (bytes, accepted) in [(14_000, true), (16_000, false), (1_000_000, false)] {
        let mut request = Request::new("echo:x".to_owned());
        request
            .metadata_mut()
            .insert("x-much", "x".repeat(bytes).parse().unwrap());
        let outcome = client.calls.call(DO, request).await;
        match outcome {
            Ok(_) => assert!(accepted, "{bytes}"),
            Err(status) => {
                assert!(!accepted, "{bytes}: {status:?}");
                assert!(Details::is(&status, PlatformReason::MessageTooLarge));
            }
        }
    }
    assert_eq!(other.await.unwrap().unwrap(), "slept");
}
