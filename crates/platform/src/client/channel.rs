use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use platform_contract::PlatformReason;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::endpoint::{Endpoint, EndpointState};
use super::metrics::{Call, Metrics};
use super::payload::Payload;
use super::received::{Received, checked_code};
use super::target::GrpcTarget;
use crate::error::Refusal;
use crate::grpc::{parse_timeout, passed, timeout_header, too_large};
use crate::trace::TraceContext;
use crate::{deadline, trace};

/// Time for a call made outside of any deadline.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Servers take 16 KiB of metadata, with what the channel itself adds. What is far above kills the
/// connection, and with it the calls of others.
const METADATA_BYTES_MAX: usize = 15 * 1024;

/// A channel to one service, for the clients that the build generates: `CatalogServiceClient::new(channel)`.
/// Cheap to clone.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    endpoints: Vec<Arc<Endpoint>>,
    next: AtomicUsize,
    metrics: Metrics,
}

impl Channel {
    /// A channel to the service `name`. It connects when the first call is made, and never fails for good.
    pub fn connect(metrics: &Metrics, name: &'static str, target: &GrpcTarget) -> Channel {
        let endpoints = target
            .authorities
            .iter()
            .map(|authority| Arc::new(Endpoint::new(authority.clone())));
        Channel {
            shared: Arc::new(Shared {
                name,
                endpoints: endpoints.collect(),
                next: AtomicUsize::new(0),
                metrics: metrics.clone(),
            }),
        }
    }

    /// The service at the other end.
    pub fn name(&self) -> &'static str {
        self.shared.name
    }

    /// How each replica is.
    pub fn state(&self) -> Vec<EndpointState> {
        self.shared
            .endpoints
            .iter()
            .map(|endpoint| endpoint.state())
            .collect()
    }
}

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let shared = self.shared.clone();
        if metadata_bytes(request.headers()) > METADATA_BYTES_MAX {
            return Box::pin(std::future::ready(Err(too_large(
                "metadata",
                METADATA_BYTES_MAX,
            ))));
        }
        let asked = request.headers().get(GRPC_TIMEOUT).and_then(parse_timeout);
        let limit = match (deadline::remaining(), asked) {
            (Some(remaining), Some(asked)) => remaining.min(asked),
            (remaining, asked) => remaining.or(asked).unwrap_or(DEADLINE_DEFAULT),
        };
        let until = Instant::now() + limit;
        let context = trace::try_current().map_or_else(TraceContext::new, TraceContext::child);
        context.inject(request.headers_mut());
        request
            .headers_mut()
            .insert(header::TE, HeaderValue::from_static("trailers"));
        let path = request.uri().path();
        let call = shared.metrics.begin(shared.name, path, context);
        Box::pin(async move {
            let sent = shared.send(request, until);
            let answered = async { sent.await.and_then(|response| shared.by_service(response)) };
            match tokio::time::timeout_at(until, answered).await {
                Ok(Ok(response)) => Ok(shared.received(response, until, call)),
                Ok(Err(status)) => {
                    call.end(status.code());
                    Err(status)
                }
                Err(_) => {
                    call.end(Code::DeadlineExceeded);
                    Err(passed())
                }
            }
        })
    }
}

