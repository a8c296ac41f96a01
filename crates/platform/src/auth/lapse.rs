//! Until when a token that was accepted is good.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::User;
use super::revoked::Revoked;
use super::verifier::LEEWAY_S;

/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// One who wants to know when a user's token becomes void.
pub(super) struct Watched {
    revoked: Arc<RwLock<Revoked>>,
    user: Arc<User>,
    wake: watch::Receiver<()>,
}

impl Watched {
    /// From now on nothing is missed, whenever it is waited for.
    pub(super) fn new(revoked: &Arc<RwLock<Revoked>>, user: &Arc<User>) -> Watched {
        let mut writing = revoked.write().unwrap_or_else(PoisonError::into_inner);
        Watched {
            revoked: Arc::clone(revoked),
            user: Arc::clone(user),
            wake: writing.watch(user.id),
        }
    }

    pub(super) async fn revoked(&mut self) {
        loop {
            // Not `wait_for`, which would take the lock of what is revoked while it holds the one
            // that waking needs.
            self.wake.mark_unchanged();
            if self.is_revoked() {
                return;
            }
            // The sender lives as long as `self`.
            let _ = self.wake.changed().await;
        }
    }

    fn is_revoked(&self) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        revoked.holds(&self.user)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        revoked.leave(self.user.id);
    }
}

/// Waits until a token that expires then, in seconds since 1970, is no longer accepted.
pub(super) async fn expired(expires_at: i64) {
    let end_ms = expires_at.saturating_add(LEEWAY_S).saturating_mul(1000);
    loop {
        // By the clock that `verify` looks at: the other one stands still while a machine sleeps.
        let left_ms = end_ms.saturating_sub(crate::time::now().timestamp_millis());
        match u64::try_from(left_ms) {
            Ok(left_ms) if left_ms > 0 => {
                let left = Duration::from_millis(left_ms);
                tokio::time::sleep(left.min(LOOK_EVERY)).await;
            }
            _ => return,
        }
    }
}
