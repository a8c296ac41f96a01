//! The clock.

use chrono::{DateTime, SubsecRound, Utc};

/// Now, cut to microseconds: what Postgres stores, so that a time compares equal after a round
/// trip.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that may ask the clock"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

#[cfg(test)]
mod tests {
    #[test]
    fn now_has_no_nanoseconds() {
        assert_eq!(super::now().timestamp_subsec_nanos() % 1000, 0);
    }
}
