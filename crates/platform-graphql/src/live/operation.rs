//! One operation: from the request to its answers, written.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_graphql::{Response as Executed, ServerError};
use futures_util::Stream;
use futures_util::stream::BoxStream;
use http::StatusCode;
use platform::deadline;
use platform::trace::{self, TraceContext};
use platform_contract::PlatformReason;
use tokio::time::{Instant, Sleep};

use super::Live;
use crate::admission::Turn;
use crate::document::Document;
use crate::guard::Limits;
use crate::http::write;
use crate::json;
use crate::refusal::Refusal;

/// An operation that is executed.
pub(crate) struct Run {
    pub(crate) answers: BoxStream<'static, Result<Executed, Refusal>>,
    pub(crate) document: Arc<Document>,
    pub(crate) pace: Pace,
    /// Until the first answer, since the work of a subscription is in the beginning; no longer
    /// than a request may take, since some wait long for their first event.
    pub(crate) turn: Option<Turn>,
}

/// How much time there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// For the one answer.
    Once(Instant),
    /// For each piece of work of a subscription.
    ///
    /// It cannot be seen from outside whether a stream waits for its next event, which may take
    /// days, or for a call that is made for it. So the deadline is renewed with each poll: a poll
    /// means that something has happened, and whatever is begun in it has the whole time. A call
    /// takes its deadline along when it begins, so none is without; and an event leads to as many
    /// rounds of calls as its document is deep, which is limited as well.
    Each(Duration),
}

pub(super) type Begun = Pin<Box<dyn Future<Output = Result<Run, Refusal>> + Send>>;

/// What is sent to the client.
#[derive(Debug)]
pub(super) enum Answer {
    /// The JSON of a result.
    Next(Vec<u8>),
    /// A JSON list of errors instead of a result; the last answer.
    Refused(Vec<u8>),
    /// The last answer.
    Complete { subscription: bool },
}

/// Answers of an operation; the last one is `Refused` or `Complete`.
pub(super) struct Operation {
    state: State,
    limits: Arc<Limits>,
    pace: Pace,
    trace: TraceContext,
    _counted: Counted,
}

enum State {
    Beginning(Begun),
    Running {
        answers: BoxStream<'static, Result<Executed, Refusal>>,
        document: Arc<Document>,
        turn: Option<(Turn, Pin<Box<Sleep>>)>,
    },
    Done,
}

impl Operation {
    /// Begins when it is polled; `time` is for the beginning.
    pub(super) fn new(live: Arc<Live>, limits: Arc<Limits>, time: Duration, begun: Begun) -> Self {
        live.metrics.operations.inc();
        Operation {
            state: State::Beginning(begun),
            limits,
            pace: Pace::Once(Instant::now() + time),
            trace: trace::current(),
            _counted: Counted(live),
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        loop {
            match &mut self.state {
                State::Beginning(begun) => match ready!(begun.as_mut().poll(cx)) {
                    Ok(run) => {
                        self.pace = run.pace;
                        let time = match run.pace {
                            Pace::Once(until) => until.saturating_duration_since(Instant::now()),
                            Pace::Each(time) => time,
                        };
                        let turn = run.turn;
                        self.state = State::Running {
                            answers: run.answers,
                            document: run.document,
                            turn: turn.map(|turn| (turn, Box::pin(tokio::time::sleep(time)))),
                        };
                    }
                    Err(refusal) => return Poll::Ready(Some(self.refused(&refusal))),
                },
                State::Running {
                    answers,
                    document,
                    turn,
                } => {
                    if let Some((begins, over)) = turn
                        && over.as_mut().poll(cx).is_ready()
                    {
                        begins.end();
                        *turn = None;
                    }
                    match ready!(answers.as_mut().poll_next(cx)) {
                        Some(Ok(mut executed)) => {
                            if let Some((begins, _)) = turn.take() {
                                begins.end();
                            }
                            document.redact(&mut executed.errors);
                            return Poll::Ready(Some(self.write(executed)));
                        }
                        Some(Err(refusal)) => return Poll::Ready(Some(self.refused(&refusal))),
                        None => {
                            self.state = State::Done;
                            let subscription = matches!(self.pace, Pace::Each(_));
                            return Poll::Ready(Some(Answer::Complete { subscription }));
                        }
                    }
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }

    fn write(&mut self, mut executed: Executed) -> Answer {
        if write::settle(&mut executed, &self.limits) {
            self.state = State::Done;
            return Answer::Refused(list(&executed.errors));
        }
        Answer::Next(write::body(&executed.errors, Some(&executed.data)))
    }

    fn refused(&mut self, refusal: &Refusal) -> Answer {
        self.state = State::Done;
        Answer::Refused(list(&[write::entry(refusal, &self.limits)]))
    }
}

impl Stream for Operation {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        let this = &mut *self;
        let (trace, until) = match this.pace {
            Pace::Once(until) => (this.trace, until),
            Pace::Each(time) => (this.trace, Instant::now() + time),
        };
        let step = || {
            // A resolver that panics ends its operation, not those beside it.
            catch_unwind(AssertUnwindSafe(|| this.advance(cx))).unwrap_or_else(|_| {
                let fault = Refusal::new(
                    PlatformReason::InternalFault,
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal fault",
                );
                Poll::Ready(Some(this.refused(&fault)))
            })
        };
        let polled = trace::sync_scope(trace, || deadline::sync_scope_until(until, step));
        if polled.is_ready() {
            // Each event has a trace of its own.
            this.trace = TraceContext::new();
        }
        polled
    }
}

/// The errors as a JSON list.
pub(super) fn list(errors: &[ServerError]) -> Vec<u8> {
    let mut out = Vec::new();
    json::scalar(errors, &mut out);
    out
}

struct Counted(Arc<Live>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.operations.dec();
    }
}
