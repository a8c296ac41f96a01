//! Counts the statements that clients send to Postgres, by standing in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// Messages of the protocol that make Postgres carry something out.
const QUERY: u8 = b'Q';
const EXECUTE: u8 = b'E';

/// A way to a database on which statements are counted.
pub(crate) struct Counted {
    url: String,
    statements: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Counted {
    /// Stands in front of the database at `url`.
    pub(crate) async fn listen(url: &str) -> anyhow::Result<Counted> {
        let mut url = Url::parse(url).context("not the URL of a database")?;
        let host = url.host_str().unwrap_or("127.0.0.1");
        let port = url.port().unwrap_or(5432);
        let target = tokio::net::lookup_host((host, port)).await?.next();
        let target = target.with_context(|| format!("there is no host {host}"))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let own = listener.local_addr()?;
        let moved =
            url.set_host(Some("127.0.0.1")).is_ok() && url.set_port(Some(own.port())).is_ok();
        anyhow::ensure!(moved, "the URL has no place for a host");
        // Nothing can be counted of what is encrypted.
        url.query_pairs_mut().append_pair("sslmode", "disable");

        let statements = Arc::new(AtomicU64::new(0));
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&statements)));
        Ok(Counted {
            url: url.to_string(),
            statements,
            accepting,
        })
    }

    /// The way to the database.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many statements were sent up to now.
    pub(crate) fn count(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, statements: Arc<AtomicU64>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(target).await else {
            continue;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, mut to_client) = client.into_split();
        let (mut from_server, to_server) = server.into_split();
        // Each ends with its connection.
        tokio::spawn(forward(from_client, to_server, Arc::clone(&statements)));
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    }
}

async fn forward(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    statements: Arc<AtomicU64>,
) -> std::io::Result<()> {
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    // The first message has no type.
    let mut body = vec![
        0;
        usize::try_from(from.read_u32().await?)
            .unwrap_or_default()
            .saturating_sub(4)
    ];
    from.read_exact(&mut body).await?;
    to.write_u32(u32::try_from(body.len() + 4).unwrap_or_default())
        .await?;
    to.write_all(&body).await?;
    to.flush().await?;
    loop {
        let kind = from.read_u8().await?;
        let length = from.read_u32().await?;
        body.resize(
            usize::try_from(length)
                .unwrap_or_default()
                .saturating_sub(4),
            0,
        );
        from.read_exact(&mut body).await?;
        if matches!(kind, QUERY | EXECUTE) {
            statements.fetch_add(1, Ordering::Relaxed);
        }
        to.write_u8(kind).await?;
        to.write_u32(length).await?;
        to.write_all(&body).await?;
        if from.buffer().is_empty() {
            to.flush().await?;
        }
    }
}
