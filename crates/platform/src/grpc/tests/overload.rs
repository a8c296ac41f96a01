//! More calls than can be done. Each call has a connection of its own where nothing else is said, since one
//! connection has no more places than it leaves free.

use std::sync::atomic::Ordering;
use std::time::Duration;

use platform_contract::PlatformReason;
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::limits::within;
use crate::config::GrpcArgs;
use crate::error::Details;
use crate::grpc::testing::{Running, args, bearing, nobodys_verifier};

const DO: &str = "/test.v1.TestService/Do";
const GET: &str = "/test.v1.TestService/Get";
const LIST: &str = "/test.v1.TestService/List";

const MINUTE: Duration = Duration::from_secs(60);

type Call = JoinHandle<Result<String, Status>>;

fn limited(running: usize, waiting: usize, age: Duration) -> GrpcArgs {
    GrpcArgs {
        calls_max: running,
        call_queue_max: waiting,
        call_queue_age_max: age,
        ..args()
    }
}

async fn server(running: usize, waiting: usize) -> Running {
    Running::with(&limited(running, waiting, MINUTE), nobodys_verifier()).await
}

/// Calls on a new connection.
async fn call(running: &Running, path: &'static str, request: Request<String>) -> Call {
    let client = running.client().await;
    tokio::spawn(async move { client.call(path, request).await })
}

async fn hold(running: &Running, path: &'static str) -> Call {
    call(running, path, within(MINUTE, "hold:done")).await
}

