//! Transactions that lost against others are tried again.

use std::time::Duration;

use platform::error::Details;
use platform_contract::PlatformReason;
use tonic::Status;

use crate::error::{Error, Kind, classify};

const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// An error that can mean "lost against another transaction".
pub trait Conflict {
    /// Whether the whole transaction can be tried again.
    fn is_conflict(&self) -> bool;
}

impl Conflict for sqlx::Error {
    fn is_conflict(&self) -> bool {
        classify(self) == Kind::Serialization
    }
}

impl Conflict for Error {
    fn is_conflict(&self) -> bool {
        matches!(self, Error::Db(error) if error.is_conflict())
    }
}

impl Conflict for Status {
    fn is_conflict(&self) -> bool {
        Details::is(self, PlatformReason::ConflictPersists)
    }
}

/// Runs a whole transaction, from begin to commit, again after a serialization failure or
/// a deadlock: a few times, with growing and random pauses.
pub async fn retry<T, E, Fut>(mut transaction: impl FnMut() -> Fut) -> Result<T, E>
where
    E: Conflict,
    Fut: Future<Output = Result<T, E>>,
{
    let mut attempt = 1;
    loop {
        match transaction().await {
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                tokio::time::sleep(pause(attempt)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// 10, 20, 40 ms ..., each times 0.5 to 1.5, so that two losers do not meet again.
fn pause(attempt: u32) -> Duration {
    let mut random = [128];
    // Without randomness the pause is merely the mean one.
    let _ = aws_lc_rs::rand::fill(&mut random);
    PAUSE * 2_u32.pow(attempt - 1) * (128 + u32::from(random[0])) / 256
}
