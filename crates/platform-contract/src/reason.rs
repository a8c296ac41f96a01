//! Error reasons: one word for one case on the whole platform.

/// Why a call was refused. Implemented by the build for each enum of reasons.
pub trait Reason: Copy + Send + Sync + 'static {
    /// The word on the wire: `OFFER_NOT_FOUND`.
    fn word(self) -> &'static str;

    /// The status code that goes with it.
    fn code(self) -> Code;

    /// Whether a repeat of the same call can succeed.
    fn retryable(self) -> bool;

    /// What happened, from the comment in the proto.
    fn cause(self) -> &'static str;

    /// What the caller can do.
    fn remedy(self) -> &'static str;
}

/// The status codes of gRPC that a reason can have, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

include!(concat!(env!("OUT_DIR"), "/reasons.rs"));
