//! The HTTP server: trace context, panics caught, limits, drain.

use std::{
    convert::Infallible,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use prometheus_client::{encoding::EncodeLabelSet, registry::Registry};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    deadline,
    telemetry::{Durations, Kind, Span},
    trace::{self, RequestId, TraceContext},
};

mod unread;

use unread::Unread;

/// For the head of a request, from the end of the one before: also how long a connection may idle.
/// Load balancers keep idle connections for a minute (AWS), and must be the first to give one up:
/// else a request meets its end half way.
const HEAD_TIME_MAX: Duration = Duration::from_secs(75);
const HEADER_BYTES_MAX: usize = 32 << 10;
const STREAMS_PER_CONNECTION_MAX: u32 = 200;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// For the last answers to leave after the drain is over.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(250);

/// Answers 413 to bodies over `bytes`: at once where the length is announced, else when the limit
/// is reached. Handlers read the body with an extractor or [`read_body`].
pub fn limit_bodies(router: Router, bytes: usize) -> Router {
    router
        .layer(DefaultBodyLimit::max(bytes))
        .layer(middleware::from_fn_with_state(bytes as u64, announced))
}

async fn announced(State(bytes): State<u64>, request: Request, next: Next) -> Response {
    if request.body().size_hint().lower() > bytes {
        too_large()
    } else {
        next.run(request).await
    }
}

/// The whole body, or the 413 to answer when it is over `bytes`.
pub async fn read_body(body: Body, bytes: usize) -> Result<bytes::Bytes, Response> {
    match axum::body::to_bytes(body, bytes).await {
        Ok(bytes) => Ok(bytes),
        Err(error) if is_limit(&error) => Err(too_large()),
        Err(_) => Err((StatusCode::BAD_REQUEST, "the body broke off\n").into_response()),
    }
}

fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn too_large() -> Response {
    (
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is larger than the limit\n",
    )
        .into_response()
}

/// What every route gets: a span, a request id, metrics, a deadline, and 500 instead of a broken
/// connection after a panic.
pub(crate) fn stack(router: Router, limit: Duration, registry: &mut Registry) -> Router {
    let around_all = Stack {
        durations: Durations::new(
            registry,
            "http_server_request_duration",
            "Time to the head of the answer",
        ),
        limit,
    };
    router.layer(middleware::from_fn_with_state(around_all, around))
}

#[derive(Clone)]
struct Stack {
    durations: Durations<Labels>,
    limit: Duration,
}

async fn around(State(stack): State<Stack>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let labels = Labels::of(&request);
    let (request, unread) = Unread::watch(request);
    let context = TraceContext::of(request.headers());
    let id = RequestId::of(request.headers());
    let named = id.clone();
    let span = Span::begin(context, Kind::Server, |span| labels.describe(span));
    let work = async move {
        let work = deadline::scope(
            stack.limit,
            AssertUnwindSafe(next.run(request)).catch_unwind(),
        );
        let mut response = match timeout(stack.limit, work).await {
            Ok(Ok(response)) => response,
            // The panic itself was logged by the hook.
            Ok(Err(_)) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal fault
",
            )
                .into_response(),
            Err(_) => (
                StatusCode::GATEWAY_TIMEOUT,
                "not answered in time
",
            )
                .into_response(),
        };
        unread.settle(&mut response).await;
        let status = response.status().as_u16();
        let elapsed = began.elapsed();
        tracing::debug!(
            http.request.method = labels.method,
            http.route = labels.route,
            http.response.status_code = status,
            duration_ms = elapsed.as_secs_f64() * 1000.0,
            "{} {} answered {status}",
            labels.method,
            labels.route,
        );
        let labels = Labels { status, ..labels };
        stack
            .durations
            .observe(&labels, elapsed.as_secs_f64(), &span);
        told(span, status);
        id.inject(response.headers_mut());
        response
    };
    trace::scope(context, trace::request_scope(named, work)).await
}

/// A refusal is the client's affair, and no fault of ours.
fn told(mut span: Span, status: u16) {
    span.set("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.fail(status.to_string());
    } else {
        span.end();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    route: String,
    status: u16,
}

impl Labels {
    /// A closed set of methods and routes: a stranger must not be able to make new time series.
    fn of(request: &Request) -> Self {
        let method = match *request.method() {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            _ => "_OTHER",
        };
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
        Self {
            method,
            route,
            status: 0,
        }
    }

    /// The path itself is not told: it is whatever the client has written.
    fn describe(&self, span: &mut Span) {
        span.name(format!("{} {}", self.method, self.route));
        span.set("http.request.method", self.method);
        span.set("http.route", self.route.clone());
        span.set("url.scheme", "http");
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Limits {
    connections: usize,
    head_time: Duration,
}

impl Limits {
    pub(crate) fn of(connections: usize) -> Self {
        Self {
            connections,
            head_time: HEAD_TIME_MAX,
        }
    }
}

/// Serves until `drain`, then lets requests in flight finish until `abort`; what is left gets 503.
/// Ends when every connection has.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    drain: CancellationToken,
    abort: CancellationToken,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();

    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = drain.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file handles, most likely: connections that end give some back.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let asked = CancellationToken::new();
        let service = {
            let (router, abort, asked) = (router.clone(), abort.clone(), asked.clone());
            service_fn(move |request| {
                asked.cancel();
                answer(router.clone(), peer, request, abort.clone())
            })
        };
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let connection = graceful.watch(connection.into_owned());
        // Until its first bytes tell the version of HTTP, no timer of hyper's runs.
        let silent = async move {
            if timeout(limits.head_time, asked.cancelled()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        connections.spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "connection broke");
                },
                () = silent => tracing::debug!("a connection without a request"),
            }
            drop(slot);
        });
    }

    drop(listener);
    let late = async {
        abort.cancelled().await;
        tokio::time::sleep(FLUSH_TIME_MAX).await;
    };
    tokio::select! {
        () = graceful.shutdown() => {}
        () = late => {}
    }
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    mut request: hyper::Request<Incoming>,
    abort: CancellationToken,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    tokio::select! {
        response = router.oneshot(request) => response,
        () = abort.cancelled() => {
            Ok((StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response())
        }
    }
}

#[cfg(test)]
mod tests;
