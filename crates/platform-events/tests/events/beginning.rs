//! Where a consumer begins that was rebuilt from elsewhere.

use platform_events::Kafka;
use platform_testkit::until;

use crate::support::{
    Bench, Recorder, check_effects, count, effects, expected, recording, spawn_consumer,
    spawn_relay,
};

/// A replica that sends, and what it calls Kafka.
async fn relay(bench: &Bench) -> (platform::Running, Kafka) {
    let mut kept = None;
    let replica = bench
        .replica(|rt, db, kafka| {
            kept = Some(kafka.clone());
            spawn_relay(rt, db, kafka);
        })
        .await;
    (replica, kept.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_never_ran_begins_at_the_positions_that_were_noted() {
    let bench = Bench::new().await;
    let (_relay, kafka) = relay(&bench).await;
    let mut conn = bench.connect().await;
    for _ in 0..5 {
        count(&mut conn, "a").await;
    }
    bench.until_sent().await;
    let since = platform::time::now();
    let recorder = Recorder::new("reader");
    let noted = recording(&recorder).positions(&kafka, since).await.unwrap();
    count(&mut conn, "a").await;
    bench.until_sent().await;

    // What was said since then lies between the moment and the end.
    let ends = recording(&recorder).ends(&kafka).await.unwrap();
    assert_eq!(
        (noted.values().sum::<i64>(), ends.values().sum::<i64>()),
        (5, 6)
    );
    let again = recording(&recorder).positions(&kafka, since).await.unwrap();
    assert_eq!(again, noted);

    let consumer = recording(&recorder);
    consumer.begin_at(&kafka, noted).await.unwrap();
    assert!(!consumer.is_past(&kafka, &ends).await.unwrap());
    let _replica = bench.replica(spawn_consumer(consumer)).await;
    bench.until_recorded("reader", 1).await;
    until("the position to be told", async || {
        let past = recording(&recorder).is_past(&kafka, &ends).await.unwrap();
        past.then_some(())
    })
    .await;
    assert_eq!(effects(&mut conn, "reader").await, [("a".to_owned(), 6)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_runs_or_has_run_goes_on_where_it_is() {
    let bench = Bench::new().await;
    let (_relay, kafka) = relay(&bench).await;
    let mut conn = bench.connect().await;
    let recorder = Recorder::new("reader");
    let running = bench.replica(spawn_consumer(recording(&recorder))).await;
    for _ in 0..3 {
        count(&mut conn, "a").await;
    }
    bench.until_recorded("reader", 3).await;
    bench.until_sent().await;
    let mut ahead = recording(&recorder).ends(&kafka).await.unwrap();
    for offset in ahead.values_mut() {
        *offset += 2;
    }
    recording(&recorder)
        .begin_at(&kafka, ahead.clone())
        .await
        .unwrap();
    for _ in 0..3 {
        count(&mut conn, "a").await;
    }
    bench.until_recorded("reader", 6).await;
    running.stop().await.unwrap();

    recording(&recorder).begin_at(&kafka, ahead).await.unwrap();
    for _ in 0..3 {
        count(&mut conn, "a").await;
    }
    let _again = bench.replica(spawn_consumer(recording(&recorder))).await;
    bench.until_recorded("reader", 9).await;
    let expected = expected(&mut conn).await;
    check_effects(&effects(&mut conn, "reader").await, &expected).unwrap();
}