/// Makes so many calls, which are seen to wait.
async fn queue(running: &Running, path: &'static str, class: &str, calls: usize) -> Vec<Call> {
    let mut waiting = Vec::new();
    for _ in 0..calls {
        waiting.push(hold(running, path).await);
    }
    running
        .shows(&format!(r#"admission_waiting{{class="{class}"}} {calls}"#))
        .await;
    waiting
}

#[track_caller]
fn assert_overloaded(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(Details::is(status, PlatformReason::Overloaded));
    let after = Details::of(status).retry_after.unwrap();
    assert!((500..=1500).contains(&after.as_millis()), "{after:?}");
}

#[tokio::test]
async fn lists_are_refused_before_reads_and_reads_before_mutations() {
    let servers = [server(3, 4).await, server(3, 4).await];
    for running in &servers {
        let mut held = Vec::new();
        for begun in 1..=3 {
            held.push(hold(running, LIST).await);
            running.has_begun(begun).await;
        }
        let lists = queue(running, LIST, "list", 4).await;
        let one_more = hold(running, LIST).await.await.unwrap();
        assert_overloaded(&one_more.unwrap_err());

        // Those who matter more take the places of those who came last.
        let reads = queue(running, GET, "read", 2).await;
        running.shows(r#"admission_waiting{class="list"} 2"#).await;
        let mutations = queue(running, DO, "mutation", 4).await;
        let one_more = hold(running, DO).await.await.unwrap();
        assert_overloaded(&one_more.unwrap_err());
        for refused in lists.into_iter().chain(reads) {
            assert_overloaded(&refused.await.unwrap().unwrap_err());
        }

        // Health neither waits nor counts.
        let mut health = HealthClient::new(running.client().await.0);
        health.check(HealthCheckRequest::default()).await.unwrap();
        for line in [
            r#"admission_running{class="list"} 3"#,
            r#"admission_waiting{class="mutation"} 4"#,
            r#"admission_refused_total{class="list",reason="full"} 1"#,
            r#"admission_refused_total{class="list",reason="displaced"} 4"#,
            r#"admission_refused_total{class="read",reason="displaced"} 2"#,
            r#"admission_refused_total{class="mutation",reason="full"} 1"#,
            "admission_running_max 3",
            "admission_waiting_max 4",
        ] {
            running.shows(line).await;
        }
        assert_eq!(running.server.begun.load(Ordering::SeqCst), 3);

        running.server.open.send_replace(true);
        for call in held.into_iter().chain(mutations) {
            assert_eq!(call.await.unwrap().unwrap(), "done");
        }
        assert_eq!(running.server.done.load(Ordering::SeqCst), 7);
        running
            .shows(r#"admission_wait_seconds_count{class="mutation"} 4"#)
            .await;
    }
}

#[tokio::test]
async fn a_refusal_costs_no_look_at_the_token_nor_at_the_request() {
    let running = server(1, 0).await;
    let _held = hold(&running, DO).await;
    running.has_begun(1).await;
    let request = bearing("no token at all", "echo:x");
    let refused = call(&running, DO, request).await.await.unwrap();
    assert_overloaded(&refused.unwrap_err());
    let large = Request::new("x".repeat(2 * args().request_bytes_max));
    let refused = call(&running, DO, large).await.await.unwrap();
    assert_overloaded(&refused.unwrap_err());
}

#[tokio::test]
async fn a_wait_ends_with_the_age_of_the_queue() {
    let limits = limited(1, 8, Duration::from_millis(20));
    let running = Running::with(&limits, nobodys_verifier()).await;
    let held = hold(&running, DO).await;
    running.has_begun(1).await;
    let refused = hold(&running, DO).await.await.unwrap();
    assert_overloaded(&refused.unwrap_err());
    running
        .shows(r#"admission_refused_total{class="mutation",reason="age"} 1"#)
        .await;
    running.server.open.send_replace(true);
    assert_eq!(held.await.unwrap().unwrap(), "done");
}

#[tokio::test]
async fn who_has_no_time_left_or_is_gone_leaves_the_queue() {
    let limits = GrpcArgs {
        // Not the caller's, whose own client would give up by itself.
        deadline_default: Duration::from_millis(50),
        ..limited(1, 8, MINUTE)
    };
    let running = Running::with(&limits, nobodys_verifier()).await;
    let held = hold(&running, DO).await;
    running.has_begun(1).await;

    let short = Request::new("echo:x".to_owned());
    let late = call(&running, DO, short).await.await.unwrap().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(Details::is(&late, PlatformReason::DeadlinePassed));

    let gone = queue(&running, GET, "read", 1).await.remove(0);
    gone.abort();
    for line in [
        r#"admission_waiting{class="mutation"} 0"#,
        r#"admission_waiting{class="read"} 0"#,
        r#"admission_left_total{class="mutation"} 1"#,
        r#"admission_left_total{class="read"} 1"#,
    ] {
        running.shows(line).await;
    }
    running.server.open.send_replace(true);
    assert_eq!(held.await.unwrap().unwrap(), "done");
    assert_eq!(running.server.begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn two_connections_that_hold_what_they_get_leave_places_for_others() {
    let running = server(16, 16).await;
    let mut calls = JoinSet::new();
    let (first, second) = (running.client().await, running.client().await);
    // Half, and half of the rest; of the queue as well.
    for (client, refused, begun, waiting) in [(first, 4, 8, 8), (second, 12, 12, 12)] {
        for _ in 0..20 {
            let client = client.clone();
            calls.spawn(async move { client.run("hold:done").await });
        }
        for _ in 0..refused {
            assert_overloaded(&calls.join_next().await.unwrap().unwrap().unwrap_err());
        }
        for line in [
            format!(r#"admission_running{{class="mutation"}} {begun}"#),
            format!(r#"admission_waiting{{class="mutation"}} {waiting}"#),
        ] {
            running.shows(&line).await;
        }
    }
    // Nobody waits behind them.
    for path in [LIST, GET, DO] {
        let request = Request::new("echo:x".to_owned());
        let answer = call(&running, path, request).await.await.unwrap();
        assert_eq!(answer.unwrap(), "x");
    }
    assert_eq!(running.server.done.load(Ordering::SeqCst), 3);

    running.server.open.send_replace(true);
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap().unwrap(), "done");
    }
    assert_eq!(running.server.done.load(Ordering::SeqCst), 3 + 24);
}
