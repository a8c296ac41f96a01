//! What is measured of events.

use std::sync::atomic::AtomicU64;

use platform::telemetry::Durations;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Measurements of everything in a process that says or hears events.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Events that wait in the outbox.
    pub(crate) outbox: Gauge,
    /// Age of the oldest of them.
    pub(crate) outbox_age: Gauge<f64, AtomicU64>,
    /// Events that the broker has refused, and those that wait behind them.
    pub(crate) held: Gauge,
    /// Events that the broker has taken, repeats among them.
    pub(crate) sent: Family<Topic, Counter>,
    /// Batches that were given up, to be sent again.
    pub(crate) failed: Counter,
    /// Events that were read, by what became of them.
    pub(crate) consumed: Family<Consumed, Counter>,
    /// Times of the events that were processed, one for each try.
    pub(crate) processed: Durations<Processed>,
    /// Events that are in the log and not yet taken in, of the partitions that are read here.
    pub(crate) lag: Family<Lag, Gauge>,
    /// Parked events of a consumer.
    pub(crate) parked: Family<Of, Gauge>,
    /// Versions that were missing: events that were lost.
    pub(crate) holes: Family<Of, Counter>,
    /// Tries that failed and were followed by another.
    pub(crate) retried: Family<Of, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Topic {
    pub(crate) topic: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Of {
    pub(crate) consumer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Consumed {
    pub(crate) consumer: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Processed {
    pub(crate) consumer: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) event: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Lag {
    pub(crate) consumer: &'static str,
    pub(crate) topic: &'static str,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            outbox: Gauge::default(),
            outbox_age: Gauge::default(),
            held: Gauge::default(),
            sent: Family::default(),
            failed: Counter::default(),
            consumed: Family::default(),
            processed: Durations::new(
                registry,
                "events_process_duration",
                "Time of an event in its transaction, by what became of it; failed ones are tried again",
            ),
            lag: Family::default(),
            parked: Family::default(),
            holes: Family::default(),
            retried: Family::default(),
        };
        registry.register(
            "outbox_events",
            "Events that wait to be sent, counted up to 100,000",
            metrics.outbox.clone(),
        );
        registry.register_with_unit(
            "outbox_age",
            "Age of the oldest event that waits to be sent",
            Unit::Seconds,
            metrics.outbox_age.clone(),
        );
        registry.register(
            "outbox_held_events",
            "Events that the broker refuses, and those behind them",
            metrics.held.clone(),
        );
        registry.register(
            "events_sent",
            "Events that the broker has taken",
            metrics.sent.clone(),
        );
        registry.register(
            "outbox_batches_failed",
            "Batches of events that must be sent again",
            metrics.failed.clone(),
        );
        registry.register(
            "events_consumed",
            "Events that were read, by what became of them",
            metrics.consumed.clone(),
        );
        registry.register(
            "events_lag",
            "Events of the partitions read here that a consumer has yet to take in",
            metrics.lag.clone(),
        );
        registry.register(
            "events_parked",
            "Events that wait for an operator",
            metrics.parked.clone(),
        );
        registry.register(
            "events_missing",
            "Holes in the versions of a key: events that were lost",
            metrics.holes.clone(),
        );
        registry.register(
            "events_retried",
            "Tries to handle an event that failed and were followed by another",
            metrics.retried.clone(),
        );
        metrics
    }
}
