//! The body of a call, kept while it may have to be sent again.

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use tonic::Status;
use tonic::body::Body;

/// Larger requests are not accepted by any server of ours.
const KEPT_BYTES_MAX: usize = 4 << 20;

pub(super) enum Payload {
    /// All of it; a unary request.
    Whole(Bytes),
    /// What comes as it comes; can be sent once.
    Stream(Body),
    /// It was sent.
    Gone,
}

impl Payload {
    /// Takes what is there without waiting: for a unary request that is everything.
    pub(super) fn of(mut body: Body) -> Payload {
        let mut kept = BytesMut::new();
        while kept.len() <= KEPT_BYTES_MAX {
            match body.frame().now_or_never() {
                Some(None) => return Payload::Whole(kept.freeze()),
                Some(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => kept.extend_from_slice(&data),
                    // A client sends no trailers.
                    Err(_) => return Payload::Whole(kept.freeze()),
                },
                Some(Some(Err(status))) => return Payload::stream(kept, Err(status), None),
                None => break,
            }
        }
        Payload::stream(kept, Ok(()), Some(body))
    }

    /// The body for one attempt; `None` when it cannot be had again.
    pub(super) fn take(&mut self) -> Option<Body> {
        match std::mem::replace(self, Payload::Gone) {
            Payload::Whole(bytes) => {
                *self = Payload::Whole(bytes.clone());
                Some(Body::new(Full::new(bytes)))
            }
            Payload::Stream(body) => Some(body),
            Payload::Gone => None,
        }
    }

    /// Takes a body back that was not begun.
    pub(super) fn restore(&mut self, body: Body) {
        if let Payload::Gone = self {
            *self = Payload::Stream(body);
        }
    }

    fn stream(kept: BytesMut, outcome: Result<(), Status>, rest: Option<Body>) -> Payload {
        let first = stream::iter(
            [Ok(Frame::data(kept.freeze()))]
                .into_iter()
                .chain(outcome.err().map(Err)),
        );
        let rest = stream::iter(rest).flat_map(BodyStream::new);
        Payload::Stream(Body::new(StreamBody::new(first.chain(rest))))
    }
}
