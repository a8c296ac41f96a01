//! Refusals: what a caller is told, as a gRPC status with the details of AIP-193.

use std::{collections::HashMap, time::Duration};

use platform_contract::{PlatformReason, Reason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use crate::text::FieldErrors;

/// Violations told at most: a request with thousands of bad fields must not get thousands back.
const VIOLATIONS_MAX: usize = 32;

/// Why a call is refused. Becomes a [`Status`] with `ErrorInfo`, and `RetryInfo` and `BadRequest`
/// where there is something to say.
///
/// The domain of the `ErrorInfo` is left empty here: the server stack fills in that of the service
/// that answers, and leaves alone what came from another one.
///
/// ```
/// use platform::error::Refusal;
/// use platform_contract::PlatformReason;
///
/// let status: tonic::Status =
///     Refusal::new(PlatformReason::PageTokenInvalid, "the page token is of another query").into();
/// assert_eq!(status.code(), tonic::Code::InvalidArgument);
/// ```
#[derive(Clone, Debug)]
pub struct Refusal {
    code: Code,
    reason: &'static str,
    retryable: bool,
    message: String,
    retry_after: Option<Duration>,
    violations: Vec<(String, String)>,
}

impl Refusal {
    /// A refusal; the message is for the caller and names no inner cause.
    pub fn new(reason: impl Reason, message: impl Into<String>) -> Self {
        Self {
            code: Code::from_i32(reason.code() as i32),
            reason: reason.word(),
            retryable: reason.retryable(),
            message: message.into(),
            retry_after: None,
            violations: Vec::new(),
        }
    }

    /// When a repeat makes sense.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// A field that breaks a rule, by its name in the request.
    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push((field.into(), message.into()));
        }
        self
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let retryable = HashMap::from([(RETRYABLE.to_owned(), refusal.retryable.to_string())]);
        let mut details = ErrorDetails::with_error_info(refusal.reason, "", retryable);
        if let Some(delay) = refusal.retry_after {
            details.set_retry_info(Some(delay));
        }
        for (field, message) in refusal.violations {
            details.add_bad_request_violation(field, message);
        }
        Status::with_error_details(refusal.code, refusal.message, details)
    }
}

/// For a fault of our own: the cause goes to the log, the caller learns that there is one.
pub fn internal(cause: impl std::fmt::Display) -> Status {
    tracing::error!(cause = %cause, "internal fault: {cause}");
    Refusal::new(PlatformReason::InternalFault, "internal fault").into()
}

/// In the metadata of `ErrorInfo`: whether a repeat can help, so that a caller needs no table of
/// reasons.
const RETRYABLE: &str = "retryable";

/// What a status says beyond code and message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The word: `OFFER_NOT_FOUND`.
    pub reason: Option<String>,
    /// Who says it: `catalog.homeward`.
    pub domain: Option<String>,
    /// Whether a repeat of the same call can succeed.
    pub retryable: Option<bool>,
    /// When a repeat makes sense.
    pub retry_after: Option<Duration>,
    /// Fields and what is wrong with them.
    pub violations: Vec<(String, String)>,
}

impl Details {
    /// The details of a status, empty for one that has none.
    pub fn of(status: &Status) -> Self {
        if status.details().is_empty() {
            return Self::default();
        }
        let details = status.get_error_details();
        let info = details.error_info();
        let word = |word: &String| Some(word.clone()).filter(|word| !word.is_empty());
        Self {
            reason: info.and_then(|info| word(&info.reason)),
            domain: info.and_then(|info| word(&info.domain)),
            retryable: info.and_then(|info| info.metadata.get(RETRYABLE)?.parse().ok()),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            violations: details.bad_request().map_or_else(Vec::new, |request| {
                let violations = request.field_violations.iter();
                violations
                    .map(|v| (v.field.clone(), v.description.clone()))
                    .collect()
            }),
        }
    }

    /// Whether the status carries this reason.
    pub fn is(status: &Status, reason: impl Reason) -> bool {
        Self::of(status).reason.as_deref() == Some(reason.word())
    }
}

/// The status with `domain` where its `ErrorInfo` names none.
pub(crate) fn with_domain(status: Status, domain: &str) -> Status {
    if status.details().is_empty() {
        return status;
    }
    let mut details = status.get_error_details();
    let Some(info) = details
        .error_info()
        .filter(|info| info.domain.is_empty())
        .cloned()
    else {
        return status;
    };
    details.set_error_info(info.reason, domain, info.metadata);
    let metadata = status.metadata().clone();
    Status::with_error_details_and_metadata(status.code(), status.message(), details, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_reason_retry_hint_and_violations() {
        let status: Status = Refusal::new(PlatformReason::Overloaded, "too many calls")
            .retry_after(Duration::from_millis(250))
            .violation("title", "is empty")
            .into();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "too many calls");
        let details = Details::of(&status);
        assert_eq!(details.reason.as_deref(), Some("OVERLOADED"));
        assert_eq!(details.domain, None);
        assert_eq!(details.retryable, Some(true));
        assert_eq!(details.retry_after, Some(Duration::from_millis(250)));
        assert_eq!(
            details.violations,
            [("title".to_owned(), "is empty".to_owned())]
        );
        assert!(Details::is(&status, PlatformReason::Overloaded));
    }

    #[test]
    fn the_first_service_that_names_its_domain_keeps_it() {
        let status = Refusal::new(PlatformReason::TokenMissing, "no token")
            .retry_after(Duration::from_secs(1));
        let status = with_domain(status.into(), "catalog.homeward");
        let status = with_domain(status, "bff.homeward");
        let details = Details::of(&status);
        assert_eq!(details.domain.as_deref(), Some("catalog.homeward"));
        assert_eq!(details.reason.as_deref(), Some("TOKEN_MISSING"));
        assert_eq!(details.retry_after, Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_status_without_details_has_none_and_violations_are_bounded() {
        assert_eq!(Details::of(&Status::internal("x")), Details::default());
        let refusal = Refusal::new(PlatformReason::FieldInvalid, "x");
        let refusal = (0..1000).fold(refusal, |r, n| r.violation(n.to_string(), "x"));
        assert_eq!(
            Details::of(&refusal.into()).violations.len(),
            VIOLATIONS_MAX
        );
    }
}
