//! The one table that turns a gRPC status into what a client of the API sees.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{ErrorExtensionValues, ServerError, SimpleObject};
use platform::error::Details;
use platform_contract::{PlatformReason, Reason};
use tonic::{Code, Status};

use crate::refusal::{Refusal, RequestReason};

/// Something that the person who sent the input can put right.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub struct UserError {
    /// The case, in one word: `EMAIL_TAKEN`.
    pub code: String,
    /// For the person, in English.
    pub message: String,
    /// Where in the input, from the outside in; null if it is about no field in particular.
    pub field: Option<Vec<String>>,
}

impl UserError {
    /// A field of the input breaks a rule.
    pub fn at(path: &[&str], message: impl Into<String>) -> UserError {
        UserError {
            code: PlatformReason::FieldInvalid.word().to_owned(),
            message: message.into(),
            field: Some(path.iter().map(|&part| part.to_owned()).collect()),
        }
    }
}

/// Why the work of a mutation ended early.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Found here, before a service was asked.
    User(UserError),
    /// Answered by a service.
    Status(Status),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::Status(status)
    }
}

impl From<UserError> for Failure {
    fn from(error: UserError) -> Failure {
        Failure::User(error)
    }
}

/// The payload of a mutation.
pub trait Payload {
    /// The payload of a mutation that was refused: its object is null.
    fn refused(errors: Vec<UserError>) -> Self;
}

/// How the input of a mutation differs from the gRPC request behind it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Input {
    /// What fields of the request are called in the input, where that is not just another case:
    /// `("offer_id", "id")`. An empty name leaves the field out of the path.
    pub names: &'static [(&'static str, &'static str)],
    /// Words about the input whose code says otherwise, as with a wrong password.
    pub words: &'static [&'static str],
}

impl Input {
    /// Runs the work of a mutation and puts what the person can put right into its payload.
    pub async fn payload<T: Payload>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Status> {
        match work.await {
            Ok(payload) => Ok(payload),
            Err(Failure::User(error)) => Ok(T::refused(vec![error])),
            Err(Failure::Status(status)) => self.user_errors(&status).map(T::refused).ok_or(status),
        }
    }

    /// What of a status belongs into `userErrors`; `None` if it belongs into `errors`.
    pub fn user_errors(&self, status: &Status) -> Option<Vec<UserError>> {
        let details = Details::of(status);
        let row = row(status, &details);
        if !row.user && !self.words.contains(&row.word.as_str()) {
            return None;
        }
        let one = |message: String, field| UserError {
            code: row.word.clone(),
            message,
            field,
        };
        if details.violations.is_empty() {
            return Some(vec![one(row.message.clone().unwrap_or_default(), None)]);
        }
        let violations = details.violations.into_iter();
        Some(
            violations
                .map(|(field, message)| one(message, self.path(&field)))
                .collect(),
        )
    }

    /// `patch.price.amount_minor` is `price`, `amountMinor` for the client.
    fn path(&self, field: &str) -> Option<Vec<String>> {
        let parts =
            field.split('.').map(
                |part| match self.names.iter().find(|(from, _)| *from == part) {
                    Some((_, to)) => (*to).to_owned(),
                    None => camel(part),
                },
            );
        let path: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
        (!path.is_empty()).then_some(path)
    }
}

/// What the client of the API is told about a status.
struct Row {
    code: Code,
    word: String,
    /// `None` hides a text that is not written for clients.
    message: Option<String>,
    retryable: bool,
    /// The person can put it right, if it is the answer to a mutation.
    user: bool,
}

