//! A panic is a fault of one call: it is answered INTERNAL, and the connection with its other calls lives.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use platform_contract::PlatformReason;
use tonic::Status;

use crate::error::Refusal;

/// Runs `work`, with a panic as a refusal.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Status> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|_| refusal())
}

/// As [`caught`], for one poll of a body.
pub(super) fn caught_now<T>(work: impl FnOnce() -> T) -> Result<T, Status> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| refusal())
}

/// The panic itself was logged by the hook, within the call's trace.
fn refusal() -> Status {
    Refusal::new(PlatformReason::InternalFault, "internal fault").into()
}
