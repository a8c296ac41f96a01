//! Waiting for conditions instead of for time to pass.

use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Waits until `condition` says what was waited for; panics after 30 seconds.
pub async fn until<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, condition).await
}

/// As [`until`], with a time limit of one's own.
pub async fn until_within<T>(
    limit: Duration,
    what: &str,
    condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    wait(limit, || what.to_owned(), condition).await
}

/// As [`until`], for a reason that is only known in the end.
pub(crate) async fn until_or<T>(
    what: impl Fn() -> String,
    condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    wait(PATIENCE, what, condition).await
}

async fn wait<T>(
    limit: Duration,
    what: impl Fn() -> String,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = condition().await {
            return seen;
        }
        if began.elapsed() > limit {
            panic!("waited {limit:?} for {}", what());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