/// The table.
///
/// Every refusal of a service carries a reason, so a status without one was made on the way: the
/// connection broke, nobody listens, time is over. Its text names addresses, and is not passed on.
fn row(status: &Status, details: &Details) -> Row {
    use PlatformReason as P;
    if let Some(word) = &details.reason {
        let code = status.code();
        let user = matches!(
            code,
            Code::InvalidArgument
                | Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::Aborted
                | Code::NotFound
        );
        let retryable = details
            .retryable
            .unwrap_or(matches!(code, Code::Unavailable | Code::DeadlineExceeded));
        // The text of a fault belongs to the log of the service.
        let message =
            (!matches!(code, Code::Internal | Code::Unknown)).then(|| status.message().to_owned());
        return Row {
            code,
            word: word.clone(),
            message,
            retryable,
            user,
        };
    }
    let lost = std::error::Error::source(status).is_some();
    let reason = match status.code() {
        Code::DeadlineExceeded => P::DeadlinePassed,
        Code::Cancelled if platform::deadline::remaining().is_some_and(|left| left.is_zero()) => {
            P::DeadlinePassed
        }
        Code::Unavailable | Code::Cancelled => P::DependencyUnavailable,
        // What a broken connection comes out as.
        Code::Unknown | Code::Internal if lost => P::DependencyUnavailable,
        Code::ResourceExhausted => P::Overloaded,
        Code::Unauthenticated => P::TokenInvalid,
        Code::PermissionDenied => P::RoleRequired,
        Code::Unimplemented => P::MethodUnknown,
        _ => P::InternalFault,
    };
    Row {
        code: Code::from_i32(reason.code() as i32),
        word: reason.word().to_owned(),
        message: Some(reason.cause().trim_end_matches('.').to_lowercase()),
        retryable: reason.retryable(),
        user: false,
    }
}

fn camel(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        text.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(chars.as_str());
    }
    text
}

/// Completes an error of the executor: statuses by the table, the library's own as they are,
/// anything else as a fault of ours that the client learns nothing about.
pub(crate) fn complete(error: &mut ServerError, executed: bool) {
    let source = error.source.take();
    let status = source.map(|source| match source.downcast_ref::<Status>() {
        Some(status) => status.clone(),
        None => platform::error::internal(&error.message),
    });
    let Some(status) = status else {
        let reason = if executed {
            RequestReason::GraphqlInputInvalid
        } else {
            RequestReason::GraphqlDocumentInvalid
        };
        error.extensions = Some(extensions(
            code_name(Code::InvalidArgument),
            reason.word(),
            false,
            None,
        ));
        return;
    };
    let details = Details::of(&status);
    let row = row(&status, &details);
    if details.reason.is_none() {
        tracing::warn!(code = ?status.code(), "a call failed on its way: {}", status.message());
    }
    let after = details.retry_after.map(millis);
    error.message = row.message.unwrap_or_else(|| "internal fault".to_owned());
    error.extensions = Some(extensions(
        code_name(row.code),
        &row.word,
        row.retryable,
        after,
    ));
}

/// The entry of `errors` for a request that was not executed.
pub(crate) fn entry(refusal: &Refusal) -> ServerError {
    let mut error = ServerError::new(refusal.message.clone(), None);
    error.locations = refusal.locations.clone();
    let code = code_name(Code::from_i32(refusal.code as i32));
    let after = refusal.retry_after.map(millis);
    error.extensions = Some(extensions(code, refusal.word, refusal.retryable, after));
    error
}

/// The entry of `errors` for a request whose caller is refused.
pub(crate) fn entry_of(status: Status) -> ServerError {
    let mut error = ServerError::new(status.message(), None);
    error.source = Some(Arc::new(status));
    complete(&mut error, false);
    error
}

/// The word of the case.
pub(crate) fn word(status: &Status) -> String {
    row(status, &Details::of(status)).word
}

fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}

fn extensions(
    code: &str,
    word: &str,
    retryable: bool,
    after_ms: Option<u64>,
) -> ErrorExtensionValues {
    let mut values = ErrorExtensionValues::default();
    values.set("code", code);
    values.set("reason", word);
    values.set("retryable", retryable);
    if let Some(after_ms) = after_ms {
        values.set("retryAfterMs", after_ms);
    }
    values.set("traceId", platform::trace::current().trace_id());
    values
}

