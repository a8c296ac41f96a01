//! Spans and their way to a collector, and durations that name the trace of an example.
//!
//! Every span belongs to a [`crate::trace::TraceContext`]; where no collector is configured, or the trace is
//! not sampled, a span is nothing and costs nothing. Attributes are those of the semantic conventions of
//! OpenTelemetry: closed sets and ids, never what a person has written.

mod args;
mod durations;
mod export;
mod span;
mod statements;

#[cfg(test)]
pub(crate) mod tests;

pub use args::TelemetryArgs;
pub use durations::Durations;
pub use export::{Exporter, is_on, start};
pub use span::{Kind, Span};
pub use statements::statements;

pub(crate) use export::samples;
