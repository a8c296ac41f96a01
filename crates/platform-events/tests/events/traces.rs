//! One trace from the transaction that says an event to those that hear it.

use std::sync::Arc;

use platform::trace::{self, TraceContext};
use platform_events::{Consumer, Handle, Meta};
use platform_testkit::{Span, collector, metric, until};
use sqlx::PgConnection;

use crate::support::{
    Bench, EVENTS, Recorder, ThingCounted, count, recording, spawn_consumer, spawn_relay,
};

#[tokio::test(flavor = "multi_thread")]
async fn from_publishing_to_its_effect_an_event_is_one_trace() {
    let collector = collector();
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    let replica = bench.replica(|rt, db, kafka| {
        spawn_relay(rt, db.clone(), kafka.clone());
        spawn_consumer(recording(&recorder))(rt, db, kafka);
    });
    let replica = replica.await;
    let mut conn = bench.connect().await;
    let root = TraceContext::new();
    trace::scope(root, count(&mut conn, "a")).await;

    let names = ["create", "send", "process"].map(|word| format!("{word} events.thing"));
    let [create, send, process] = names.each_ref().map(String::as_str);
    let effect = "INSERT effects";
    let wanted = [(create, 1), (send, 1), (process, 1), (effect, 1)];
    let spans = collector.trace(root, &wanted).await;
    let one = |name: &str| -> &Span {
        let mut named = spans.iter().filter(|span| span.name == name);
        let found = named.next().unwrap();
        assert!(named.next().is_none(), "{name} twice in {spans:#?}");
        found
    };
    let [create, send, process, effect] = [create, send, process, effect].map(one);
    for (span, parent, kind) in [
        (create, &root.span_id(), "Producer"),
        (send, &create.id, "Client"),
        (process, &create.id, "Consumer"),
        (effect, &process.id, "Client"),
    ] {
        assert_eq!((&span.parent_id, span.kind), (parent, kind), "{span:?}");
        assert!(!span.failed, "{span:?}");
    }
    // The claim of the version belongs to it as well.
    let claimed =
        |span: &&Span| span.name == "INSERT platform.inbox" && span.parent_id == process.id;
    assert_eq!(spans.iter().filter(claimed).count(), 1, "{spans:#?}");
    for (span, operation) in [(create, "create"), (send, "send"), (process, "process")] {
        for (name, value) in [
            ("messaging.system", "kafka"),
            ("messaging.operation.name", operation),
            ("messaging.operation.type", operation),
            ("messaging.destination.name", "events.thing"),
            ("cloudevents.event_type", "thing.counted"),
            (
                "messaging.message.id",
                &create.attributes["messaging.message.id"],
            ),
        ] {
            assert_eq!(span.attributes[name], value, "{name} of {span:?}");
        }
    }
    assert_eq!(
        process.attributes["messaging.consumer.group.name"],
        "reader"
    );

    let labels = [
        r#"consumer="reader""#,
        r#"topic="events.thing""#,
        r#"event="thing.counted""#,
        r#"outcome="handled""#,
    ];
    let name = "events_process_duration_seconds_count";
    assert_eq!(metric(replica.admin, name, &labels).await, 1);
}

struct Fails;

impl Handle<ThingCounted> for Fails {
    async fn handle(&self, _: &mut PgConnection, _: ThingCounted, _: &Meta) -> anyhow::Result<()> {
        anyhow::bail!("as planted")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_that_fails_is_a_failed_span_and_a_measurement() {
    let collector = collector();
    let bench = Bench::new().await;
    let mut vars = bench.vars();
    vars.insert("CONSUMER_TRIES_MAX".to_owned(), "3".to_owned());
    let consumer = Consumer::new("reader", EVENTS).on::<ThingCounted>(&Arc::new(Fails));
    let replica = bench.replica_with(vars, |rt, db, kafka| {
        spawn_relay(rt, db.clone(), kafka.clone());
        spawn_consumer(consumer)(rt, db, kafka);
    });
    let replica = replica.await;
    let root = TraceContext::new();
    let mut conn = bench.connect().await;
    trace::scope(root, count(&mut conn, "a")).await;
    let process = "process events.thing";
    let spans = collector.trace(root, &[(process, 3)]).await;
    for span in spans.iter().filter(|span| span.name == process) {
        assert_eq!(span.attributes["error.type"], "handler_failed");
    }
    let name = "events_process_duration_seconds_count";
    let failed = metric(replica.admin, name, &[r#"outcome="failed""#]).await;
    assert_eq!(failed, 3);
}

/// Hears nothing until it is let.
struct Waits(tokio::sync::Semaphore);

impl Handle<ThingCounted> for Waits {
    async fn handle(&self, _: &mut PgConnection, _: ThingCounted, _: &Meta) -> anyhow::Result<()> {
        drop(self.0.acquire().await?);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_a_consumer_is_behind_is_measured() {
    let bench = Bench::new().await;
    let waits = Arc::new(Waits(tokio::sync::Semaphore::new(1)));
    let consumer = Consumer::new("reader", EVENTS).on::<ThingCounted>(&waits);
    let replica = bench.replica(|rt, db, kafka| {
        spawn_relay(rt, db.clone(), kafka.clone());
        spawn_consumer(consumer)(rt, db, kafka);
    });
    let replica = replica.await;
    let mut conn = bench.connect().await;
    let lag = async |count: u64| {
        until(&format!("a lag of {count}"), async || {
            let lag = metric(replica.admin, "events_lag", &[r#"consumer="reader""#]).await;
            (lag == count).then_some(())
        })
        .await;
    };
    // What was never taken in has no place to be behind of.
    count(&mut conn, "a").await;
    let handled = "events_process_duration_seconds_count";
    until("the first event", async || {
        (metric(replica.admin, handled, &[]).await == 1).then_some(())
    })
    .await;
    waits.0.forget_permits(1);
    for _ in 0..3 {
        count(&mut conn, "a").await;
    }
    lag(3).await;
    waits.0.add_permits(1);
    lag(0).await;
}
