//! From the log to one effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use platform_events::parked::{self, Cause, Filter, Parked};
use platform_events::{Consumer, Handle, Meta, Redriven, inbox};
use platform_testkit::until;
use sqlx::PgConnection;
use tokio::sync::{Notify, Semaphore};

use crate::support::{
    Bench, EVENTS, Raw, Recorder, ThingCounted, ThingNoted, check_effects, count, counted, effects,
    expected, recording, spawn_consumer, spawn_relay,
};

fn noted(key: &str, version: i64) -> ThingNoted {
    ThingNoted {
        thing_id: key.to_owned(),
        version,
        note: String::new(),
    }
}

async fn parked_events(conn: &mut PgConnection) -> Vec<Parked> {
    parked::list(conn, &Filter::default(), 1000).await.unwrap()
}

/// Waits for so many parked events; answers them.
async fn until_parked(conn: &mut PgConnection, count: usize) -> Vec<Parked> {
    until(&format!("{count} parked events"), async || {
        let parked = parked_events(conn).await;
        (parked.len() >= count).then_some(parked)
    })
    .await
}

/// Keys and versions of one key, in the order in which they took effect.
async fn versions(conn: &mut PgConnection, key: &str) -> Vec<i64> {
    effects(conn, "reader")
        .await
        .into_iter()
        .filter(|(of, _)| of == key)
        .map(|(_, version)| version)
        .collect()
}

