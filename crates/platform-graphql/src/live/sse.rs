//! Server-sent events: one operation, or all those of a shared stream.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Executor;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use platform_contract::Reason;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tonic::Status;

use super::handshake::network;
use super::metrics::Transport;
use super::operation::{Answer, Operation, list};
use super::operations::Operations;
use super::seats::Seat;
use super::single::{Order, Orders};
use super::{LAST_WORD_TIME_MAX, Live, Over, UntilOver};
use crate::error;
use crate::guard::Limits;
use crate::http::{Admitted, Endpoint, write};
use crate::json;
use crate::rate::Origin;
use crate::refusal::{Refusal, RequestReason};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Some browsers show nothing of an answer before its first bytes.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// Whether a refusal is told by an event. A page that uses `EventSource` cannot read the body of
/// an answer that is not 200, so what is wrong with the document is told on the stream; what is
/// wrong with the request keeps its status, by which clients know whether to come back.
pub(crate) fn is_told_in_stream(refusal: &Refusal) -> bool {
    let of_request = [
        RequestReason::GraphqlRequestMalformed,
        RequestReason::CredentialsAmbiguous,
    ];
    matches!(refusal.http, StatusCode::BAD_REQUEST | StatusCode::OK)
        && of_request.iter().all(|of| of.word() != refusal.word)
}

/// The stream of a request that was not executed.
pub(crate) fn refused(refusal: &Refusal, limits: &Limits) -> Response {
    let errors = list(&[write::entry(refusal, limits)]);
    let mut body = event("next", None, Some(&result(&errors))).to_vec();
    body.extend_from_slice(&event("complete", None, None));
    respond(Body::from(body))
}

impl<E: Executor> Endpoint<E> {
    /// The stream of one operation; `time` is for its answer, or for each event.
    pub(crate) fn stream(
        &self,
        live: &Arc<Live>,
        admitted: Admitted,
        head: &Parts,
        origin: Option<&Origin>,
        time: Duration,
    ) -> Result<Response, Refusal> {
        let mut seat = live.seat(Transport::Events, network(origin, head))?;
        seat.of(admitted.caller())?;
        let over = live.until_over(&self.verifier, admitted.caller());
        let begun = ready(Ok(self.run(admitted, time))).boxed();
        let operation = Operation::new(live.clone(), self.limits.clone(), time, begun);
        let mut operations = Operations::default();
        operations.start("".into(), operation);
        Ok(start(seat, over, operations, None))
    }
}

/// The stream of all operations for which there is one reservation.
pub(super) fn shared(seat: Seat, over: UntilOver, orders: Orders) -> Response {
    start(seat, over, Operations::default(), Some(orders))
}

fn start(seat: Seat, over: UntilOver, operations: Operations, orders: Option<Orders>) -> Response {
    // One waits here, one in the hand of the task, and some in the buffers of the connection.
    let (out, mut ready) = mpsc::channel(1);
    let alarm = Box::pin(sleep(seat.live.args.live_keep_alive_interval));
    let pump = Pump {
        seat,
        out,
        operations,
        over,
        orders,
        alarm,
        idle_since: Instant::now(),
    };
    tokio::spawn(pump.run());
    let pieces = stream::poll_fn(move |cx| ready.poll_recv(cx));
    respond(Body::from_stream(pieces.map(Ok::<_, Infallible>)))
}

