use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

pub use opentelemetry::trace::SpanKind as Kind;
use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{SpanContext, Status, TraceFlags, TraceState},
};
use opentelemetry_sdk::trace::SpanData;

use super::export;
use crate::trace::{self, TraceContext};

/// A piece of work, from [`Span::begin`] to its end; nothing where it is not recorded.
///
/// One that is dropped before its end was given up: its `error.type` is `cancelled`.
#[must_use = "the work is measured until the span is ended"]
#[derive(Debug, Default)]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    context: TraceContext,
    data: SpanData,
}

impl Span {
    /// Begins the span that `context` is about; `describe` is only called if it is recorded.
    pub fn begin(context: TraceContext, kind: Kind, describe: impl FnOnce(&mut Span)) -> Span {
        if !context.sampled || !export::is_on() {
            return Span(None);
        }
        let now = SystemTime::now();
        let span_context = SpanContext::new(
            context.trace_id.into(),
            context.span_id.into(),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        );
        let data = SpanData {
            span_context,
            parent_span_id: context.parent_id.into(),
            parent_span_is_remote: matches!(kind, Kind::Server | Kind::Consumer),
            span_kind: kind,
            name: Cow::Borrowed(""),
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("platform").build(),
        };
        let mut span = Span(Some(Box::new(Open { context, data })));
        describe(&mut span);
        span
    }

    /// Begins a span under the one at hand; nothing outside any trace, since nobody asks after work that
    /// belongs to none. What is done for the span runs in the scope of [`Span::context`].
    pub fn within(kind: Kind, describe: impl FnOnce(&mut Span)) -> Span {
        match trace::try_current() {
            Some(context) if context.sampled && export::is_on() => {
                Span::begin(context.child(), kind, describe)
            }
            _ => Span(None),
        }
    }

    /// The context of the span, if it is recorded.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|open| open.context)
    }

    /// Names the kind of work; of few different values.
    pub fn name(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(open) = &mut self.0 {
            open.data.name = name.into();
        }
    }

    /// Sets an attribute of the semantic conventions.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            open.data.attributes.push(KeyValue::new(key, value));
        }
    }

    /// Says that the work began before now.
    pub(super) fn began(&mut self, ago: Duration) {
        if let Some(open) = &mut self.0 {
            open.data.start_time -= ago;
        }
    }

    /// The work is done.
    pub fn end(mut self) {
        self.finish();
    }

    /// The work has failed, by a word of few different values.
    pub fn fail(mut self, error_type: impl Into<Cow<'static, str>>) {
        self.failed(error_type.into());
    }

    /// Ends the span as the work has ended.
    pub fn close<T, E, W: Into<Cow<'static, str>>>(
        self,
        outcome: &Result<T, E>,
        error_type: impl FnOnce(&E) -> W,
    ) {
        match outcome {
            Ok(_) => self.end(),
            Err(error) => self.fail(error_type(error)),
        }
    }

    fn failed(&mut self, error_type: Cow<'static, str>) {
        self.set("error.type", error_type);
        if let Some(open) = &mut self.0 {
            open.data.status = Status::error("");
        }
        self.finish();
    }

    fn finish(&mut self) {
        if let Some(open) = self.0.take() {
            let mut data = open.data;
            data.end_time = SystemTime::now();
            export::send(data);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.failed(Cow::Borrowed("cancelled"));
        }
    }
}