fn both(
    consumer: Consumer,
) -> impl FnOnce(&mut platform::Runtime, platform_db::Db, platform_events::Kafka) {
    |rt, db, kafka| {
        spawn_relay(rt, db.clone(), kafka.clone());
        spawn_consumer(consumer)(rt, db, kafka);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_takes_effect_once_on_two_replicas_that_come_and_go() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    let first = bench.replica(both(recording(&recorder))).await;
    let mut conn = bench.connect().await;
    for round in 0..10 {
        for key in 0..40 {
            count(&mut conn, &format!("thing-{}", (key * 7 + round) % 40)).await;
        }
    }
    bench.until_recorded("reader", 50).await;
    let second = bench.replica(both(recording(&recorder))).await;
    for key in 0..200 {
        count(&mut conn, &format!("thing-{}", key % 50)).await;
    }
    first.stop().await.unwrap();
    for key in 0..200 {
        count(&mut conn, &format!("thing-{}", key % 60)).await;
    }
    // One that does not say good-bye.
    drop(second);
    let _third = bench.replica(both(recording(&recorder))).await;
    bench.until_recorded("reader", 800).await;
    let expected = expected(&mut conn).await;
    check_effects(&effects(&mut conn, "reader").await, &expected).unwrap();
    assert_eq!(parked_events(&mut conn).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_of_one_service_each_hear_everything() {
    let bench = Bench::new().await;
    let (a, b) = (Recorder::new("a"), Recorder::new("b"));
    let _replica = bench
        .replica(|rt, db, kafka| {
            spawn_relay(rt, db.clone(), kafka.clone());
            for recorder in [&a, &b] {
                spawn_consumer(recording(recorder))(rt, db.clone(), kafka.clone());
            }
        })
        .await;
    let mut conn = bench.connect().await;
    for _ in 0..5 {
        count(&mut conn, "a").await;
    }
    for reader in ["a", "b"] {
        bench.until_recorded(reader, 5).await;
        let effects = effects(&mut conn, reader).await;
        check_effects(&effects, &expected(&mut conn).await).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_key_is_parked_while_the_others_flow() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    recorder.poison("bad", 2);
    let replica = bench.replica(both(recording(&recorder))).await;
    let mut conn = bench.connect().await;
    for _ in 0..4 {
        for key in ["bad", "good-1", "good-2", "good-3"] {
            count(&mut conn, key).await;
        }
    }
    bench.until_recorded("reader", 13).await;
    let parked = until_parked(&mut conn, 3).await;
    let seen: Vec<_> = parked
        .iter()
        .map(|event| (event.key.as_str(), event.version, event.cause))
        .collect();
    assert_eq!(
        seen,
        [
            ("bad", Some(2), Cause::Failed),
            ("bad", Some(3), Cause::Behind),
            ("bad", Some(4), Cause::Behind),
        ]
    );
    assert_eq!(parked[0].detail, "poisoned");
    assert_eq!(parked[0].name.as_deref(), Some("thing.counted"));

    // A restart loses none of it, and what comes then waits behind.
    replica.stop().await.unwrap();
    let _replica = bench.replica(both(recording(&recorder))).await;
    count(&mut conn, "bad").await;
    until_parked(&mut conn, 4).await;

    // Tried again too early, it stays where it is.
    let again = recording(&recorder);
    let redriven = again.redrive(&mut conn, &Filter::default()).await.unwrap();
    assert_eq!((redriven.handled, redriven.failed.len()), (0, 1));

    recorder.cure();
    let redriven = again.redrive(&mut conn, &Filter::default()).await.unwrap();
    assert_eq!(
        redriven,
        Redriven {
            handled: 4,
            failed: Vec::new()
        }
    );
    count(&mut conn, "bad").await;
    bench.until_recorded("reader", 18).await;
    assert_eq!(versions(&mut conn, "bad").await, [1, 2, 3, 4, 5, 6]);
    let effects = effects(&mut conn, "reader").await;
    check_effects(&effects, &expected(&mut conn).await).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_redriven_by_filter_and_one_by_one() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    for key in ["a", "b"] {
        recorder.poison(key, 1);
    }
    let _replica = bench.replica(both(recording(&recorder))).await;
    let mut conn = bench.connect().await;
    for key in ["a", "a", "b", "b"] {
        count(&mut conn, key).await;
    }
    let parked = until_parked(&mut conn, 4).await;
    recorder.cure();
    let again = recording(&recorder);

    // Not before the one that is before it.
    let filter = Filter {
        id: Some(parked[1].id),
        ..Filter::default()
    };
    let redriven = again.redrive(&mut conn, &filter).await.unwrap();
    assert_eq!((redriven.handled, redriven.failed.len()), (0, 1));
    let filter = Filter {
        id: Some(parked[0].id),
        ..Filter::default()
    };
    assert_eq!(again.redrive(&mut conn, &filter).await.unwrap().handled, 1);
    assert_eq!(versions(&mut conn, "a").await, [1]);

    let filter = Filter {
        key: Some("b".to_owned()),
        ..Filter::default()
    };
    assert_eq!(again.redrive(&mut conn, &filter).await.unwrap().handled, 2);
    assert_eq!(versions(&mut conn, "b").await, [1, 2]);
    assert_eq!(parked_events(&mut conn).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_event_is_gone_and_its_key_goes_on() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    recorder.poison("bad", 1);
    let _replica = bench.replica(both(recording(&recorder))).await;
    let mut conn = bench.connect().await;
    for _ in 0..3 {
        count(&mut conn, "bad").await;
    }
    let parked = until_parked(&mut conn, 3).await;
    recorder.cure();
    let of = |event: &Parked| Filter {
        id: Some(event.id),
        ..Filter::default()
    };
    // The last first: it keeps its place until those before it are done with.
    assert_eq!(parked::drop(&mut conn, &of(&parked[2])).await.unwrap(), 1);
    assert_eq!(parked::drop(&mut conn, &of(&parked[0])).await.unwrap(), 1);
    assert_eq!(parked_events(&mut conn).await.len(), 1);
    let again = recording(&recorder);
    let redriven = again.redrive(&mut conn, &Filter::default()).await.unwrap();
    assert_eq!(redriven.handled, 1);
    count(&mut conn, "bad").await;
    bench.until_recorded("reader", 2).await;
    assert_eq!(versions(&mut conn, "bad").await, [2, 4]);
    assert_eq!(parked_events(&mut conn).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_parks_the_key() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    let _replica = bench.replica(spawn_consumer(recording(&recorder))).await;
    let mut conn = bench.connect().await;
    let events = [("a", 1), ("a", 2), ("b", 1), ("a", 4), ("a", 5), ("b", 2)];
    let events = events.map(|(key, version)| Raw::good(&counted(key, version)));
    bench.produce::<ThingCounted>(events.into()).await;
    let parked = until_parked(&mut conn, 2).await;
    assert_eq!(
        [parked[0].cause, parked[1].cause],
        [Cause::Hole, Cause::Behind]
    );
    assert_eq!(parked[0].detail, "version 4 follows version 2");
    bench.until_recorded("reader", 4).await;
    assert_eq!(versions(&mut conn, "a").await, [1, 2]);

    // Whoever was told, and has seen to it, lets the key go on.
    let again = recording(&recorder);
    let redriven = again.redrive(&mut conn, &Filter::default()).await.unwrap();
    assert_eq!(redriven.handled, 2);
    assert_eq!(versions(&mut conn, "a").await, [1, 2, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_dropped_however_old_it_is() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    let _replica = bench.replica(spawn_consumer(recording(&recorder))).await;
    let mut conn = bench.connect().await;
    let events = [1, 1, 2, 3, 1, 2, 3, 4].map(|version| Raw::good(&counted("a", version)));
    bench.produce::<ThingCounted>(events.into()).await;
    bench.until_recorded("reader", 4).await;
    assert_eq!(versions(&mut conn, "a").await, [1, 2, 3, 4]);
    assert_eq!(parked_events(&mut conn).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_not_handled_raises_the_version_all_the_same() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    let _replica = bench.replica(spawn_consumer(recording(&recorder))).await;
    let mut conn = bench.connect().await;
    let events = vec![
        Raw::good(&counted("a", 1)),
        Raw::good(&noted("a", 2)),
        Raw::good(&counted("a", 3)),
    ];
    bench.produce::<ThingNoted>(events).await;
    bench.until_recorded("reader", 2).await;
    assert_eq!(versions(&mut conn, "a").await, [1, 3]);
    assert_eq!(parked_events(&mut conn).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_trusted_is_parked() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    let _replica = bench.replica(spawn_consumer(recording(&recorder))).await;
    let mut conn = bench.connect().await;
    let mut undecodable = Raw::good(&counted("undecodable", 1));
    undecodable.payload = vec![0xff; 9];
    let mut contradicting = Raw::good(&counted("contradicting", 1));
    contradicting.payload = Raw::good(&counted("contradicting", 2)).payload;
    let mut headless = Raw::good(&counted("headless", 1));
    headless.headers.clear();
    let spoilt = vec![
        undecodable,
        contradicting,
        headless,
        Raw::good(&counted("unknown-type", 1)).with("ce_type", "thing.exploded"),
        Raw::good(&counted("wrong-source", 1)).with("ce_source", "/test/thief"),
        Raw::good(&counted("wrong-subject", 1)).with("ce_subject", "another"),
    ];
    let keys: Vec<String> = spoilt.iter().map(|raw| raw.key.clone()).collect();
    bench.produce::<ThingCounted>(spoilt).await;
    // What comes after it, in good order.
    let after = keys
        .iter()
        .flat_map(|key| [1, 2].map(|version| Raw::good(&counted(key, version))))
        .collect();
    bench.produce::<ThingCounted>(after).await;

    // Where the sender is the owner, the key waits; what somebody else says is put aside.
    bench.until_recorded("reader", 6).await;
    let parked = until_parked(&mut conn, 9).await;
    let causes: BTreeMap<&str, Vec<(Option<i64>, Cause)>> =
        parked.iter().fold(BTreeMap::new(), |mut causes, event| {
            let of: &mut Vec<_> = causes.entry(event.key.as_str()).or_default();
            of.push((event.version, event.cause));
            causes
        });
    let behind = (Some(2), Cause::Behind);
    for (key, expected) in [
        ("undecodable", vec![(Some(1), Cause::Undecodable), behind]),
        ("contradicting", vec![(Some(1), Cause::Undecodable), behind]),
        ("unknown-type", vec![(Some(1), Cause::UnknownType), behind]),
        ("headless", vec![(None, Cause::Malformed)]),
        ("wrong-source", vec![(None, Cause::WrongSource)]),
        ("wrong-subject", vec![(None, Cause::Malformed)]),
    ] {
        assert_eq!(causes[key], expected, "{key}");
    }
    for key in ["headless", "wrong-source", "wrong-subject"] {
        assert_eq!(versions(&mut conn, key).await, [1, 2], "{key}");
    }
    // In vain, and they are found by their causes all the same.
    let again = recording(&recorder);
    let redriven = again.redrive(&mut conn, &Filter::default()).await.unwrap();
    assert_eq!((redriven.handled, redriven.failed.len()), (0, 3));
    let causes = |parked: &[Parked]| parked.iter().map(|event| event.cause).collect::<Vec<_>>();
    assert_eq!(causes(&parked_events(&mut conn).await), causes(&parked));
    assert_eq!(
        parked::drop(&mut conn, &Filter::default()).await.unwrap(),
        9
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_consumer_knows_every_key_from_its_beginning() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    let mut conn = bench.connect().await;
    let topic = "events.thing";
    assert!(
        inbox::raise(&mut conn, "reader", topic, "listed", 6)
            .await
            .unwrap()
    );
    assert!(
        !inbox::raise(&mut conn, "reader", topic, "listed", 5)
            .await
            .unwrap()
    );

    let complete = recording(&recorder).complete();
    let _replica = bench.replica(spawn_consumer(complete)).await;
    let events = [("listed", 5), ("listed", 7), ("new", 1), ("lost", 3)];
    let events = events.map(|(key, version)| Raw::good(&counted(key, version)));
    bench.produce::<ThingCounted>(events.into()).await;
    bench.until_recorded("reader", 2).await;
    let parked = until_parked(&mut conn, 1).await;
    assert_eq!(
        (parked[0].key.as_str(), parked[0].cause),
        ("lost", Cause::Hole)
    );
    assert_eq!(versions(&mut conn, "listed").await, [7]);
    assert_eq!(versions(&mut conn, "new").await, [1]);

    // Rebuilding covers what was parked.
    assert!(
        inbox::raise(&mut conn, "reader", topic, "lost", 3)
            .await
            .unwrap()
    );
    assert_eq!(parked_events(&mut conn).await.len(), 0);
    bench
        .produce::<ThingCounted>(vec![Raw::good(&counted("lost", 4))])
        .await;
    bench.until_recorded("reader", 3).await;
    assert_eq!(versions(&mut conn, "lost").await, [4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_backlog_is_read_piece_by_piece() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    let events: Vec<Raw> = (0..600)
        .map(|number| Raw::good(&counted(&format!("thing-{}", number % 20), number / 20 + 1)))
        .collect();
    bench.make_topics().await;
    bench.produce::<ThingCounted>(events).await;
    let mut vars = bench.vars();
    vars.insert("CONSUMER_BACKLOG_MAX".to_owned(), "50".to_owned());
    let _replica = bench
        .replica_with(vars, spawn_consumer(recording(&recorder)))
        .await;
    bench.until_recorded("reader", 600).await;
    let mut conn = bench.connect().await;
    let expected = (0..20).map(|key| (format!("thing-{key}"), 30)).collect();
    check_effects(&effects(&mut conn, "reader").await, &expected).unwrap();
}

/// A recorder that is held up until the gate opens.
struct Gated {
    recorder: Arc<Recorder>,
    reached: Notify,
    gate: Semaphore,
}

impl Handle<ThingCounted> for Gated {
    async fn handle(
        &self,
        conn: &mut PgConnection,
        event: ThingCounted,
        meta: &Meta,
    ) -> anyhow::Result<()> {
        self.reached.notify_one();
        let _open = self.gate.acquire().await?;
        self.recorder.handle(conn, event, meta).await
    }
}

/// librdkafka remembers that a partition is paused while others read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_left_while_too_much_waited_is_read_when_it_comes_back() {
    let bench = Bench::new().await;
    let recorder = Recorder::new("reader");
    let gated = Arc::new(Gated {
        recorder: Arc::clone(&recorder),
        reached: Notify::new(),
        gate: Semaphore::new(0),
    });
    bench.make_topics().await;
    let produce = |keys: i32, version| {
        let raw = |key| Raw::good(&counted(&format!("thing-{key}"), version));
        bench.produce::<ThingCounted>((0..keys).map(raw).collect())
    };
    let mut vars = bench.vars();
    // Too much waits the first time, and not later.
    vars.insert("CONSUMER_BACKLOG_MAX".to_owned(), "40".to_owned());
    let consumer = Consumer::new("reader", EVENTS).on::<ThingCounted>(&gated);
    let _slow = bench.replica_with(vars, spawn_consumer(consumer)).await;
    produce(100, 1).await;
    gated.reached.notified().await;

    let other = bench.replica(spawn_consumer(recording(&recorder))).await;
    bench.until_recorded("reader", 1).await;
    gated.gate.add_permits(Semaphore::MAX_PERMITS);
    bench.until_recorded("reader", 100).await;
    other.stop().await.unwrap();

    produce(30, 2).await;
    bench.until_recorded("reader", 130).await;
    let mut conn = bench.connect().await;
    let expected = (0..100)
        .map(|key| (format!("thing-{key}"), if key < 30 { 2 } else { 1 }))
        .collect();
    check_effects(&effects(&mut conn, "reader").await, &expected).unwrap();
}
