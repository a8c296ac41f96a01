//! The answer as it comes in: within the deadline, and counted at its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tonic::{Code, Status};

use super::channel::unavailable;
use super::metrics::Call;
use crate::grpc::passed;

pub(super) struct Received {
    pub(super) inner: Incoming,
    pub(super) server: &'static str,
    pub(super) until: Pin<Box<Sleep>>,
    pub(super) call: Call,
}

impl Body for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                std::task::ready!(this.until.as_mut().poll(cx));
                this.call.code = Code::DeadlineExceeded;
                return Poll::Ready(Some(Err(passed())));
            }
        };
        Poll::Ready(frame.map(|frame| match frame {
            Ok(mut frame) => {
                if let Some(trailers) = frame.trailers_mut() {
                    this.call.code = checked_code(trailers).unwrap_or(Code::Unknown);
                }
                Ok(frame)
            }
            Err(error) => {
                this.call.code = Code::Unavailable;
                Err(unavailable(this.server, error))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

/// The code in headers or trailers. Details that are not base64 are removed: tonic panics over them.
pub(super) fn checked_code(headers: &mut HeaderMap) -> Option<Code> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let is_broken = |details: &http::HeaderValue| LENIENT.decode(details.as_bytes()).is_err();
    if headers
        .get(Status::GRPC_STATUS_DETAILS)
        .is_some_and(is_broken)
    {
        headers.remove(Status::GRPC_STATUS_DETAILS);
    }
    headers
        .get(Status::GRPC_STATUS)
        .map(|code| Code::from_bytes(code.as_bytes()))
}
