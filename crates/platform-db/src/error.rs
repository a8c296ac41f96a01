//! What a failed statement means, and what the caller is told.

use platform::admission::Overloaded;
use std::borrow::Cow;

use platform::error::Refusal;
use platform_contract::PlatformReason;
use tonic::Status;
use tracing::{error, warn};

/// Why a call through this crate failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or was not there.
    #[error(transparent)]
    Db(#[from] sqlx::Error),
    /// The request id is missing or is not a UUID.
    #[error("request_id is not a UUID")]
    RequestIdInvalid,
    /// The request id came before, with another body.
    #[error("the request id was used for another request")]
    RequestIdReused,
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        match error {
            Error::Db(error) => status(error),
            Error::RequestIdInvalid => {
                Refusal::new(PlatformReason::FieldInvalid, "request_id is not a UUID")
                    .violation("request_id", "is not a UUID")
                    .into()
            }
            Error::RequestIdReused => Refusal::new(
                PlatformReason::RequestIdReused,
                "the request id was used for another request",
            )
            .into(),
        }
    }
}

/// The kinds of failure that a caller can react to.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A named constraint was violated; the domain says what that means.
    Constraint(&'a str),
    /// Lost against another transaction; the whole transaction can be tried again.
    Serialization,
    /// Postgres is away, stopping or starting.
    Unavailable,
    /// All connections are in use, those of the pool or those of Postgres: the service is well, and has too
    /// much to do.
    Exhausted,
    /// The statement ran into its deadline, or into a lock that was held too long.
    Timeout,
    /// A fault of ours.
    Other,
}

/// Sorts an error of sqlx.
pub fn classify(error: &sqlx::Error) -> Kind<'_> {
    use sqlx::Error as E;
    match error {
        E::Database(database) => {
            if let Some(constraint) = database.constraint() {
                return Kind::Constraint(constraint);
            }
            match database.code().as_deref().unwrap_or_default() {
                "40001" | "40P01" => Kind::Serialization,
                // Cancelled by `statement_timeout`; lock not available.
                "57014" | "55P03" => Kind::Timeout,
                // Shutting down, crashed, starting; a failover has made this server a replica.
                "57P01" | "57P02" | "57P03" | "25006" => Kind::Unavailable,
                // Too many connections.
                "53300" => Kind::Exhausted,
                // Idle in a transaction for too long: the session is gone.
                "25P03" => Kind::Unavailable,
                code if code.starts_with("08") => Kind::Unavailable,
                _ => Kind::Other,
            }
        }
        E::Io(_) | E::Tls(_) | E::PoolClosed | E::WorkerCrashed => Kind::Unavailable,
        E::PoolTimedOut => Kind::Exhausted,
        _ => Kind::Other,
    }
}

/// The failure in one word for spans: the code of Postgres, or what kind of failure it is.
pub fn word(error: &sqlx::Error) -> Cow<'static, str> {
    let code = error.as_database_error().and_then(|error| error.code());
    match (code, classify(error)) {
        (Some(code), _) => Cow::Owned(code.into_owned()),
        (None, Kind::Unavailable) => Cow::Borrowed("unavailable"),
        (None, Kind::Exhausted) => Cow::Borrowed("exhausted"),
        (None, _) => Cow::Borrowed("_OTHER"),
    }
}

/// The answer to a caller whose transaction failed; the cause goes to the log.
///
/// Constraints that mean something to the caller are mapped by the service before this.
pub fn status(error: sqlx::Error) -> Status {
    let (reason, message) = match classify(&error) {
        Kind::Serialization => (
            PlatformReason::ConflictPersists,
            "lost against other transactions too often",
        ),
        Kind::Timeout => {
            warn!(%error, "a statement ran into its deadline: {error}");
            (
                PlatformReason::DeadlinePassed,
                "the deadline passed in the database",
            )
        }
        Kind::Unavailable => {
            warn!(%error, "the database cannot be reached: {error}");
            (
                PlatformReason::DependencyUnavailable,
                "the database cannot be reached",
            )
        }
        // Not UNAVAILABLE, which a mesh would count against this pod and so send its work to others, which
        // have the same database.
        Kind::Exhausted => {
            warn!(%error, "no connection to the database was free in time: {error}");
            return Overloaded::now().into();
        }
        Kind::Constraint(_) | Kind::Other => {
            error!(%error, "a statement failed: {error}");
            (PlatformReason::InternalFault, "internal fault")
        }
    };
    Refusal::new(reason, message).into()
}