/// The name that the gRPC documents give the code.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(reason: impl Reason) -> Status {
        platform::error::Refusal::new(reason, "told to the caller").into()
    }

    fn completed(status: Status) -> serde_json::Value {
        let mut error = ServerError::new(status.to_string(), None);
        error.source = Some(std::sync::Arc::new(status));
        complete(&mut error, true);
        serde_json::to_value(error).unwrap()
    }

    const PLAIN: Input = Input {
        names: &[],
        words: &[],
    };

    #[test]
    fn what_the_person_can_put_right_is_a_user_error() {
        use PlatformReason as P;
        for reason in [
            P::FieldInvalid,
            P::RequestIdReused,
            P::VersionMismatch,
            P::PageTokenInvalid,
        ] {
            let errors = PLAIN.user_errors(&refusal(reason)).unwrap();
            assert_eq!(
                (errors[0].code.as_str(), errors[0].field.as_ref()),
                (reason.word(), None)
            );
        }
        for reason in [
            P::TokenMissing,
            P::TokenExpired,
            P::RoleRequired,
            P::Overloaded,
            P::DeadlinePassed,
            P::DependencyUnavailable,
            P::ConflictPersists,
            P::InternalFault,
        ] {
            assert_eq!(PLAIN.user_errors(&refusal(reason)), None, "{reason:?}");
        }
        let named = Input {
            words: &["TOKEN_MISSING"],
            ..PLAIN
        };
        assert_eq!(
            named.user_errors(&refusal(P::TokenMissing)).unwrap()[0].code,
            "TOKEN_MISSING"
        );
    }

    #[test]
    fn violations_are_told_by_the_names_of_the_input() {
        let status = platform::error::Refusal::new(PlatformReason::FieldInvalid, "invalid")
            .violation("patch.price.amount_minor", "must not be negative")
            .violation("offer_id", "is no id")
            .violation("update_mask", "is empty");
        let input = Input {
            names: &[("patch", ""), ("offer_id", "id"), ("update_mask", "")],
            words: &[],
        };
        let errors = input.user_errors(&status.into()).unwrap();
        let fields: Vec<_> = errors
            .iter()
            .map(|error| error.field.clone().map(|path| path.join(".")))
            .collect();
        assert_eq!(
            fields,
            [
                Some("price.amountMinor".to_owned()),
                Some("id".to_owned()),
                None
            ]
        );
        assert_eq!(errors[0].message, "must not be negative");
    }

    #[test]
    fn an_entry_says_code_reason_retry_and_trace() {
        let status = platform::error::Refusal::new(PlatformReason::Overloaded, "too many calls")
            .retry_after(Duration::from_millis(250));
        let error = completed(status.into());
        assert_eq!(error["message"], "too many calls");
        let extensions = &error["extensions"];
        assert_eq!(extensions["code"], "RESOURCE_EXHAUSTED");
        assert_eq!(extensions["reason"], "OVERLOADED");
        assert_eq!(extensions["retryable"], true);
        assert_eq!(extensions["retryAfterMs"], 250);
        assert_eq!(extensions["traceId"].as_str().unwrap().len(), 32);
    }

    #[test]
    fn a_lost_connection_can_be_tried_again_and_names_no_address() {
        for mut status in [
            Status::unknown("tcp 10.0.0.7:1"),
            Status::internal("h2"),
            Status::unavailable("10.0.0.7"),
        ] {
            status.set_source(std::sync::Arc::new(std::io::Error::other(
                "10.0.0.7 is gone",
            )));
            let error = completed(status);
            assert_eq!(error["extensions"]["code"], "UNAVAILABLE");
            assert_eq!(error["extensions"]["reason"], "DEPENDENCY_UNAVAILABLE");
            assert_eq!(error["extensions"]["retryable"], true);
            assert!(!error["message"].as_str().unwrap().contains("10.0"));
        }
    }

    #[test]
    fn faults_say_nothing_about_their_cause() {
        for status in [
            refusal(PlatformReason::InternalFault),
            Status::internal("told to the caller"),
            Status::data_loss("told to the caller"),
        ] {
            let error = completed(status);
            assert_eq!(error["extensions"]["code"], "INTERNAL");
            assert_eq!(error["extensions"]["retryable"], false);
            assert!(!error["message"].as_str().unwrap().contains("told"));
        }
        let mut foreign = ServerError::new("select * from secrets", None);
        foreign.source = Some(std::sync::Arc::new(std::io::Error::other("x")));
        complete(&mut foreign, true);
        assert_eq!(foreign.message, "internal fault");
    }

    #[test]
    fn a_deadline_and_an_unknown_method_are_called_by_their_names() {
        let error = completed(Status::deadline_exceeded("timer"));
        assert_eq!(error["extensions"]["reason"], "DEADLINE_PASSED");
        assert_eq!(error["extensions"]["retryable"], true);
        assert_eq!(
            completed(Status::unimplemented("?"))["extensions"]["reason"],
            "METHOD_UNKNOWN"
        );
    }
}
