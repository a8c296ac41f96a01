//! Who asks: as many at once as said, each the next thing when the last is answered; or as often as said,
//! whatever becomes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// No two requests of a run have the same.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// What is asked, and where.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) addr: SocketAddr,
    pub(super) path: &'static str,
    pub(super) token: Arc<str>,
    /// The body, by the number of the request.
    pub(super) body: fn(u64) -> String,
}

impl Target {
    fn request(&self, body: String) -> anyhow::Result<Request<Full<Bytes>>> {
        // Of both versions of HTTP.
        let uri = format!("http://{}{}", self.addr, self.path);
        Ok(Request::post(uri)
            .header(HOST, self.addr.to_string())
            .header(ACCEPT, "application/graphql-response+json")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(body)))?)
    }

    /// The answer to one request.
    pub(super) async fn ask(&self, number: u64) -> anyhow::Result<Bytes> {
        let mut connection = Connection::open(self.addr).await?;
        let (status, body) = connection.send(self.request((self.body)(number))?).await?;
        ensure!(status == StatusCode::OK, "answered {status}: {body:?}");
        Ok(body)
    }

    /// Asks over so many connections for so long; answers how often it was answered.
    pub(super) async fn load(&self, connections: usize, time: Duration) -> anyhow::Result<u64> {
        let until = Instant::now() + time;
        self.each(connections, move |_| Instant::now() < until)
            .await
    }

    /// Asks so many times.
    pub(super) async fn times(&self, connections: usize, times: u64) -> anyhow::Result<u64> {
        let left = AtomicU64::new(times);
        let one_of = move |_| {
            let taken = |left: u64| left.checked_sub(1);
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
                .is_ok()
        };
        self.each(connections, one_of).await
    }

    async fn each(
        &self,
        connections: usize,
        again: impl Fn(u64) -> bool + Send + Sync + 'static,
    ) -> anyhow::Result<u64> {
        let again = Arc::new(again);
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            let (target, again) = (self.clone(), again.clone());
            clients.spawn(async move {
                let mut connection = Connection::open(target.addr).await?;
                let mut answered = 0;
                while again(answered) {
                    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                    let request = target.request((target.body)(number))?;
                    let (status, body) = connection.send(request).await?;
                    ensure!(
                        status == StatusCode::OK && body.starts_with(b"{\"data\":{"),
                        "answered {status}: {body:?}"
                    );
                    answered += 1;
                }
                Ok(answered)
            });
        }
        let mut answered = 0;
        while let Some(client) = clients.join_next().await {
            answered += client??;
        }
        Ok(answered)
    }

    /// Asks `rate` times a second, whether or not it was answered. Answers what became of each.
    pub(super) async fn flood(&self, rate: f64, time: Duration) -> anyhow::Result<Vec<Fate>> {
        let mut connections = Vec::new();
        // At 200 streams a connection none of them waits for another.
        for _ in 0..FLOOD_CONNECTIONS {
            connections.push(open_http2(self.addr).await?);
        }
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let (mut sent, mut asking) = (0, JoinSet::new());
        while began.elapsed() < time {
            tick.tick().await;
            let due = began.elapsed().as_secs_f64() * rate;
            #[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
            while (sent as f64) < due {
                let mut sender = connections[sent % FLOOD_CONNECTIONS].clone();
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                let mut request = self.request((self.body)(number))?;
                request.headers_mut().remove(HOST);
                #[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
                let due_at = began + Duration::from_secs_f64(sent as f64 / rate);
                asking.spawn(async move {
                    let response = sender.send_request(request).await?;
                    let status = response.status();
                    response.into_body().collect().await?;
                    Ok::<_, hyper::Error>(Fate {
                        status,
                        after: due_at.elapsed(),
                    })
                });
                sent += 1;
            }
        }
        let mut fates = Vec::with_capacity(sent);
        while let Some(fate) = asking.join_next().await {
            fates.push(fate??);
        }
        Ok(fates)
    }
}

const FLOOD_CONNECTIONS: usize = 24;

/// What became of a request, and how long after it was due.
pub(super) struct Fate {
    pub(super) status: StatusCode,
    pub(super) after: Duration,
}

struct Connection(http1::SendRequest<Full<Bytes>>);

impl Connection {
    async fn open(addr: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(addr).await.context("no server")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection(sender))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

async fn open_http2(addr: SocketAddr) -> anyhow::Result<http2::SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(addr).await.context("no server")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
