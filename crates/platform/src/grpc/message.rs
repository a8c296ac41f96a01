//! The request on its way in: bounded, and watched so that a request which is no message of its type is told
//! from a fault of the handler.
//!
//! tonic answers both with INTERNAL. But it decodes a unary request as soon as the bytes are there, and polls
//! the body to its end only after that succeeded, before it calls the handler. So where the end was not asked
//! for, or no whole message came, no handler has run.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use platform_contract::PlatformReason;
use tonic::Status;

use crate::error::Refusal;

/// What stands before each message: a flag and the length.
const PREFIX_BYTES: usize = 5;

/// A request body that is measured as it is read.
pub(super) struct Measured {
    inner: Incoming,
    bytes_max: usize,
    framing: Framing,
    handed_over: Arc<AtomicBool>,
}

/// Whether a whole message was read to the end, so that the handler has run.
#[derive(Clone)]
pub(super) struct HandedOver(Arc<AtomicBool>);

#[derive(Default)]
struct Framing {
    prefix: [u8; PREFIX_BYTES],
    prefix_read: usize,
    missing: usize,
    messages: u64,
}

impl Measured {
    pub(super) fn new(inner: Incoming, bytes_max: usize) -> (Measured, HandedOver) {
        let handed_over = Arc::new(AtomicBool::new(false));
        let measured = Measured {
            inner,
            bytes_max,
            framing: Framing::default(),
            handed_over: handed_over.clone(),
        };
        (measured, HandedOver(handed_over))
    }

    fn at_end(&self) {
        if self.framing.messages > 0 && self.framing.is_between_messages() {
            self.handed_over.store(true, Ordering::Relaxed);
        }
    }
}

impl HandedOver {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The refusal of a request that could not be decoded.
pub(super) fn undecodable() -> Status {
    Refusal::new(
        PlatformReason::RequestUndecodable,
        "the request is not a message of the method's type",
    )
    .into()
}

/// The refusal of a message over its limit.
pub(crate) fn too_large(what: &str, bytes_max: usize) -> Status {
    Refusal::new(
        PlatformReason::MessageTooLarge,
        format!("the {what} is larger than {bytes_max} bytes"),
    )
    .into()
}

impl Body for Measured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        Poll::Ready(
            match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    match frame.data_ref() {
                        Some(data) if this.framing.advance(data) > this.bytes_max => {
                            return Poll::Ready(Some(Err(too_large("request", this.bytes_max))));
                        }
                        Some(_) => {}
                        None => this.at_end(),
                    }
                    Some(Ok(frame))
                }
                Some(Err(error)) => Some(Err(Status::from_error(error.into()))),
                None => {
                    this.at_end();
                    None
                }
            },
        )
    }

    // Never said to be at its end beforehand: tonic would replace the body, and the end would not be seen.
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Framing {
    /// Takes note of the next bytes; answers the largest length that a message in them states.
    fn advance(&mut self, mut data: &[u8]) -> usize {
        let mut largest = 0;
        while !data.is_empty() {
            if self.missing > 0 {
                let taken = self.missing.min(data.len());
                self.missing -= taken;
                data = &data[taken..];
                self.messages += u64::from(self.missing == 0);
                continue;
            }
            let taken = (PREFIX_BYTES - self.prefix_read).min(data.len());
            self.prefix[self.prefix_read..self.prefix_read + taken].copy_from_slice(&data[..taken]);
            self.prefix_read += taken;
            data = &data[taken..];
            if self.prefix_read == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.missing = u32::from_be_bytes(length) as usize;
                self.prefix_read = 0;
                self.messages += u64::from(self.missing == 0);
                largest = largest.max(self.missing);
            }
        }
        largest
    }

    fn is_between_messages(&self) -> bool {
        self.prefix_read == 0 && self.missing == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let stream = [
            &[0, 0, 0, 0, 3][..],
            b"abc",
            &[0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 1],
            b"x",
        ]
        .concat();
        for size in 1..=stream.len() {
            let mut framing = Framing::default();
            let largest = stream
                .chunks(size)
                .map(|chunk| framing.advance(chunk))
                .max();
            assert_eq!(
                (framing.messages, largest),
                (3, Some(3)),
                "in pieces of {size}"
            );
            assert!(framing.is_between_messages());
        }
    }

    #[test]
    fn a_cut_message_is_not_whole() {
        let mut framing = Framing::default();
        framing.advance(&[0, 0, 0, 0, 3, b'a']);
        assert!(framing.messages == 0 && !framing.is_between_messages());
    }

    #[test]
    fn the_stated_length_counts_before_the_bytes_come() {
        assert_eq!(
            Framing::default().advance(&[0, 0xff, 0xff, 0xff, 0xff]),
            u32::MAX as usize
        );
    }
}
