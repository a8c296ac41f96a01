//! Whether a request's body was read to its end when the answer is there.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderValue, Version, header::CONNECTION},
    response::Response,
};
use http_body::{Frame, SizeHint};

/// Ends the connection of HTTP/1 where the answer came before the end of the body, and says so
/// in the answer (RFC 9112, section 9.3): the rest stands where the next request would begin.
pub(super) struct Unread(Option<Arc<AtomicBool>>);

impl Unread {
    /// Watches the body of the request, if it has one.
    pub(super) fn watch(request: Request) -> (Request, Self) {
        if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
            return (request, Self(None));
        }
        let ended = Arc::new(AtomicBool::new(false));
        let watched = {
            let ended = Arc::clone(&ended);
            request.map(|inner| Body::new(Watched { inner, ended }))
        };
        (watched, Self(Some(ended)))
    }

    pub(super) fn say(self, response: &mut Response) {
        if self.0.is_some_and(|ended| !ended.load(Ordering::Relaxed)) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }
}

struct Watched {
    inner: Body,
    ended: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
