//! Requests that are answered without being executed.

use std::time::Duration;

use async_graphql::Pos;
use http::StatusCode;
use platform_contract::{Code, Reason};

pub use platform_contract::RequestReason;

/// Why a request was not executed, or not to its end.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status of the HTTP answer.
    pub http: StatusCode,
    /// The gRPC code, the word and whether a repeat can help.
    pub code: Code,
    /// The word of the case.
    pub word: &'static str,
    /// A repeat of the same request can succeed.
    pub retryable: bool,
    /// What is wrong, for the client's developer.
    pub message: String,
    /// Where in the document, if that can be said.
    pub locations: Vec<Pos>,
    /// When a repeat makes sense: `retry-after` of the answer, `retryAfterMs` of its error.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with the HTTP status that goes with its reason.
    pub fn new(reason: impl Reason, http: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal {
            http,
            code: reason.code(),
            word: reason.word(),
            retryable: reason.retryable(),
            message: message.into(),
            locations: Vec::new(),
            retry_after: None,
        }
    }

    /// The request cannot be executed as it stands: 400.
    pub fn bad(reason: RequestReason, message: impl Into<String>) -> Refusal {
        Refusal::new(reason, StatusCode::BAD_REQUEST, message)
    }

    /// Says when a repeat makes sense.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Refusal {
        self.retry_after = Some(delay);
        self
    }

    /// Names the place in the document.
    #[must_use]
    pub fn at(mut self, position: Pos) -> Refusal {
        self.locations.push(position);
        self
    }
}
