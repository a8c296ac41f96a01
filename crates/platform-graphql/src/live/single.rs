//! The single connection mode: one stream is reserved and opened, and operations are ordered for it
//! by requests of their own. A reservation is known to the replica that gave it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_graphql::Executor;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use platform::auth::Caller;
use tokio::sync::mpsc;
use url::form_urlencoded;
use uuid::Uuid;

use super::Live;
use super::handshake::network;
use super::message::ID_BYTES_MAX;
use super::metrics::Transport;
use super::operation::Operation;
use super::seats::Seat;
use super::socket::too_many_operations;
use super::sse;
use crate::http::{Carries, Endpoint, read};
use crate::refusal::{Refusal, RequestReason};
use crate::session::{Jar, Opened};

const TOKEN: HeaderName = HeaderName::from_static("x-graphql-event-stream-token");

/// What a request does to a shared stream.
pub(crate) enum Step {
    Reserve,
    Open(Token),
    Order(Token),
    Stop(Token),
}

/// 128 random bits, as text.
pub(crate) type Token = String;

/// The reservations of a process.
#[derive(Default)]
pub(super) struct Reserved(Mutex<HashMap<Token, Arc<Reservation>>>);

struct Reservation {
    owner: Owner,
    orders: mpsc::Sender<Order>,
    state: Mutex<State>,
}

/// Whoever reserved a stream: the principal and the session, since tokens are exchanged.
#[derive(PartialEq, Eq)]
struct Owner(String, Option<Uuid>);

struct State {
    /// Until the stream is opened.
    waiting: Option<(Seat, mpsc::Receiver<Order>)>,
    /// Of operations that were ordered and have not ended.
    ids: HashSet<Arc<str>>,
}

/// What the task of a stream is to do.
pub(super) enum Order {
    Start(Arc<str>, Operation),
    Stop(Arc<str>),
}

/// What comes for an open stream; the reservation ends with it.
pub(super) struct Orders {
    live: Arc<Live>,
    token: Token,
    reservation: Arc<Reservation>,
    receiver: mpsc::Receiver<Order>,
}

impl Step {
    /// `None` for what has nothing to do with a shared stream; `stream` says that one can be read.
    pub(crate) fn of(head: &Parts, stream: bool) -> Option<Step> {
        let token = || {
            let header = head.headers.get(&TOKEN);
            match header {
                Some(token) => token.to_str().ok().map(str::to_owned),
                None => parameter(head, "token"),
            }
        };
        match head.method {
            Method::PUT => Some(Step::Reserve),
            Method::GET if stream => token().map(Step::Open),
            Method::POST => token().map(Step::Order),
            Method::DELETE => Some(Step::Stop(token().unwrap_or_default())),
            _ => None,
        }
    }
}

fn parameter(head: &Parts, name: &str) -> Option<String> {
    let query = head.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}

impl Owner {
    fn of(caller: &Caller) -> Owner {
        let session = caller.user().ok().map(|user| user.session_id);
        Owner(caller.principal().into_owned(), session)
    }
}

impl Reservation {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved {
    fn all(&self) -> MutexGuard<'_, HashMap<Token, Arc<Reservation>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reservation of this caller; that of another one is as unknown as none.
    fn find(&self, token: &str, caller: &Caller) -> Result<Arc<Reservation>, Refusal> {
        let found = self.all().get(token).cloned();
        let owned = found.filter(|found| found.owner == Owner::of(caller));
        owned.ok_or_else(|| {
            let message = "no stream is reserved here under the token";
            Refusal::new(RequestReason::StreamUnknown, StatusCode::NOT_FOUND, message)
        })
    }
}

impl Orders {
    pub(super) async fn next(&mut self) -> Order {
        match self.receiver.recv().await {
            Some(order) => order,
            // The reservation holds a sender.
            None => std::future::pending().await,
        }
    }

    /// The operation has ended; its id is free.
    pub(super) fn forget(&self, id: &str) {
        self.reservation.state().ids.remove(id);
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        self.live.reserved.all().remove(&self.token);
    }
}

impl Live {
    fn reserve(self: &Arc<Self>, seat: Seat, caller: &Caller) -> Token {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
        let token = URL_SAFE_NO_PAD.encode(bytes);
        // Each id is ordered and stopped once at most.
        let (orders, receiver) = mpsc::channel(2 * self.args.live_operations_max);
        let reservation = Arc::new(Reservation {
            owner: Owner::of(caller),
            orders,
            state: Mutex::new(State {
                waiting: Some((seat, receiver)),
                ids: HashSet::new(),
            }),
        });
        self.reserved
            .all()
            .insert(token.clone(), reservation.clone());
        let (live, known) = (self.clone(), token.clone());
        let drained = self.drained();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(live.args.live_init_time, drained).await;
            if reservation.state().waiting.take().is_some() {
                live.reserved.all().remove(&known);
            }
        });
        token
    }
}

