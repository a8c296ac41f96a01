//! What goes on for long is said once a minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_mins(1);

/// Lets one line a minute through.
#[derive(Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    pub(crate) fn say(&self, line: impl FnOnce()) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| at.elapsed() >= EVERY) {
            *said = Some(Instant::now());
            line();
        }
    }

    /// The trouble is over; the next one is said at once. True if there was any.
    pub(crate) fn over(&self) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.take().is_some()
    }
}