impl Shared {
    async fn send(
        &self,
        request: Request<Body>,
        until: Instant,
    ) -> Result<Response<Incoming>, Status> {
        let (parts, body) = request.into_parts();
        let mut payload = Payload::of(body);
        let mut tried = None;
        loop {
            let (endpoint, mut sender) = self
                .pick(tried)
                .await
                .map_err(|why| unavailable(self.name, why))?;
            let mut parts = parts.clone();
            parts.uri = self.uri(endpoint, &parts.uri)?;
            let left = until.saturating_duration_since(Instant::now());
            parts.headers.insert(GRPC_TIMEOUT, timeout_header(left));
            let Some(body) = payload.take() else {
                return Err(unavailable(
                    self.name,
                    "the request could not be sent again",
                ));
            };
            let mut error = match sender
                .try_send_request(Request::from_parts(parts, body))
                .await
            {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let unsent = error.take_message();
            let never_handled = unsent.is_some() || was_refused(error.error());
            if let Some(request) = unsent {
                payload.restore(request.into_body());
            }
            if !never_handled || tried.is_some() {
                return Err(unavailable(self.name, error.error()));
            }
            tried = Some(endpoint);
            self.metrics.resent(self.name);
        }
    }

    /// A connected replica, the next in turn, another than `tried` if there is one. While none is connected,
    /// the first that can be.
    async fn pick(
        &self,
        tried: Option<usize>,
    ) -> Result<(usize, SendRequest<Body>), Box<dyn Error + Send + Sync>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.endpoints.len();
        let in_turn = || (0..count).map(|step| first.wrapping_add(step) % count);

        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.is_due()) {
            endpoint.connect();
        }
        let connected = |at: usize| Some((at, self.endpoints[at].connected()?));
        if let Some(found) = in_turn()
            .filter(|at| Some(*at) != tried)
            .find_map(connected)
        {
            return Ok(found);
        }
        let mut attempts: FuturesUnordered<_> = in_turn()
            .map(|at| {
                let attempt = self.endpoints[at].connect();
                async move { (at, attempt.await) }
            })
            .collect();
        let mut why: Box<dyn Error + Send + Sync> = "there is no replica".into();
        let mut again = None;
        while let Some((at, outcome)) = attempts.next().await {
            match outcome {
                Ok(Ok(sender)) if Some(at) != tried => return Ok((at, sender)),
                Ok(Ok(sender)) => again = Some((at, sender)),
                Ok(Err(error)) => why = error.into(),
                Err(error) => why = error.into(),
            }
        }
        // With a single address the second try goes there again, over a new connection.
        again.ok_or(why)
    }

    fn uri(&self, endpoint: usize, uri: &Uri) -> Result<Uri, Status> {
        let path = uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.endpoints[endpoint].authority.clone())
            .path_and_query(path)
            .build()
            .map_err(crate::error::internal)
    }

    /// The response, unless a proxy on the way has answered by itself that it found nobody or has enough: in
    /// HTTP, with a text that is no message.
    fn by_service(&self, response: Response<Incoming>) -> Result<Response<Incoming>, Status> {
        let is_proxys = matches!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if is_proxys && !response.headers().contains_key(Status::GRPC_STATUS) {
            return Err(unavailable(self.name, response.status()));
        }
        Ok(response)
    }

    fn received(
        &self,
        response: Response<Incoming>,
        until: Instant,
        mut call: Call,
    ) -> Response<Body> {
        let (mut parts, inner) = response.into_parts();
        if let Some(code) = checked_code(&mut parts.headers) {
            call.code = code;
        }
        let until = Box::pin(tokio::time::sleep_until(until));
        Response::from_parts(
            parts,
            Body::new(Received {
                inner,
                server: self.name,
                until,
                call,
            }),
        )
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("name", &self.shared.name)
            .field("endpoints", &self.state())
            .finish()
    }
}

/// The size of headers as HTTP/2 counts it.
fn metadata_bytes(headers: &HeaderMap) -> usize {
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32);
    sizes.sum()
}

/// Whether the peer says that it did not begin the call: it refused the stream, or left it out of the ones
/// that it still answers.
fn was_refused(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            return h2.is_remote()
                && ((h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM))
                    || (h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR)));
        }
        source = cause.source();
    }
    false
}

/// What a caller is told when there was no answer; the cause goes to the log.
pub(super) fn unavailable(server: &str, cause: impl fmt::Display) -> Status {
    tracing::debug!(server, %cause, "no answer from {server}: {cause}");
    Refusal::new(
        PlatformReason::DependencyUnavailable,
        format!("{server} is not available"),
    )
    .into()
}
