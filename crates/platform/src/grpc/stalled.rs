//! The end of an answer that its caller does not take.
//!
//! While bytes of an answer wait for room in the caller's window, hyper asks its body for nothing, and the
//! deadline that the body knows is not looked at: who grants no room would keep a place for ever. So the
//! task of a call knows that deadline, too, and resets the stream.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Who does read hears the status from the body, which is a moment earlier.
const GRACE: Duration = Duration::from_millis(100);

tokio::task_local! {
    /// When the task of the present call must be over; unknown until there is an answer.
    static UNTIL: Cell<Option<Instant>>;
}

/// Says when the answer of the present call must be over.
pub(super) fn must_end(until: Instant) {
    // A call outside of a connection has nobody who could stall it.
    let _ = UNTIL.try_with(|cell| cell.set(Some(until + GRACE)));
}

/// Runs each call of a connection in a task of its own.
#[derive(Clone, Copy)]
pub(super) struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, call: F) {
        tokio::spawn(UNTIL.scope(Cell::new(None), async move {
            let mut call = pin!(call);
            let until = poll_fn(|cx| match call.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(None),
                // Most answers are over by now, and need no timer.
                Poll::Pending => UNTIL
                    .with(Cell::get)
                    .map_or(Poll::Pending, |at| Poll::Ready(Some(at))),
            });
            if let Some(until) = until.await {
                // What is dropped is reset.
                let _ = timeout_at(until, call).await;
            }
        }));
    }
}
