//! Stands between a pool and Postgres: counts statements, withholds answers, goes away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use platform_testkit::TestDb;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub(super) struct Proxy {
    listener: Option<TcpListener>,
    addr: SocketAddr,
    upstream: String,
    statements: Arc<AtomicU32>,
    withheld: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Owns a port on which nothing answers yet.
    pub(super) async fn new(db: &TestDb) -> Proxy {
        let options: PgConnectOptions = db.url.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        Proxy {
            listener: None,
            addr,
            upstream: format!("{}:{}", options.get_host(), options.get_port()),
            statements: Arc::default(),
            withheld: watch::Sender::new(false),
            running: None,
        }
    }

    /// The URL of the database by way of the proxy.
    pub(super) fn url(&self, db: &TestDb) -> String {
        let direct = db.url.replace(&self.upstream, &self.addr.to_string());
        assert_ne!(direct, db.url);
        format!("{direct}?sslmode=disable")
    }

    pub(super) async fn start(&mut self) {
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => TcpListener::bind(self.addr).await.unwrap(),
        };
        let upstream = self.upstream.clone();
        let statements = self.statements.clone();
        let withheld = self.withheld.clone();
        self.running = Some(tokio::spawn(async move {
            let mut pairs = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&upstream).await.unwrap();
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                pairs.spawn(requests(client_in, server_out, statements.clone()));
                pairs.spawn(answers(server_in, client_out, withheld.subscribe()));
            }
        }));
    }

    /// Closes all connections and refuses new ones.
    pub(super) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    pub(super) fn withhold_answers(&self, yes: bool) {
        self.withheld.send_replace(yes);
    }

    /// Statements sent so far: simple queries, and executions of prepared ones.
    pub(super) fn statements(&self) -> u32 {
        self.statements.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    statements: Arc<AtomicU32>,
) -> std::io::Result<()> {
    // The first message has no type.
    let length = client.read_u32().await?;
    forward(&mut client, &mut server, length).await?;
    loop {
        let kind = client.read_u8().await?;
        if matches!(kind, b'Q' | b'E') {
            statements.fetch_add(1, Ordering::SeqCst);
        }
        let length = client.read_u32().await?;
        server.write_u8(kind).await?;
        forward(&mut client, &mut server, length).await?;
    }
}

async fn forward(
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
    length: u32,
) -> std::io::Result<()> {
    let mut body = vec![0; length as usize - 4];
    client.read_exact(&mut body).await?;
    server.write_u32(length).await?;
    server.write_all(&body).await
}

async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mut withheld: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 8192];
    loop {
        let read = server.read(&mut buffer).await?;
        let _ = withheld.wait_for(|withheld| !withheld).await;
        if read == 0 {
            return client.shutdown().await;
        }
        client.write_all(&buffer[..read]).await?;
    }
}
