//! The task of one socket.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Executor;
use axum::extract::ws::{Message, WebSocket};
use futures_util::{FutureExt, StreamExt};
use platform::auth::Caller;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::close::{self, Ending};
use super::handshake::Guest;
use super::message::{self, Received};
use super::operation::{Answer, Operation};
use super::operations::Operations;
use super::seats::Seat;
use super::{LAST_WORD_TIME_MAX, Over, UntilOver};
use crate::http::{Carries, Endpoint, read};
use crate::refusal::{Refusal, RequestReason};

/// For the last frame to leave, and for the peer to answer it.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(1);

struct Socket<E> {
    connection: WebSocket,
    endpoint: Arc<Endpoint<E>>,
    guest: Guest,
    seat: Seat,
    /// Once the first message has said who calls.
    caller: Option<Caller>,
    operations: Operations,
    over: UntilOver,
    /// When something last came from the peer.
    heard_at: Instant,
    /// Since when nothing runs.
    idle_since: Instant,
    opened_at: Instant,
    /// When [`Socket::look`] is due.
    alarm: Pin<Box<Sleep>>,
    pinged_at: Instant,
}

pub(super) async fn run<E: Executor>(
    connection: WebSocket,
    endpoint: Arc<Endpoint<E>>,
    guest: Guest,
    seat: Seat,
    is_spoken: bool,
) {
    let now = Instant::now();
    let mut socket = Socket {
        over: seat.live.until_over(&endpoint.verifier, &Caller::Nobody),
        alarm: Box::pin(sleep_until(now)),
        connection,
        endpoint,
        guest,
        seat,
        caller: None,
        operations: Operations::default(),
        heard_at: now,
        idle_since: now,
        opened_at: now,
        pinged_at: now,
    };
    let ending = if is_spoken {
        socket.serve().await.err().unwrap_or(Ending::Broken)
    } else {
        Ending::close(close::SUBPROTOCOL, "graphql-transport-ws is spoken here")
    };
    socket.end(ending).await;
}

impl<E: Executor> Socket<E> {
    /// Ends with an error only.
    async fn serve(&mut self) -> Result<(), Ending> {
        self.look().await?;
        loop {
            tokio::select! {
                biased;
                over = &mut self.over => return Err(self.is_over(over).await),
                received = self.connection.next() => {
                    let message = match received {
                        Some(Ok(message)) => message,
                        Some(Err(error)) => return Err(Ending::unreadable(error)),
                        None => return Err(Ending::Broken),
                    };
                    self.heard_at = Instant::now();
                    self.receive(message).await?;
                }
                () = &mut self.alarm => self.look().await?,
                (id, answer) = self.operations.next() => self.tell(&id, answer).await?,
            }
        }
    }

