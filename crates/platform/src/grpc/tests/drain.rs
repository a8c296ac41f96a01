//! Health, reflection, and the end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use platform_contract::PlatformReason;
use tokio::net::TcpStream;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::error::Details;
use crate::grpc::testing::{Running, eventually};

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn calls_in_flight_are_answered_and_new_connections_refused() {
    let running = Running::start().await;
    let client = running.client().await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.run("sleep:500").await })
        })
        .collect();
    running.has_begun(100).await;
    let idle = running.client().await;
    idle.run("echo:x").await.unwrap();

    running.drain.cancel();
    eventually(|| std::net::TcpStream::connect(running.addr).is_err()).await;
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "slept");
    }
    eventually(|| running.served.is_finished()).await;
    assert_eq!(
        idle.run("echo:x").await.unwrap_err().code(),
        Code::Unavailable
    );
}

#[tokio::test]
async fn what_is_left_at_the_end_is_answered_unavailable() {
    let running = Running::start().await;
    let client = running.client().await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.run("sleep:60000").await }
    });
    let mut stream = client.stream("").await.unwrap();
    running.has_begun(1).await;
    running.drain.cancel();
    let started = Instant::now();
    running.abort.cancel();
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(Details::is(&status, PlatformReason::DependencyUnavailable));
    let status = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    eventually(|| running.served.is_finished()).await;
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(running.server.done.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn idle_and_silent_connections_do_not_hold_up_the_end() {
    let running = Running::start().await;
    let idle = running.client().await;
    idle.run("echo:x").await.unwrap();
    let _silent = TcpStream::connect(running.addr).await.unwrap();
    let mut watch = HealthClient::new(idle.0.clone())
        .watch(about(""))
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap();
    let started = Instant::now();
    running.drain.cancel();
    eventually(|| running.served.is_finished()).await;
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn health_follows_readiness() {
    let running = Running::start().await;
    let mut health = HealthClient::new(running.client().await.0);
    let mut watch = health
        .watch(about("test.v1.TestService"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    running.health.set(true);
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    assert_eq!(
        health.check(about("")).await.unwrap().into_inner().status(),
        ServingStatus::Serving
    );
    running.health.set(false);
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    assert_eq!(
        health.check(about("nothing")).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn reflection_answers() {
    let running = Running::start().await;
    let mut client = ServerReflectionClient::new(running.client().await.0);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client
        .server_reflection_info(Request::new(futures_util::stream::iter([request])))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("not a list: {answer:?}")
    };
    assert!(
        list.service
            .iter()
            .any(|service| service.name == "grpc.health.v1.Health")
    );
    assert_eq!(answers.message().await.unwrap(), None);
}
