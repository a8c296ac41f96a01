//! How a socket ends.

use axum::extract::ws::CloseFrame;
use tonic::{Code, Status};

use crate::error;
use crate::refusal::Refusal;

/// Longest reason of a close frame (RFC 6455, section 5.5): 125 bytes with the code.
const REASON_BYTES_MAX: usize = 123;

pub(super) const NORMAL: u16 = 1000;
pub(super) const PROTOCOL_ERROR: u16 = 1002;
pub(super) const NOT_TEXT: u16 = 1007;
pub(super) const TOO_LARGE: u16 = 1009;
pub(super) const RESTART: u16 = 1012;
pub(super) const TRY_AGAIN: u16 = 1013;
pub(super) const BAD_MESSAGE: u16 = 4400;
pub(super) const BEFORE_ACK: u16 = 4401;
pub(super) const FORBIDDEN: u16 = 4403;
pub(super) const SUBPROTOCOL: u16 = 4406;
pub(super) const INIT_TIMEOUT: u16 = 4408;
pub(super) const ID_TAKEN: u16 = 4409;
pub(super) const INIT_TWICE: u16 = 4429;

/// Why a socket ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Closed from here.
    Close { code: u16, reason: String },
    /// The peer has closed it.
    Left,
    /// The connection broke, or nobody is there.
    Broken,
}

impl Ending {
    pub(super) fn close(code: u16, reason: impl Into<String>) -> Ending {
        let reason = reason.into();
        Ending::Close { code, reason }
    }

    pub(super) fn restart() -> Ending {
        Ending::close(RESTART, "the service restarts; connect again")
    }

    /// The caller is refused. Whoever could not be asked is worth another try; else the reason is
    /// the word of the case.
    pub(super) fn refused(status: &Status) -> Ending {
        let code = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => FORBIDDEN,
            _ => TRY_AGAIN,
        };
        Ending::close(code, error::word(status))
    }

    /// As [`Ending::refused`], for what is found out here.
    pub(super) fn refusal(refusal: &Refusal) -> Ending {
        let code = if refusal.retryable {
            TRY_AGAIN
        } else {
            FORBIDDEN
        };
        Ending::close(code, refusal.word)
    }

    /// What could not be read.
    pub(super) fn unreadable(error: axum::Error) -> Ending {
        use tokio_tungstenite::tungstenite::Error;
        match error.into_inner().downcast::<Error>().as_deref() {
            Ok(Error::Capacity(_)) => Ending::close(TOO_LARGE, "the message is too large"),
            Ok(Error::Utf8(_)) => Ending::close(NOT_TEXT, "the message is not UTF-8"),
            // Those that say that the connection is gone are not among them.
            Ok(Error::Protocol(error)) if !is_broken(error) => {
                Ending::close(PROTOCOL_ERROR, error.to_string())
            }
            _ => Ending::Broken,
        }
    }

    /// For the count of endings.
    pub(super) fn label(&self) -> String {
        match self {
            Ending::Close { code, .. } => code.to_string(),
            Ending::Left => "left".to_owned(),
            Ending::Broken => "broken".to_owned(),
        }
    }
}

fn is_broken(error: &tokio_tungstenite::tungstenite::error::ProtocolError) -> bool {
    use tokio_tungstenite::tungstenite::error::ProtocolError as P;
    matches!(error, P::ResetWithoutClosingHandshake)
}

/// The reason is cut where a close frame ends.
pub(super) fn frame(code: u16, reason: &str) -> CloseFrame {
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    CloseFrame {
        code,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters() {
        for (reason, bytes) in [
            ("é".repeat(100), 122),
            ("e".repeat(200), 123),
            ("e".into(), 1),
        ] {
            let frame = frame(BAD_MESSAGE, &reason);
            assert_eq!(frame.reason.len(), bytes);
            assert!(reason.starts_with(frame.reason.as_str()));
        }
    }
}
