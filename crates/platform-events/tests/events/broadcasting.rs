//! From the log to everybody in a process.

use std::time::Duration;

use platform_contract::Event;
use platform_events::Broadcast;
use platform_events::broadcast::{Subscription, Window};
use platform_testkit::until;

use crate::support::{
    Bench, EVENTS, OtherCounted, Raw, ThingCounted, ThingNoted, count, counted, spawn_relay,
};

fn broadcast() -> Broadcast {
    Broadcast::new(EVENTS, &[ThingCounted::TOPIC], Window::default())
}

async fn heard(subscription: &mut Subscription, count: usize) -> Vec<(String, i64)> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), subscription.next());
        let received = next.await.expect("another event").expect("none missed");
        if let Some(event) = received.event::<ThingCounted>().unwrap() {
            heard.push((event.thing_id, event.version));
        }
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_hears_everything_from_before_it_began() {
    let bench = Bench::new().await;
    let _relay = bench.relay().await;
    let mut conn = bench.connect().await;
    for _ in 0..3 {
        count(&mut conn, "a").await;
    }
    bench.until_sent().await;

    let replicas = [broadcast(), broadcast()];
    let mut running = Vec::new();
    for replica in &replicas {
        let reader = replica.clone();
        running.push(
            bench
                .replica(|rt, _, kafka| rt.spawn("broadcast", |stop| reader.run(kafka, stop)))
                .await,
        );
    }
    for (said, replica) in (3..).zip(&replicas) {
        replica.caught_up().await;
        let mut all = replica.subscribe();
        // Also what was said after it had caught up, for the replica before it.
        let mut heard_of = heard(&mut all, said).await;
        let mut new = replica.subscribe_to_new();
        let version = count(&mut conn, "a").await;
        assert_eq!(heard(&mut new, 1).await, [("a".to_owned(), version)]);
        heard_of.extend(heard(&mut all, 1).await);
        let expected: Vec<_> = (1..=version)
            .map(|version| ("a".to_owned(), version))
            .collect();
        assert_eq!(heard_of, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_and_what_cannot_be_trusted_are_not_heard() {
    let bench = Bench::new().await;
    bench.make_topics().await;
    let messages = vec![
        Raw::good(&counted("a", 1)),
        Raw::good(&counted("a", 2)),
        Raw::good(&counted("a", 1)),
        Raw::good(&counted("a", 3)).with("ce_source", "/test/thief"),
        Raw::good(&counted("a", 4)).with("ce_type", "thing.exploded"),
        Raw::good(&counted("a", 5)),
    ];
    bench.produce::<ThingCounted>(messages).await;
    let replica = broadcast();
    let mut subscription = replica.subscribe();
    let reader = replica.clone();
    let _running = bench
        .replica(|rt, _, kafka| rt.spawn("broadcast", |stop| reader.run(kafka, stop)))
        .await;
    let versions: Vec<i64> = heard(&mut subscription, 3)
        .await
        .into_iter()
        .map(|(_, version)| version)
        .collect();
    assert_eq!(versions, [1, 2, 5]);
    let read: i64 = until("the position to be told", async || {
        let read = replica.positions().values().sum();
        (read == 6).then_some(read)
    })
    .await;
    assert_eq!(read, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_slow_is_told_so() {
    let bench = Bench::new().await;
    let small = Window {
        bytes: 10 * 1024,
        ..Window::default()
    };
    let replica = Broadcast::new(EVENTS, &[ThingNoted::TOPIC, OtherCounted::TOPIC], small);
    let mut slow = replica.subscribe();
    let reader = replica.clone();
    let _running = bench
        .replica(|rt, db, kafka| {
            spawn_relay(rt, db, kafka.clone());
            rt.spawn("broadcast", |stop| reader.run(kafka, stop));
        })
        .await;
    let mut conn = bench.connect().await;
    for _ in 0..100 {
        count(&mut conn, "a").await;
    }
    until("the last event", async || {
        (replica.positions().values().sum::<i64>() == 100).then_some(())
    })
    .await;
    let missed = slow.next().await.unwrap_err().0;
    let next = slow.next().await.unwrap().meta.version;
    assert_eq!(u64::try_from(next).unwrap(), missed + 1);
}
