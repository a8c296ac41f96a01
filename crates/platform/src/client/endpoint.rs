use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::uri::Authority;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::body::Body;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// What a peer may send as metadata: more than it accepts, since errors carry details.
const METADATA_BYTES_MAX: u32 = 64 * 1024;

/// One replica, with the one connection to it.
pub(super) struct Endpoint {
    pub(super) authority: Authority,
    link: Mutex<Link>,
    /// Held while connecting, so that there is one attempt at a time.
    connecting: tokio::sync::Mutex<()>,
}

struct Link {
    sender: Option<SendRequest<Body>>,
    condition: Condition,
    since: DateTime<Utc>,
    /// Counts connections, so that the end of an old one does not count against the new one.
    generation: u64,
    failures: u32,
    failed_at: Option<Instant>,
    next_try: Option<Instant>,
}

/// How a replica is, as this client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Not needed yet.
    Idle,
    /// Connected.
    Up,
    /// Away, and why.
    Down(String),
}

/// A replica and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// `http://host:port`.
    pub url: String,
    /// How it is.
    pub condition: Condition,
    /// Since when.
    pub since: DateTime<Utc>,
}

impl Endpoint {
    pub(super) fn new(authority: Authority) -> Endpoint {
        Endpoint {
            authority,
            link: Mutex::new(Link {
                sender: None,
                condition: Condition::Idle,
                since: crate::time::now(),
                generation: 0,
                failures: 0,
                failed_at: None,
                next_try: None,
            }),
            connecting: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn state(&self) -> EndpointState {
        let link = self.link();
        EndpointState {
            url: format!("http://{}", self.authority),
            condition: link.condition.clone(),
            since: link.since,
        }
    }

    /// The connection, if there is a live one.
    pub(super) fn connected(&self) -> Option<SendRequest<Body>> {
        self.link()
            .sender
            .clone()
            .filter(|sender| !sender.is_closed())
    }

    /// Whether it is time to connect, and nobody is at it.
    pub(super) fn is_due(&self) -> bool {
        self.connected().is_none()
            && self
                .link()
                .next_try
                .is_none_or(|next| next <= Instant::now())
            && self.connecting.try_lock().is_ok()
    }

    /// Connects, in a task of its own: whoever waits for it may give up without stopping it for others.
    pub(super) fn connect(self: &Arc<Self>) -> JoinHandle<Result<SendRequest<Body>, String>> {
        let endpoint = self.clone();
        let asked_at = Instant::now();
        tokio::spawn(async move {
            let _turn = endpoint.connecting.lock().await;
            if let Some(sender) = endpoint.connected() {
                return Ok(sender);
            }
            // While this one waited for its turn another one tried: the outcome is the same.
            if let Some(why) = endpoint.failed_since(asked_at) {
                return Err(why);
            }
            let outcome = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.handshake())
                .await
                .unwrap_or_else(|_| Err("no connection within a second".to_owned()));
            if let Err(why) = &outcome {
                endpoint.failed(why);
            }
            outcome
        })
    }

    async fn handshake(self: &Arc<Self>) -> Result<SendRequest<Body>, String> {
        let host = self.authority.host().trim_matches(['[', ']']);
        let port = self.authority.port_u16().unwrap_or(80);
        let socket = TcpStream::connect((host, port))
            .await
            .map_err(|error| error.to_string())?;
        socket
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .max_header_list_size(METADATA_BYTES_MAX)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|error| error.to_string())?;
        let generation = {
            let mut link = self.link();
            link.sender = Some(sender.clone());
            link.generation += 1;
            link.failures = 0;
            link.turn(Condition::Up);
            link.generation
        };
        let endpoint = self.clone();
        tokio::spawn(async move {
            let why = match connection.await {
                Ok(()) => "the connection was closed".to_owned(),
                Err(error) => format!("the connection was lost: {error}"),
            };
            endpoint.lost(generation, why);
        });
        Ok(sender)
    }

    fn failed_since(&self, asked_at: Instant) -> Option<String> {
        let link = self.link();
        match &link.condition {
            Condition::Down(why) if link.failed_at > Some(asked_at) => Some(why.clone()),
            _ => None,
        }
    }

    fn failed(&self, why: &str) {
        let mut link = self.link();
        if !matches!(link.condition, Condition::Down(_)) {
            tracing::warn!(server.address = %self.authority, why, "cannot reach {}: {why}", self.authority);
        }
        let now = Instant::now();
        link.sender = None;
        link.failed_at = Some(now);
        link.next_try =
            Some(now + BACKOFF_MAX.min(BACKOFF_MIN * 2_u32.saturating_pow(link.failures)));
        link.failures = link.failures.saturating_add(1);
        link.turn(Condition::Down(why.to_owned()));
    }

    fn lost(&self, generation: u64, why: String) {
        let mut link = self.link();
        if link.generation == generation {
            link.sender = None;
            link.next_try = None;
            link.turn(Condition::Down(why));
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Takes note of the condition; it stays "since" as long as only the reason changes.
    fn turn(&mut self, condition: Condition) {
        if std::mem::discriminant(&self.condition) != std::mem::discriminant(&condition) {
            self.since = crate::time::now();
        }
        self.condition = condition;
    }
}
