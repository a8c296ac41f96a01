//! The operations of one socket or stream, by their ids.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::stream::{AbortHandle, Abortable, SelectAll};
use futures_util::{Stream, StreamExt};

use super::operation::{Answer, Operation};

/// Only those with something to say are polled.
#[derive(Default)]
pub(super) struct Operations {
    running: HashMap<Arc<str>, AbortHandle>,
    streams: SelectAll<Abortable<Tagged>>,
}

impl Operations {
    /// Whether an operation has the id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.running.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.running.keys()
    }

    /// The id is free.
    pub(super) fn start(&mut self, id: Arc<str>, operation: Operation) {
        let (handle, registration) = AbortHandle::new_pair();
        let operation = Tagged {
            id: id.clone(),
            operation,
        };
        self.running.insert(id, handle);
        self.streams.push(Abortable::new(operation, registration));
    }

    /// Drops an operation with the next poll; nothing of it is heard any more.
    pub(super) fn stop(&mut self, id: &str) -> bool {
        let handle = self.running.remove(id);
        let known = handle.is_some();
        handle.inspect(AbortHandle::abort);
        known
    }

    pub(super) fn clear(&mut self) {
        self.running.clear();
        self.streams.clear();
    }

    /// The next answer; the id of the last one is free again. Pending while nothing runs.
    pub(super) async fn next(&mut self) -> (Arc<str>, Answer) {
        match self.streams.next().await {
            Some((id, answer)) => {
                if matches!(answer, Answer::Refused(_) | Answer::Complete { .. }) {
                    self.running.remove(&id);
                }
                (id, answer)
            }
            None => std::future::pending().await,
        }
    }
}

struct Tagged {
    id: Arc<str>,
    operation: Operation,
}

impl Stream for Tagged {
    type Item = (Arc<str>, Answer);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let answer = ready!(Pin::new(&mut self.operation).poll_next(cx));
        Poll::Ready(answer.map(|answer| (self.id.clone(), answer)))
    }
}
