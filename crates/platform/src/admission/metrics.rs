//! What the queue is like, by class.

use platform_contract::Class;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::AdmissionLimits;

/// In seconds; beyond the last, a request would have been refused by default.
const BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5];

#[derive(Debug)]
pub(super) struct Metrics {
    running: Family<Of, Gauge>,
    waiting: Family<Of, Gauge>,
    waits: Family<Of, Histogram>,
    left: Family<Of, Counter>,
    refused: Family<Refused, Counter>,
    classes: [OfClass; 3],
}

/// Those of one class, found beforehand.
#[derive(Debug)]
pub(super) struct OfClass {
    pub(super) running: Gauge,
    pub(super) waiting: Gauge,
    pub(super) waits: Histogram,
    pub(super) left: Counter,
    pub(super) full: Counter,
    pub(super) displaced: Counter,
    pub(super) too_old: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    class: &'static str,
    reason: &'static str,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let running = Family::<Of, Gauge>::default();
        let waiting = Family::<Of, Gauge>::default();
        let waits = Family::<Of, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let left = Family::<Of, Counter>::default();
        let refused = Family::<Refused, Counter>::default();
        let classes = Class::ALL.map(|class| {
            let class = class.word();
            let of = Of { class };
            let refused = |reason| refused.get_or_create_owned(&Refused { class, reason });
            OfClass {
                running: running.get_or_create_owned(&of),
                waiting: waiting.get_or_create_owned(&of),
                waits: waits.get_or_create_owned(&of),
                left: left.get_or_create_owned(&of),
                full: refused("full"),
                displaced: refused("displaced"),
                too_old: refused("age"),
            }
        });
        Metrics {
            running,
            waiting,
            waits,
            left,
            refused,
            classes,
        }
    }

    pub(super) fn of(&self, class: Class) -> &OfClass {
        &self.classes[class as usize]
    }

    pub(super) fn refused(&self) -> u64 {
        let reasons = |of: &OfClass| of.full.get() + of.displaced.get() + of.too_old.get();
        self.classes.iter().map(reasons).sum()
    }

    pub(super) fn register(&self, registry: &mut Registry, limits: &AdmissionLimits) {
        let registry = registry.sub_registry_with_prefix("admission");
        registry.register(
            "running",
            "Requests that are worked on",
            self.running.clone(),
        );
        registry.register(
            "waiting",
            "Requests that wait for their turn",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "wait",
            "How long those waited who had to, and got a turn",
            Unit::Seconds,
            self.waits.clone(),
        );
        registry.register(
            "left",
            "Requests that left the queue, since their time was over or their caller gone",
            self.left.clone(),
        );
        registry.register(
            "refused",
            "Requests refused: the queue or the share of the source was full, somebody who matters more took \
             the place, or the wait was too long",
            self.refused.clone(),
        );
        for (name, help, limit) in [
            ("running_max", "Requests worked on at once", limits.running),
            ("waiting_max", "Requests that can wait", limits.waiting),
        ] {
            let limit = u64::try_from(limit).unwrap_or(u64::MAX);
            registry.register(name, help, ConstGauge::new(limit));
        }
    }
}
