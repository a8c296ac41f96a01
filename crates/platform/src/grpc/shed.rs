//! No more calls at once than the process can do; the queue in front is bounded by age.

use std::sync::Arc;
use std::time::Duration;

use platform_contract::PlatformReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::error::Refusal;

/// What a refused caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Admits calls.
pub(super) struct Shed {
    slots: Arc<Semaphore>,
    age_max: Duration,
}

impl Shed {
    pub(super) fn new(calls_max: usize, age_max: Duration) -> Shed {
        Shed {
            slots: Arc::new(Semaphore::new(calls_max)),
            age_max,
        }
    }

    /// A place for one call, or the refusal when none is free in time.
    pub(super) async fn admit(&self) -> Result<OwnedSemaphorePermit, Status> {
        match tokio::time::timeout(self.age_max, self.slots.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(
                Refusal::new(PlatformReason::Overloaded, "too many calls at once")
                    .retry_after(RETRY_AFTER)
                    .into(),
            ),
        }
    }
}
