//! The rule of a limit, and the memory that stands in for Redis.
//!
//! A bucket is one moment: until when it is charged (GCRA). A unit charges `period / units`; a
//! request is refused if its charge would reach further ahead than one period.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Rate, exceeded};
use crate::refusal::Refusal;

/// Callers remembered, in each of two generations. Who comes with more addresses than this is
/// forgotten, and bounded by what stands behind.
const CALLERS_MAX: usize = 50_000;

/// What is asked of one limit.
pub(super) struct Bucket {
    pub(super) what: &'static str,
    pub(super) key: String,
    period: Duration,
    limit: u64,
    units: u64,
}

impl Bucket {
    /// `None` where there is no limit. What costs more than the limit has empties the bucket.
    pub(super) fn new(what: &'static str, key: String, rate: Rate, units: u64) -> Option<Bucket> {
        let Rate::Limited {
            units: limit,
            period,
        } = rate
        else {
            return None;
        };
        Some(Bucket {
            what,
            key,
            period,
            limit,
            units: units.min(limit),
        })
    }

    /// In microseconds: what the asked units charge, and how far ahead a charge may reach.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a microsecond in a day is enough"
    )]
    pub(super) fn times(&self) -> (f64, f64) {
        let period = self.period.as_micros() as f64;
        (period / self.limit as f64 * self.units as f64, period)
    }
}

/// The buckets of this replica.
pub(super) struct Local {
    began: Instant,
    charged: Mutex<Generations<f64>>,
}

impl Default for Local {
    fn default() -> Local {
        Local {
            began: Instant::now(),
            charged: Mutex::default(),
        }
    }
}

impl Local {
    /// Charges all buckets, or tells which one refuses for longest and charges none.
    pub(super) fn take(&self, buckets: &[Bucket]) -> Option<(usize, Duration)> {
        self.take_at(buckets, self.began.elapsed())
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "microseconds since the start of the process"
    )]
    pub(super) fn take_at(&self, buckets: &[Bucket], now: Duration) -> Option<(usize, Duration)> {
        let now = now.as_micros() as f64;
        let mut kept = self.charged.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refused: Option<(usize, f64)> = None;
        let mut charged = Vec::with_capacity(buckets.len());
        for (at, bucket) in buckets.iter().enumerate() {
            let (charge, burst) = bucket.times();
            let until = kept.get(&bucket.key).unwrap_or(0.0).max(now) + charge;
            let late = until - burst - now;
            // Less than a microsecond is rounding.
            if late > refused.map_or(0.5, |(_, longest)| longest) {
                refused = Some((at, late));
            }
            charged.push(until);
        }
        if refused.is_none() {
            for (bucket, until) in buckets.iter().zip(charged) {
                kept.insert(&bucket.key, until);
            }
        }
        refused.map(|(at, late)| (at, Duration::from_secs_f64(late / 1e6)))
    }
}

/// Who was refused, until the time that they were told.
#[derive(Default)]
pub(super) struct Spent(Mutex<Generations<Instant>>);

impl Spent {
    pub(super) fn remember(&self, bucket: &Bucket, wait: Duration) {
        // Something cheaper may pass before.
        if bucket.units == 1 {
            let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            spent.insert(&bucket.key, Instant::now() + wait);
        }
    }

    pub(super) fn check(&self, buckets: &[Bucket]) -> Result<(), Refusal> {
        let spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        for bucket in buckets.iter().filter(|bucket| bucket.units == 1) {
            let left = spent
                .get(&bucket.key)
                .map(|until| until.saturating_duration_since(now));
            if let Some(left) = left.filter(|left| !left.is_zero()) {
                return Err(exceeded(bucket, left));
            }
        }
        Ok(())
    }
}

/// A map that forgets its older half when it is full.
#[derive(Debug)]
struct Generations<V> {
    young: HashMap<String, V>,
    old: HashMap<String, V>,
}

impl<V> Default for Generations<V> {
    fn default() -> Generations<V> {
        Generations {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<V: Copy> Generations<V> {
    fn get(&self, key: &str) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    fn insert(&mut self, key: &str, value: V) {
        if self.young.len() >= CALLERS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.to_owned(), value);
    }

    fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(key: &str, limit: u64, units: u64) -> Bucket {
        let rate = Rate::Limited {
            units: limit,
            period: Duration::from_secs(60),
        };
        Bucket::new("user", key.to_owned(), rate, units).unwrap()
    }

    #[test]
    fn a_period_holds_as_many_as_stated_and_they_come_back_one_by_one() {
        let local = Local::default();
        let mut now = Duration::from_secs(1000);
        let take = |now| local.take_at(&[bucket("a", 60, 1)], now);
        for _ in 0..60 {
            assert_eq!(take(now), None);
        }
        assert_eq!(take(now), Some((0, Duration::from_secs(1))));
        now += Duration::from_millis(1000);
        assert_eq!(take(now), None);
        assert!(take(now).is_some());
        assert_eq!(local.take_at(&[bucket("b", 60, 1)], now), None);
    }

    #[test]
    fn what_costs_more_takes_more_and_what_costs_too_much_takes_all() {
        let local = Local::default();
        let now = Duration::from_secs(1);
        assert_eq!(local.take_at(&[bucket("a", 60, 50)], now), None);
        let refused = local.take_at(&[bucket("a", 60, 20)], now);
        assert_eq!(refused, Some((0, Duration::from_secs(10))));
        assert_eq!(local.take_at(&[bucket("a", 60, 10)], now), None);
        assert_eq!(local.take_at(&[bucket("b", 60, 1000)], now), None);
        assert!(local.take_at(&[bucket("b", 60, 1)], now).is_some());
    }

    #[test]
    fn where_one_refuses_none_is_charged() {
        let local = Local::default();
        let now = Duration::from_secs(1);
        assert_eq!(local.take_at(&[bucket("full", 1, 1)], now), None);
        for _ in 0..10 {
            let both = [bucket("free", 2, 1), bucket("full", 1, 1)];
            assert_eq!(
                local.take_at(&both, now),
                Some((1, Duration::from_secs(60)))
            );
        }
        assert_eq!(local.take_at(&[bucket("free", 2, 2)], now), None);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let local = Local::default();
        for n in 0..3 * CALLERS_MAX {
            local.take_at(&[bucket(&n.to_string(), 60, 1)], Duration::ZERO);
        }
        let kept = local.charged.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * CALLERS_MAX);
    }
}
