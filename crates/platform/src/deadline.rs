//! The time that is left for the work at hand, kept beside the task.
//!
//! The server stacks open a scope; clients and the database read it. A task that is
//! spawned inside the scope is outside of it: work that outlives its call has no deadline.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// What is left until the deadline of the current call; `None` outside a scope, zero when it is over.
pub fn remaining() -> Option<Duration> {
    current().map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// When the current call must be answered; `None` outside a scope.
pub fn current() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok()
}

/// Runs `work` with at most `limit` left. It only says so: who opens the scope also enforces it.
pub async fn scope<F: Future>(limit: Duration, work: F) -> F::Output {
    scope_until(Instant::now() + limit, work).await
}

/// As [`scope`], with the moment itself. An outer scope that ends earlier stays in force.
pub async fn scope_until<F: Future>(deadline: Instant, work: F) -> F::Output {
    DEADLINE.scope(earliest(deadline), work).await
}

/// As [`scope_until`], for one poll of a body or a stream.
pub fn sync_scope_until<R>(deadline: Instant, work: impl FnOnce() -> R) -> R {
    DEADLINE.sync_scope(earliest(deadline), work)
}

fn earliest(deadline: Instant) -> Instant {
    current().map_or(deadline, |outer| outer.min(deadline))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_inner_scope_never_gives_more_time() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        assert_eq!(remaining(), None);
        scope(hour, async {
            let outer = current();
            scope(2 * hour, async { assert_eq!(current(), outer) }).await;
            scope(second, async { assert!(remaining().unwrap() <= second) }).await;
            assert!(remaining().unwrap() > second);
        })
        .await;
        assert_eq!(remaining(), None);
    }

    #[tokio::test]
    async fn nothing_remains_of_a_deadline_that_has_passed() {
        scope(Duration::ZERO, async {
            assert_eq!(remaining(), Some(Duration::ZERO))
        })
        .await;
    }
}
