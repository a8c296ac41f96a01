//! The answer on its way out: what holds for a call holds until its last frame.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::message::too_large;
use super::panics;
use super::stack::polished;
use super::telemetry::Call;
use crate::admission::Permit;
use crate::trace::TraceContext;
use crate::{deadline, trace};

/// Completes with the status that a call gets when it must end before it is done.
pub(super) type Cut = Pin<Box<dyn Future<Output = Status> + Send>>;

/// As much is handed over at once. What is handed over waits for the caller's window outside of all that holds
/// for a call, so it must not be a whole answer.
const PIECE_BYTES: usize = 64 << 10;

/// The body of an answer.
pub(super) struct Answer {
    /// `None` after the last frame.
    pub(super) inner: Option<Body>,
    /// Of the last frame, what was not handed over yet.
    pub(super) unsent: Bytes,
    pub(super) context: TraceContext,
    pub(super) deadline: Option<Instant>,
    pub(super) cut: Cut,
    pub(super) domain: &'static str,
    pub(super) bytes_max: usize,
    pub(super) call: Option<Call>,
    /// The place of the call, free again when the answer is over.
    pub(super) permit: Option<Permit>,
}

impl Answer {
    fn end(&mut self, status: Status) -> Option<Result<Frame<Bytes>, Status>> {
        self.inner = None;
        self.unsent = Bytes::new();
        self.permit = None;
        let status = polished(status, self.domain);
        if let Some(call) = self.call.take() {
            call.finish(Some(&status));
        }
        let mut trailers = HeaderMap::new();
        match status.add_header(&mut trailers) {
            Ok(()) => Some(Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(error)),
        }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let length = self.unsent.len().min(PIECE_BYTES);
        Frame::data(self.unsent.split_to(length))
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let poll = || trace::sync_scope(self.context, || Pin::new(inner).poll_frame(cx));
        match self.deadline {
            Some(until) => deadline::sync_scope_until(until, poll),
            None => poll(),
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.inner.is_none() {
            return Poll::Ready(None);
        }
        // First, so that an answer which always has more cannot outlive its time.
        if let Poll::Ready(status) = this.cut.as_mut().poll(cx) {
            return Poll::Ready(this.end(status));
        }
        if !this.unsent.is_empty() {
            return Poll::Ready(Some(Ok(this.piece())));
        }
        let context = this.context;
        let frame = match panics::caught_now(|| this.poll_inner(cx)) {
            Err(panicked) => return Poll::Ready(trace::sync_scope(context, || this.end(panicked))),
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(frame)) => frame,
        };
        Poll::Ready(match frame {
            Some(Ok(frame))
                if frame
                    .data_ref()
                    .is_some_and(|data| data.len() > this.bytes_max) =>
            {
                this.end(too_large("answer", this.bytes_max))
            }
            Some(Ok(frame)) => match frame.into_trailers() {
                Err(frame) => match frame.into_data() {
                    Ok(data) => {
                        this.unsent = data;
                        Some(Ok(this.piece()))
                    }
                    Err(other) => Some(Ok(other)),
                },
                Ok(trailers) => match Status::from_header_map(&trailers)
                    .filter(|status| status.code() != tonic::Code::Ok)
                {
                    Some(status) => this.end(status),
                    None => {
                        this.inner = None;
                        this.permit = None;
                        if let Some(call) = this.call.take() {
                            call.finish(None);
                        }
                        Some(Ok(Frame::trailers(trailers)))
                    }
                },
            },
            Some(Err(status)) => this.end(status),
            None => {
                this.inner = None;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }
}