impl<E: Executor> Endpoint<E> {
    /// Takes one step with a shared stream.
    pub(crate) async fn step(
        self: &Arc<Self>,
        live: &Arc<Live>,
        step: Step,
        head: &Parts,
        body: Body,
        kept: &OnceLock<Jar>,
    ) -> Result<Response, Refusal> {
        let limiter = self.limiter.as_deref();
        let origin = limiter.map(|limiter| limiter.greet(head)).transpose()?;
        let Opened { caller, jar } = self.open(head).await?;
        kept.get_or_init(|| jar);
        let caller = match caller {
            Ok(caller) => caller,
            Err(status) => return Ok(sse::unauthenticated(status)),
        };
        if let (Some(limiter), Some(origin)) = (limiter, &origin)
            && !matches!(step, Step::Order(_))
        {
            limiter.admit(origin, &caller, 0).await?;
        }
        match step {
            Step::Reserve => {
                let mut seat = live.seat(Transport::Events, network(origin.as_ref(), head))?;
                seat.of(&caller)?;
                let token = live.reserve(seat, &caller);
                Ok((StatusCode::CREATED, token).into_response())
            }
            Step::Open(token) => {
                let reservation = live.reserved.find(&token, &caller)?;
                let waiting = reservation.state().waiting.take();
                let (seat, receiver) = waiting.ok_or_else(|| taken("the stream is open"))?;
                let over = live.until_over(&self.verifier, &caller);
                let orders = Orders {
                    live: live.clone(),
                    token,
                    reservation,
                    receiver,
                };
                Ok(sse::shared(seat, over, orders))
            }
            Step::Order(token) => {
                let reservation = live.reserved.find(&token, &caller)?;
                let asked = read::body(&head.headers, body, &self.limits).await?;
                let id = asked.operation_id.clone().filter(|id| is_id(id));
                let id: Arc<str> = id.ok_or_else(no_id)?.into();
                let held = Held::new(&reservation, &id, live.args.live_operations_max)?;
                let time = platform::deadline::remaining().unwrap_or(self.deadline);
                let caller = std::future::ready(Ok(Ok(caller)));
                let admitted = self.admit(asked, Carries::ALL, origin.as_ref(), caller);
                let mut admitted = admitted.await?;
                // It may wait long for its stream to be opened.
                admitted.turn = None;
                let begun = std::future::ready(Ok(self.run(admitted, time))).boxed();
                let operation = Operation::new(live.clone(), self.limits.clone(), time, begun);
                held.order(id, operation)?;
                Ok(StatusCode::ACCEPTED.into_response())
            }
            Step::Stop(token) => {
                let reservation = live.reserved.find(&token, &caller)?;
                let id = parameter(head, "operationId").filter(|id| is_id(id));
                let id = id.ok_or_else(no_id)?;
                let stopped = reservation.state().ids.take(id.as_str());
                if let Some(id) = stopped {
                    // There is room for it; a stream that has ended needs no order.
                    let _ = reservation.orders.try_send(Order::Stop(id));
                }
                Ok(StatusCode::OK.into_response())
            }
        }
    }
}

/// An id that is free again unless the operation is ordered.
struct Held<'a> {
    reservation: &'a Reservation,
    id: Option<Arc<str>>,
}

impl Held<'_> {
    fn new<'a>(
        reservation: &'a Reservation,
        id: &Arc<str>,
        max: usize,
    ) -> Result<Held<'a>, Refusal> {
        let mut state = reservation.state();
        if state.ids.len() >= max {
            return Err(too_many_operations(max));
        }
        if !state.ids.insert(id.clone()) {
            return Err(taken("an operation of that id runs"));
        }
        drop(state);
        Ok(Held {
            reservation,
            id: Some(id.clone()),
        })
    }

    fn order(mut self, id: Arc<str>, operation: Operation) -> Result<(), Refusal> {
        let order = Order::Start(id, operation);
        let sent = self.reservation.orders.try_send(order);
        sent.map_err(|_| taken("the stream has ended"))?;
        self.id = None;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.reservation.state().ids.remove(&id);
        }
    }
}

fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
}

fn no_id() -> Refusal {
    let message = format!("`operationId` must have 1 to {ID_BYTES_MAX} bytes");
    Refusal::bad(RequestReason::GraphqlRequestMalformed, message)
}

fn taken(message: &str) -> Refusal {
    Refusal::new(RequestReason::StreamTaken, StatusCode::CONFLICT, message)
}
