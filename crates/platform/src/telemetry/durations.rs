use std::{fmt, fmt::Debug, hash::Hash};

use prometheus_client::{
    encoding::{EncodeLabelSet, LabelSetEncoder},
    metrics::{exemplar::HistogramWithExemplars, family::Family},
    registry::{Registry, Unit},
};

use super::Span;

/// The boundaries that the semantic conventions recommend, in seconds.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Durations in seconds by labels. In each bucket the last one whose span was recorded names its trace.
#[derive(Clone, Debug)]
pub struct Durations<L>(Family<L, HistogramWithExemplars<Example>>);

/// The trace of a duration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Example(pub(super) u128);

impl<L: Clone + Eq + Hash> Default for Durations<L> {
    /// Not registered yet.
    fn default() -> Durations<L> {
        let histogram = || HistogramWithExemplars::new(BUCKETS.into_iter());
        Durations(Family::new_with_constructor(histogram as fn() -> _))
    }
}

impl<L> Durations<L>
where
    L: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static,
{
    /// Registered; see [`Durations::register`].
    pub fn new(registry: &mut Registry, name: &str, help: &str) -> Durations<L> {
        let durations = Durations::default();
        durations.register(registry, name, help);
        durations
    }

    /// Shows them under `name` with `_seconds` behind it.
    pub fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register_with_unit(name, help, Unit::Seconds, self.0.clone());
    }

    /// Counts a duration, with the span of the same work.
    pub fn observe(&self, labels: &L, seconds: f64, span: &Span) {
        let example = span.context().map(|context| Example(context.trace_id));
        let histogram = self.0.get_or_create(labels);
        histogram.observe(seconds, example, None);
    }
}

impl EncodeLabelSet for Example {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("trace_id", format!("{:032x}", self.0))].encode(encoder)
    }
}
