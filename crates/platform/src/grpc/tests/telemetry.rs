//! What is measured, and the trace.

use tonic::Request;

use crate::grpc::testing::{Running, eventually};
use crate::trace::TraceContext;

const DO: &str = "/test.v1.TestService/Do";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn every_call_is_counted_once_under_its_method_and_code() {
    let running = Running::start().await;
    let client = running.client().await;
    client.run("echo:x").await.unwrap();
    client.run("echo:x").await.unwrap();
    client.run("refuse").await.unwrap_err();
    client.run("panic").await.unwrap_err();
    client
        .call("/test.v1.TestService/Nothing", Request::new(String::new()))
        .await
        .unwrap_err();
    let count = |method: &str, code: &str, calls: u32| {
        let labels = format!(r#"rpc_method="{method}",rpc_response_status_code="{code}""#);
        format!("rpc_server_call_duration_seconds_count{{{labels}}} {calls}")
    };
    let method = "test.v1.TestService/Do";
    for line in [
        count(method, "OK", 2),
        count(method, "ABORTED", 1),
        count(method, "INTERNAL", 1),
        count("_OTHER", "UNIMPLEMENTED", 1),
        "rpc_server_calls_in_flight 0".to_owned(),
    ] {
        eventually(|| running.metrics().contains(&line)).await;
    }
}

#[tokio::test]
async fn the_callers_trace_is_continued() {
    let running = Running::start().await;
    let client = running.client().await;
    let mut request = Request::new("trace".to_owned());
    request
        .metadata_mut()
        .insert("traceparent", PARENT.parse().unwrap());
    let context: TraceContext = client.call(DO, request).await.unwrap().parse().unwrap();
    assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(context.span_id(), "00f067aa0ba902b7");
}

#[tokio::test]
async fn without_a_good_trace_a_new_one_is_made() {
    let running = Running::start().await;
    let client = running.client().await;
    let mut request = Request::new("trace".to_owned());
    request
        .metadata_mut()
        .insert("traceparent", PARENT.to_uppercase().parse().unwrap());
    let one: TraceContext = client.call(DO, request).await.unwrap().parse().unwrap();
    let two: TraceContext = client.run("trace").await.unwrap().parse().unwrap();
    assert_ne!(one.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(one.trace_id(), two.trace_id());
}

#[tokio::test]
async fn a_stream_is_one_trace_to_its_end() {
    let running = Running::start().await;
    let mut stream = running.client().await.stream("").await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(
        first.split_once(' ').unwrap().1,
        second.split_once(' ').unwrap().1
    );
}
