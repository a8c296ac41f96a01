//! A service inside the test process.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use platform::{Running, Runtime};

use crate::http::get;
use crate::kafka::NO_BROKER;
use crate::redis::NO_REDIS;
use crate::wait::until_or;

/// The variables of a service.
pub type Vars = BTreeMap<String, String>;

/// Starts a service on ports of its own, as its `main` would, and waits until it is ready.
///
/// `vars` are added to what every service needs; two replicas are two calls with the same ones.
/// For replicas that share page tokens, give them one `SEAL_KEY`.
pub async fn start<C, S>(name: &'static str, service: S, vars: Vars) -> Running
where
    C: clap::Args + Send + 'static,
    S: AsyncFnOnce(&mut Runtime, C) -> anyhow::Result<()>,
{
    let running = start_unready(name, service, vars).await;
    until_ready(name, running.admin, || None).await;
    running
}

/// As [`start`], for a service that is not expected to become ready.
pub async fn start_unready<C, S>(name: &'static str, service: S, vars: Vars) -> Running
where
    C: clap::Args + Send + 'static,
    S: AsyncFnOnce(&mut Runtime, C) -> anyhow::Result<()>,
{
    let mut all = common();
    all.extend(vars);
    let config = platform::config::parse::<C>(name, &all).unwrap_or_else(|e| panic!("{e}"));
    platform::run_in_process(name, service, config)
        .await
        .unwrap_or_else(|error| panic!("{name} does not start: {error:#}"))
}

/// What every service needs, whatever it does.
fn common() -> Vars {
    let any_port = "127.0.0.1:0".to_owned();
    Vars::from([
        ("LISTEN_ADMIN".to_owned(), any_port.clone()),
        ("LISTEN_GRPC".to_owned(), any_port.clone()),
        ("LISTEN_HTTP".to_owned(), any_port),
        ("ENVIRONMENT".to_owned(), "test".to_owned()),
        ("LOG_FORMAT".to_owned(), "human".to_owned()),
        ("SHUTDOWN_GRACE".to_owned(), "5s".to_owned()),
        ("SEAL_KEY".to_owned(), secret()),
        ("KAFKA_BROKERS".to_owned(), NO_BROKER.to_owned()),
        ("REDIS_URL".to_owned(), NO_REDIS.to_owned()),
    ])
}

/// Waits until the admin port says that the service is ready. Panics with what it says
/// instead, or with the reason why it never will be.
pub(crate) async fn until_ready(name: &str, admin: SocketAddr, lost: impl Fn() -> Option<String>) {
    let last = RefCell::new("no answer".to_owned());
    let ready = until_or(
        || format!("{name} to be ready; it says: {}", last.borrow()),
        async || {
            if let Some(reason) = lost() {
                panic!("{name} is not ready: {reason}");
            }
            let (status, body) = get(admin, "/ready").await?;
            *last.borrow_mut() = body;
            (status == StatusCode::OK).then_some(())
        },
    );
    ready.await;
}

/// Thirty-two random bytes as text, good as a password and as a key.
pub fn secret() -> String {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}