    async fn receive(&mut self, message: Message) -> Result<(), Ending> {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(bad_message("binary messages are not understood")),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(Ending::Left),
        };
        match Received::parse(&text).map_err(bad_message)? {
            Received::ConnectionInit { .. } if self.caller.is_some() => Err(Ending::close(
                close::INIT_TWICE,
                "too many initialisation requests",
            )),
            Received::ConnectionInit { payload } => {
                let caller = self.endpoint.introduced(&mut self.guest, payload).await?;
                let seat = self.seat.of(&caller);
                seat.map_err(|refusal| Ending::refusal(&refusal))?;
                self.over = self.seat.live.until_over(&self.endpoint.verifier, &caller);
                self.caller = Some(caller);
                self.idle_since = Instant::now();
                self.send(message::ack()).await
            }
            Received::Ping { payload } => self.send(message::pong(payload)).await,
            Received::Pong { .. } => Ok(()),
            Received::Subscribe { id, payload } => self.subscribe(id, *payload),
            Received::Complete { id } => {
                if self.operations.stop(&id) {
                    self.rest();
                }
                Ok(())
            }
        }
    }

    fn subscribe(&mut self, id: String, payload: read::Parameters) -> Result<(), Ending> {
        let Some(caller) = self.caller.clone() else {
            return Err(Ending::close(close::BEFORE_ACK, "unauthorized"));
        };
        if self.operations.has(&id) {
            let reason = format!("subscriber for {id} already exists");
            return Err(Ending::close(close::ID_TAKEN, reason));
        }
        let asked = read::asked(payload).map_err(|refusal| bad_message(refusal.message))?;
        if !asked.named.is_given() {
            return Err(bad_message("`query` is missing"));
        }
        let live = &self.seat.live;
        let (endpoint, origin) = (self.endpoint.clone(), self.guest.origin.clone());
        let time = endpoint.deadline;
        let max = live.args.live_operations_max;
        let begun = if self.operations.len() < max {
            let begun = async move {
                let caller = ready(Ok(Ok(caller)));
                let admitted = endpoint.admit(asked, Carries::ALL, origin.as_ref(), caller);
                Ok(endpoint.run(admitted.await?, time))
            };
            begun.boxed()
        } else {
            ready(Err(too_many_operations(max))).boxed()
        };
        let limits = self.endpoint.limits.clone();
        let operation = Operation::new(live.clone(), limits, time, begun);
        self.operations.start(id.into(), operation);
        Ok(())
    }

    async fn tell(&mut self, id: &str, answer: Answer) -> Result<(), Ending> {
        let message = match answer {
            Answer::Next(payload) => message::next(id, &payload),
            Answer::Refused(errors) => message::error(id, &errors),
            // What feeds it has stopped because the process does; the subscription has not ended.
            Answer::Complete { subscription: true } if self.seat.live.is_draining() => {
                return Err(Ending::restart());
            }
            Answer::Complete { .. } => message::complete(id),
        };
        self.rest();
        self.send(message).await
    }

    /// Notes since when nothing runs.
    fn rest(&mut self) {
        if self.operations.is_empty() {
            self.idle_since = Instant::now();
        }
    }

    /// Looks whether the peer is there and wants something, and when to look again.
    async fn look(&mut self) -> Result<(), Ending> {
        let args = &self.seat.live.args;
        let (interval, idle, init) = (
            args.live_ping_interval,
            args.live_idle_time,
            args.live_init_time,
        );
        let now = Instant::now();
        if self.caller.is_none() && now >= self.opened_at + init {
            let reason = "connection initialisation timeout";
            return Err(Ending::close(close::INIT_TIMEOUT, reason));
        }
        if now >= self.heard_at + 2 * interval {
            return Err(Ending::Broken);
        }
        let is_idle = self.caller.is_some() && self.operations.is_empty();
        if is_idle && now >= self.idle_since + idle {
            return Err(Ending::close(
                close::NORMAL,
                "nothing was asked for a while",
            ));
        }
        if now >= self.pinged_at + interval {
            self.pinged_at = now;
            let ping = Message::Ping(bytes::Bytes::new());
            self.send(ping).await?;
        }
        let mut next = self.pinged_at + interval;
        if self.caller.is_none() {
            next = next.min(self.opened_at + init);
        }
        // What is busy may become idle right now, and must then be closed in time.
        next = next.min(if is_idle { self.idle_since } else { now } + idle);
        self.alarm.as_mut().reset(next);
        Ok(())
    }

    /// Sends one message to the end, so that there is never more than one.
    async fn send(&mut self, message: Message) -> Result<(), Ending> {
        let time = self.seat.live.args.live_write_time;
        let sent = timeout(time, self.connection.send(message));
        tokio::select! {
            biased;
            sent = sent => match sent {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Ending::Broken),
                Err(_) => {
                    let reason = "too slow; resume with `after`";
                    return Err(Ending::close(close::TRY_AGAIN, reason));
                }
            },
            over = &mut self.over => return Err(ending(&over)),
        }
        self.seat.sent();
        Ok(())
    }

    /// Operations whose right ends may say so.
    async fn is_over(&mut self, over: Over) -> Ending {
        if matches!(over, Over::Lapsed(_)) {
            let last_words = async {
                while !self.operations.is_empty() {
                    let (id, answer) = self.operations.next().await;
                    self.tell(&id, answer).await?;
                }
                Ok::<_, Ending>(())
            };
            let _ = timeout(LAST_WORD_TIME_MAX, last_words).await;
        }
        ending(&over)
    }

    async fn end(mut self, ending: Ending) {
        self.operations.clear();
        self.seat.closed(ending.label());
        if ending != Ending::Broken {
            let _ = timeout(CLOSING_TIME_MAX, self.close(&ending)).await;
        }
    }

    /// Says goodbye, and waits until the peer has.
    async fn close(&mut self, ending: &Ending) -> Option<Infallible> {
        if let Ending::Close { code, reason } = ending {
            let frame = Message::Close(Some(close::frame(*code, reason)));
            self.connection.send(frame).await.ok()?;
            if *code == close::TOO_LARGE {
                // What is left unread would make the end of the connection a reset, which can
                // overtake the frame.
                return pending().await;
            }
        }
        loop {
            self.connection.next().await?.ok()?;
        }
    }
}

fn bad_message(problem: impl Into<String>) -> Ending {
    Ending::close(close::BAD_MESSAGE, problem)
}

fn ending(over: &Over) -> Ending {
    match over {
        Over::Lapsed(status) => Ending::refused(status),
        Over::Drained => Ending::restart(),
    }
}

/// More than that run on one socket or stream.
pub(super) fn too_many_operations(max: usize) -> Refusal {
    Refusal::new(
        RequestReason::StreamsExceeded,
        http::StatusCode::TOO_MANY_REQUESTS,
        format!("no more than {max} operations run at once here"),
    )
}
