//! What becomes of a body that the answer did not wait for.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{
        HeaderValue, Version,
        header::{CONNECTION, EXPECT},
    },
    response::Response,
};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

/// A client that is still sending reads no answer, and a closed connection would take the answer
/// away from it; so this much is taken and thrown away.
const DISCARDED_BYTES_MAX: usize = 4 << 20;
const DISCARDED_TIME_MAX: Duration = Duration::from_secs(1);

/// The rest of a request's body, once nobody reads it any more.
pub(super) struct Unread(Option<Rest>);

type Rest = Arc<Mutex<Option<Body>>>;

impl Unread {
    /// Watches the body of a request of HTTP/1, if it has one; streams of HTTP/2 end by themselves.
    pub(super) fn watch(request: Request) -> (Request, Self) {
        let asks_first = request.headers().contains_key(EXPECT);
        if request.version() > Version::HTTP_11 || request.body().is_end_stream() || asks_first {
            return (request, Self(None));
        }
        let rest = Rest::default();
        let watched = request.map(|inner| {
            Body::new(Watched {
                inner: Some(inner),
                rest: Arc::clone(&rest),
            })
        });
        (watched, Self(Some(rest)))
    }

    /// Throws the rest away within limits. A larger rest ends the connection, since it stands
    /// where the next request would begin, and the answer says so (RFC 9112, section 9.3).
    pub(super) async fn settle(self, response: &mut Response) {
        let Some(rest) = self.0 else { return };
        let Some(rest) = rest.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let ended = tokio::time::timeout(DISCARDED_TIME_MAX, discard(rest)).await;
        if !matches!(ended, Ok(true)) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }
}

/// Whether the body came to its end.
async fn discard(mut body: Body) -> bool {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > DISCARDED_BYTES_MAX {
            return false;
        }
    }
    true
}

/// Hands its body on when it is dropped before the end.
struct Watched {
    inner: Option<Body>,
    rest: Rest,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let unread = self.inner.take().filter(|inner| !inner.is_end_stream());
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(inner).poll_frame(cx));
        if frame.is_none() {
            self.inner = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = SizeHint::with_exact(0);
        self.inner.as_ref().map_or(none, HttpBody::size_hint)
    }
}
