//! Turns: what a request holds while it is executed, and a subscription while it begins.

use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use platform::admission::{Overloaded, Permit};
use platform_contract::PlatformReason;

use crate::refusal::Refusal;

/// The turn of a subscription, which is for its beginning: who waits for an event does no work.
/// It ends with the first answer, or before that where a resolver says so.
#[derive(Clone, Debug)]
pub struct Turn(Arc<Mutex<Option<Permit>>>);

impl Turn {
    pub(crate) fn new(permit: Option<Permit>) -> Turn {
        Turn(Arc::new(Mutex::new(permit)))
    }

    /// The turn of the subscription that is being executed.
    pub fn of(ctx: &async_graphql::Context<'_>) -> Turn {
        ctx.data_unchecked::<Turn>().clone()
    }

    /// Lets somebody else have it.
    pub fn end(&self) {
        let permit = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(permit);
    }
}

impl From<Overloaded> for Refusal {
    fn from(overloaded: Overloaded) -> Refusal {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Refusal::new(PlatformReason::Overloaded, status, Overloaded::MESSAGE)
            .retry_after(overloaded.retry_after)
    }
}