fn respond(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let text = HeaderValue::from_static;
    headers.insert(CONTENT_TYPE, text("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, text("no-store"));
    headers.insert(VARY, text("accept, authorization, cookie, origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, text("nosniff"));
    // For proxies that would wait for more.
    headers.insert(X_ACCEL_BUFFERING, text("no"));
    response
}

/// The task of one stream.
struct Pump {
    seat: Seat,
    out: mpsc::Sender<Bytes>,
    operations: Operations,
    over: UntilOver,
    /// `None` where there is one operation.
    orders: Option<Orders>,
    alarm: Pin<Box<Sleep>>,
    idle_since: Instant,
}

impl Pump {
    async fn run(mut self) {
        let why = self.serve().await.err().unwrap_or("complete");
        self.operations.clear();
        self.seat.closed(why);
    }

    /// An error says, in a word, why the stream ends without the end of its operations.
    async fn serve(&mut self) -> Result<(), &'static str> {
        self.send(COMMENT).await?;
        loop {
            tokio::select! {
                biased;
                over = &mut self.over => return self.is_over(over).await,
                () = self.out.closed() => return Err("left"),
                order = next(&mut self.orders) => match order {
                    Order::Start(id, operation) => self.operations.start(id, operation),
                    Order::Stop(id) => {
                        self.operations.stop(&id);
                        self.rest();
                    }
                },
                () = &mut self.alarm => {
                    let args = &self.seat.live.args;
                    let is_idle = self.operations.is_empty()
                        && self.idle_since.elapsed() >= args.live_idle_time;
                    if is_idle {
                        return Err("idle");
                    }
                    let interval = args.live_keep_alive_interval;
                    self.alarm.as_mut().reset(Instant::now() + interval);
                    self.send(COMMENT).await?;
                }
                (id, answer) = self.operations.next() => {
                    self.tell(&id, answer).await?;
                    if self.orders.is_none() && self.operations.is_empty() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn tell(&mut self, id: &Arc<str>, answer: Answer) -> Result<(), &'static str> {
        let (payload, is_last) = match answer {
            Answer::Next(payload) => (Some(payload), false),
            Answer::Refused(errors) => (Some(result(&errors)), true),
            // As on a socket: without `complete` the client comes back.
            Answer::Complete { subscription: true } if self.seat.live.is_draining() => {
                return Err("drained");
            }
            Answer::Complete { .. } => (None, true),
        };
        let id = self.orders.as_ref().map(|_| id.as_ref());
        if let Some(payload) = payload {
            self.send(event("next", id, Some(&payload))).await?;
            self.seat.sent();
        }
        if is_last {
            if let (Some(orders), Some(id)) = (&self.orders, id) {
                orders.forget(id);
            }
            self.rest();
            self.send(event("complete", id, None)).await?;
        }
        Ok(())
    }

    fn rest(&mut self) {
        if self.operations.is_empty() {
            self.idle_since = Instant::now();
        }
    }

    /// Waits until the connection takes it, for as long as that may take.
    async fn send(&mut self, piece: Bytes) -> Result<(), &'static str> {
        let time = self.seat.live.args.live_write_time;
        match timeout(time, self.out.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("left"),
            Err(_) => Err("slow"),
        }
    }

    /// Operations whose right ends may say so, and are told. A stream that is drained just ends:
    /// its client comes back.
    async fn is_over(&mut self, over: Over) -> Result<(), &'static str> {
        let Over::Lapsed(status) = over else {
            return Err("drained");
        };
        let last_words = async {
            while !self.operations.is_empty() {
                let (id, answer) = self.operations.next().await;
                self.tell(&id, answer).await?;
            }
            Ok::<_, &'static str>(())
        };
        let _ = timeout(LAST_WORD_TIME_MAX, last_words).await;
        let errors = list(&[error::entry_of(status)]);
        let ids: Vec<_> = self.operations.ids().cloned().collect();
        for id in ids {
            self.tell(&id, Answer::Refused(errors.clone())).await?;
        }
        Err("lapsed")
    }
}

async fn next(orders: &mut Option<Orders>) -> Order {
    match orders {
        Some(orders) => orders.next().await,
        None => std::future::pending().await,
    }
}

/// A result that holds nothing but errors.
fn result(errors: &[u8]) -> Vec<u8> {
    let mut out = br#"{"errors":"#.to_vec();
    out.extend_from_slice(errors);
    out.push(b'}');
    out
}

/// One event; `id` names its operation where the stream is shared.
fn event(name: &str, id: Option<&str>, payload: Option<&[u8]>) -> Bytes {
    let length = payload.map_or(0, <[u8]>::len);
    let mut out = Vec::with_capacity(64 + length);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    match id {
        None => out.extend_from_slice(payload.unwrap_or_default()),
        Some(id) => {
            out.extend_from_slice(br#"{"id":"#);
            json::string(id, &mut out);
            if let Some(payload) = payload {
                out.extend_from_slice(br#","payload":"#);
                out.extend_from_slice(payload);
            }
            out.push(b'}');
        }
    }
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// For callers that are refused before there is a stream.
pub(super) fn unauthenticated(status: Status) -> Response {
    let http = match status.code() {
        tonic::Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = write::body(&[error::entry_of(status)], None);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = http;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, write::PRIVATE);
    response
}
