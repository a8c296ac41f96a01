//! From the outbox to the log.

use std::collections::BTreeMap;

use platform_events::{Actor, PublishError, publish};
use platform_testkit::until;
use sqlx::Connection;

use crate::support::{
    Bench, ThingCounted, check_log, count, count_in, counted, expected, header, places,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_with_its_headers_and_its_content() {
    let bench = Bench::new().await;
    let _relay = bench.relay().await;
    let mut conn = bench.connect().await;
    let trace = platform::trace::TraceContext::new();
    let event = ThingCounted {
        thing_id: "a".to_owned(),
        version: 1,
        note: "content".to_owned(),
    };
    let actor = Actor::service("shop");
    platform::trace::scope(trace, publish(&mut conn, &event, actor))
        .await
        .unwrap();
    bench.until_sent().await;

    let log = bench.log::<ThingCounted>().await;
    assert_eq!(log.len(), 1);
    let message = &log[0];
    use prost::Message as _;
    use rdkafka::Message as _;
    assert_eq!(message.key(), Some(b"a".as_slice()));
    assert_eq!(
        ThingCounted::decode(message.payload().unwrap()).unwrap(),
        event
    );
    for (name, value) in [
        ("ce_source", "/test/shop"),
        ("ce_specversion", "1.0"),
        ("ce_type", "thing.counted"),
        ("ce_subject", "a"),
        ("ce_sequence", "1"),
        ("ce_dataschema", "test.shop.v1.ThingCounted"),
        ("ce_actorid", "shop"),
        ("ce_actorkind", "system"),
        ("content-type", "application/protobuf"),
    ] {
        assert_eq!(header(message, name).as_deref(), Some(value), "{name}");
    }
    // Under a span of its own where spans are recorded, as another test here does.
    let sent = header(message, "traceparent").unwrap();
    let sent: platform::trace::TraceContext = sent.parse().unwrap();
    assert_eq!(sent.trace_id(), trace.trace_id());
    for name in ["ce_id", "ce_time"] {
        assert!(header(message, name).is_some(), "{name}");
    }
    assert_eq!(header(message, "ce_actororg"), None);
}

#[tokio::test]
async fn what_kafka_would_refuse_is_not_published() {
    let bench = Bench::new().await;
    let mut conn = bench.connect().await;
    let large = ThingCounted {
        note: "x".repeat(256 * 1024),
        ..counted("a", 1)
    };
    for (event, what) in [
        (large, "TooLarge"),
        (counted("", 1), "KeyMalformed"),
        (counted("a\n", 1), "KeyMalformed"),
        (counted(&"a".repeat(256), 1), "KeyMalformed"),
        (counted("a", 0), "VersionMalformed"),
    ] {
        let refused = publish(&mut conn, &event, Actor::nobody()).await;
        let refused: PublishError = refused.unwrap_err();
        assert!(format!("{refused:?}").starts_with(what), "{refused:?}");
    }
    bench
        .is_sent(&mut conn)
        .await
        .expect("nothing was published");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_is_never_sent() {
    let bench = Bench::new().await;
    let _relay = bench.relay().await;
    let mut conn = bench.connect().await;
    let mut tx = conn.begin().await.unwrap();
    count_in(&mut tx, "a").await;
    tx.rollback().await.unwrap();
    count(&mut conn, "b").await;
    bench.until_sent().await;
    let log = places(&bench.log::<ThingCounted>().await);
    assert_eq!(log, [("b".to_owned(), 1)]);
}

/// A transaction that began early and commits late has a lower sequence than what was sent
/// meanwhile; whoever remembers the highest sequence never sees it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_commits_late_is_sent_all_the_same() {
    let bench = Bench::new().await;
    let _relay = bench.relay().await;
    let (mut early, mut late) = (bench.connect().await, bench.connect().await);
    let mut tx = late.begin().await.unwrap();
    count_in(&mut tx, "late").await;
    // In every lane there is one that overtakes it.
    for number in 0..64 {
        count(&mut early, &format!("early-{number}")).await;
    }
    bench.until_sent().await;
    tx.commit().await.unwrap();
    bench.until_sent().await;
    let log = places(&bench.log::<ThingCounted>().await);
    assert_eq!(log.len(), 65);
    assert_eq!(log.iter().filter(|(key, _)| key == "late").count(), 1);
    check_log(&log, &expected(&mut early).await).unwrap();
}

/// The relay looks into the outbox before the publisher commits, and soon again after.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_does_not_wait_for_the_next_poll() {
    let bench = Bench::new().await;
    let mut vars = bench.vars();
    vars.insert("OUTBOX_POLL".to_owned(), "1m".to_owned());
    let _relay = bench.replica_with(vars, crate::support::spawn_relay).await;
    let mut conn = bench.connect().await;
    count(&mut conn, "a").await;
    until("the event to be sent", async || {
        bench.is_sent(&mut conn).await
    })
    .await;
}

#[test]
fn the_checkers_notice_what_is_planted() {
    use crate::support::check_effects;
    let expected = BTreeMap::from([("a".to_owned(), 4), ("b".to_owned(), 2)]);
    let good: Vec<(String, i64)> = [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2), ("a", 4)]
        .map(|(key, version)| (key.to_owned(), version))
        .into();
    assert_eq!(check_log(&good, &expected), Ok(0));
    assert_eq!(check_effects(&good, &expected), Ok(()));

    let repeated = [good.clone(), vec![("a".to_owned(), 2)]].concat();
    assert_eq!(check_log(&repeated, &expected), Ok(1), "the log may repeat");
    assert!(check_effects(&repeated, &expected).is_err());

    for lost in 0..good.len() {
        let mut log = good.clone();
        log.remove(lost);
        assert!(check_log(&log, &expected).is_err(), "lost {lost}");
    }
    let mut swapped = good.clone();
    swapped.swap(2, 3);
    assert!(check_log(&swapped, &expected).is_err());
}
