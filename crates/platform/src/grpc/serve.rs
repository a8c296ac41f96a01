//! Connections: accepted up to a limit, kept alive, drained.

use std::convert::Infallible;
use std::io::Cursor;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Health;
use super::stack::Stack;
use super::stalled::Tasks;
use crate::admission::Source;
use crate::config::GrpcArgs;

/// A connection that says nothing for this long is asked whether it is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What every connection begins with (RFC 9113, 3.4), and how long it may take: no timer of hyper's
/// runs until then.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_TIME_MAX: Duration = Duration::from_secs(10);
/// After the end the last answers still have to be written.
const FLUSH: Duration = Duration::from_millis(500);
/// Out of file descriptors: trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy)]
pub(super) struct Limits {
    connections: usize,
    streams: u32,
    metadata_bytes: u32,
}

impl Limits {
    pub(super) fn of(args: &GrpcArgs) -> Limits {
        Limits {
            connections: args.connections_max,
            streams: args.streams_per_connection_max,
            metadata_bytes: args.metadata_bytes_max,
        }
    }
}

pub(super) async fn serve(
    stack: Arc<Stack>,
    health: Health,
    listener: TcpListener,
    limits: Limits,
    drain: CancellationToken,
    abort: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let accept = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let connection =
                        connection(stack.clone(), socket, limits, drain.clone(), abort.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    drain.run_until_cancelled(accept).await;
    drop(listener);
    health.set(false);
    connections.close();
    connections.wait().await;
}

async fn connection(
    stack: Arc<Stack>,
    socket: TcpStream,
    limits: Limits,
    drain: CancellationToken,
    abort: CancellationToken,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "a connection was lost at once: {error}");
        return;
    }
    let (mut reads, writes) = socket.into_split();
    let mut preface = [0; PREFACE.len()];
    let read = tokio::time::timeout(PREFACE_TIME_MAX, reads.read_exact(&mut preface));
    if !matches!(drain.run_until_cancelled(read).await, Some(Ok(Ok(_)))) {
        return;
    }
    if preface != *PREFACE {
        // Bytes that nobody reads would turn the end of the connection into a reset.
        let _ = reads.try_read(&mut [0; 4096]);
        return;
    }
    let socket = tokio::io::join(Cursor::new(preface).chain(reads), writes);
    let source = Source::default();
    let service = service_fn(move |request| {
        let (stack, source) = (stack.clone(), source.clone());
        async move { Ok::<_, Infallible>(stack.call(request, &source).await) }
    });
    let mut connection = pin!(
        http2::Builder::new(Tasks)
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.metadata_bytes)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .serve_connection(TokioIo::new(socket), service)
    );
    let mut gone = pin!(async {
        abort.cancelled().await;
        tokio::time::sleep(FLUSH).await;
    });
    let mut draining = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended: {error}");
                }
                return;
            }
            () = drain.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = gone.as_mut() => return,
        }
    }
}
