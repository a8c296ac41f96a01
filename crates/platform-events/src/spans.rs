//! Spans of an event on its way: created, sent, processed, all under the one in which it was published.

use platform::telemetry::{Kind, Span, is_on};
use platform::trace::TraceContext;
use uuid::Uuid;

use crate::envelope::Meta;
use crate::relay::{Failure, Row};

/// The event becomes part of a transaction. Its context is the one that the event carries.
pub(crate) fn create(topic: &'static str, name: &'static str, id: Uuid) -> Span {
    Span::within(Kind::Producer, |span| {
        describe(span, "create", topic, name, id);
    })
}

/// The events of a wave go to the broker; nothing where no spans are recorded.
pub(crate) fn send(wave: &[&Row]) -> Vec<Span> {
    if !is_on() {
        return Vec::new();
    }
    let begin = |row: &&Row| {
        let context: TraceContext = row.event.traceparent.parse().ok()?;
        Some(Span::begin(context.child(), Kind::Client, |span| {
            describe(span, "send", &row.topic, &row.event.name, row.event.id);
        }))
    };
    wave.iter().filter_map(begin).collect()
}

/// The wave is acknowledged, or it is not.
pub(crate) fn sent(spans: Vec<Span>, outcome: &Result<(), Failure>) {
    for span in spans {
        span.close(outcome, |failure| match failure {
            Failure::Passing(_) => "not_acknowledged".to_owned(),
            Failure::Refused(code) => format!("{code:?}"),
        });
    }
}

/// A consumer takes the event in.
pub(crate) fn process(consumer: &'static str, meta: &Meta) -> Span {
    Span::begin(meta.trace, Kind::Consumer, |span| {
        describe(span, "process", meta.event.topic, meta.event.name, meta.id);
        span.set("messaging.consumer.group.name", consumer);
        span.set(
            "messaging.destination.partition.id",
            meta.partition.to_string(),
        );
        span.set("messaging.kafka.offset", meta.offset);
    })
}

fn describe(span: &mut Span, operation: &'static str, topic: &str, name: &str, id: Uuid) {
    span.name(format!("{operation} {topic}"));
    span.set("messaging.system", "kafka");
    span.set("messaging.operation.name", operation);
    span.set("messaging.operation.type", operation);
    span.set("messaging.destination.name", topic.to_owned());
    span.set("messaging.message.id", id.to_string());
    span.set("cloudevents.event_type", name.to_owned());
}
