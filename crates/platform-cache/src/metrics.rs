//! What is measured of Redis and of what is kept in it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::redis::Unavailable;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Commands without an answer, by reason.
    failed: Family<Reason, Counter>,
    /// Keys that were asked for, by what was found.
    pub(crate) reads: Family<Read, Counter>,
    /// Values that were loaded, by what became of them.
    pub(crate) fills: Family<Fill, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Read {
    pub(crate) cache: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Fill {
    pub(crate) cache: &'static str,
    pub(crate) outcome: &'static str,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            failed: Family::default(),
            reads: Family::default(),
            fills: Family::default(),
        };
        registry.register(
            "redis_commands_failed",
            "Commands that Redis has not answered, by reason",
            metrics.failed.clone(),
        );
        registry.register(
            "cache_reads",
            "Keys that were asked for: hit, miss, shared (another's load) or bypass (no Redis)",
            metrics.reads.clone(),
        );
        registry.register(
            "cache_fills",
            "Values that were loaded: stored, refused (something newer is known), large or failed",
            metrics.fills.clone(),
        );
        metrics
    }

    pub(crate) fn failed(&self, error: &Unavailable) {
        let reason = error.word();
        self.failed.get_or_create(&Reason { reason }).inc();
    }
}
