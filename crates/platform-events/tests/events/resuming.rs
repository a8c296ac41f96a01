//! From one replica to another, without a hole.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use platform::Running;
use platform_contract::Event;
use platform_events::Broadcast;
use platform_events::broadcast::{Gone, Missed, Place, Subscription, Window};
use platform_testkit::until;

use crate::support::{Bench, EVENTS, Raw, ThingCounted, counted};

const PATIENCE: Duration = Duration::from_secs(20);

/// One that reads, with its task.
async fn replica(bench: &Bench, window: Window) -> (Broadcast, Running) {
    let replica = Broadcast::new(EVENTS, &[ThingCounted::TOPIC], window);
    let reader = replica.clone();
    let running = bench
        .replica(|rt, _, kafka| rt.spawn("broadcast", |stop| reader.run(kafka, stop)))
        .await;
    replica.caught_up().await;
    (replica, running)
}

async fn produce(bench: &Bench, events: &[(&str, i64)]) {
    let events = events.iter();
    let messages = events.map(|(key, version)| Raw::good(&counted(key, *version)));
    bench.produce::<ThingCounted>(messages.collect()).await;
}

async fn next(subscription: &mut Subscription) -> (String, i64) {
    let next = tokio::time::timeout(PATIENCE, subscription.next());
    let received = next.await.expect("another event").expect("none missed");
    let event = received.event::<ThingCounted>().unwrap().unwrap();
    (event.thing_id, event.version)
}

async fn heard(subscription: &mut Subscription, count: usize) -> Vec<(String, i64)> {
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(next(subscription).await);
    }
    heard
}

/// As a cursor would carry it.
fn carried(place: &Place) -> Place {
    serde_json::from_value(serde_json::to_value(place).unwrap()).unwrap()
}

async fn read(replica: &Broadcast, count: i64) {
    until("the log to be read", async || {
        (replica.positions().values().sum::<i64>() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_of_one_replica_is_taken_up_at_one_that_began_earlier_and_at_one_that_began_later()
{
    let bench = Bench::new().await;
    bench.make_topics().await;
    let (early, _early) = replica(&bench, Window::default()).await;
    produce(&bench, &[("a", 1), ("b", 1)]).await;
    read(&early, 2).await;
    let (middle, _middle) = replica(&bench, Window::default()).await;
    let mut all = middle.subscribe_to_new();
    let mut of_a = middle.follow("a");
    let [start_of_all, start_of_a] = [&all, &of_a].map(|one| carried(&one.place()));
    produce(&bench, &[("a", 2), ("b", 2), ("a", 3), ("a", 4), ("b", 3)]).await;
    let mut after_two = Vec::new();
    for subscription in [&mut all, &mut of_a] {
        heard(subscription, 2).await;
        after_two.push(carried(&subscription.place()));
    }
    let rest_of_all = heard(&mut all, 3).await;

    let (late, _late) = replica(&bench, Window::default()).await;
    for replica in [&early, &middle, &late] {
        let mut resumed = replica.resume(&start_of_all, None, PATIENCE).await.unwrap();
        let of_b: Vec<i64> = heard(&mut resumed, 5)
            .await
            .into_iter()
            .filter(|(key, _)| key == "b")
            .map(|(_, version)| version)
            .collect();
        assert_eq!(of_b, [2, 3]);

        let mut resumed = replica.resume(&after_two[0], None, PATIENCE).await.unwrap();
        let mut rest = heard(&mut resumed, 3).await;
        let mut expected = rest_of_all.clone();
        rest.sort();
        expected.sort();
        assert_eq!(rest, expected);

        for (place, versions) in [(&start_of_a, &[2, 3, 4][..]), (&after_two[1], &[4])] {
            let mut resumed = replica.resume(place, Some("a"), PATIENCE).await.unwrap();
            for version in versions {
                assert_eq!(next(&mut resumed).await, ("a".to_owned(), *version));
            }
        }
    }
    // And on, for one that has seen all.
    let mut resumed = early.resume(&all.place(), None, PATIENCE).await.unwrap();
    produce(&bench, &[("c", 1)]).await;
    assert_eq!(next(&mut resumed).await, ("c".to_owned(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_knows_the_last_event_of_a_log_in_which_nothing_happens() {
    let bench = Bench::new().await;
    bench.make_topics().await;
    let (old, _old) = replica(&bench, Window::default()).await;
    let mut all = old.subscribe_to_new();
    let mut of_a = old.follow("a");
    produce(&bench, &[("a", 1), ("b", 1)]).await;
    heard(&mut all, 2).await;
    next(&mut of_a).await;
    // As if it had been long ago.
    let nothing = Window {
        age: Duration::ZERO,
        ..Window::default()
    };
    let (new, _new) = replica(&bench, nothing).await;
    until("what was before to be dropped", async || {
        let mut kept = new.subscribe();
        let waker = Waker::noop();
        let none = pin!(kept.next()).poll(&mut Context::from_waker(waker));
        none.is_pending().then_some(())
    })
    .await;
    let mut all = new.resume(&all.place(), None, PATIENCE).await.unwrap();
    let mut of_a = new
        .resume(&of_a.place(), Some("a"), PATIENCE)
        .await
        .unwrap();
    produce(&bench, &[("a", 2)]).await;
    assert_eq!(next(&mut all).await, ("a".to_owned(), 2));
    assert_eq!(next(&mut of_a).await, ("a".to_owned(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_waits_until_it_has_read_as_far() {
    let bench = Bench::new().await;
    bench.make_topics().await;
    let (ahead, _ahead) = replica(&bench, Window::default()).await;
    let mut of_a = ahead.follow("a");
    produce(&bench, &[("a", 1), ("a", 2)]).await;
    heard(&mut of_a, 1).await;
    let place = of_a.place();

    let behind = Broadcast::new(EVENTS, &[ThingCounted::TOPIC], Window::default());
    let mut resumed = pin!(behind.resume(&place, Some("a"), PATIENCE));
    let polled = futures_util::poll!(&mut resumed);
    assert!(polled.is_pending(), "it has read nothing");
    let reader = behind.clone();
    let _running = bench
        .replica(|rt, _, kafka| rt.spawn("broadcast", |stop| reader.run(kafka, stop)))
        .await;
    let mut resumed = resumed.await.unwrap();
    assert_eq!(next(&mut resumed).await, ("a".to_owned(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_too_old_or_beyond_the_end_or_of_another_event_is_gone() {
    let bench = Bench::new().await;
    bench.make_topics().await;
    let (large, _large) = replica(&bench, Window::default()).await;
    let mut of_a = large.follow("a");
    produce(&bench, &[("a", 1), ("a", 2), ("a", 3), ("a", 4)]).await;
    heard(&mut of_a, 1).await;
    let place = of_a.place();
    let keep_one = Window {
        bytes: 0,
        ..Window::default()
    };
    let (small, _small) = replica(&bench, keep_one).await;
    let resume = async |replica: &Broadcast, place: &Place| {
        let resumed = replica.resume(place, Some("a"), Duration::from_millis(300));
        resumed.await.map(|_| ())
    };
    assert_eq!(resume(&large, &place).await, Ok(()));
    assert_eq!(resume(&small, &place).await, Err(Gone));

    let mut spoilt = serde_json::to_value(&place).unwrap();
    spoilt["last"]["id"] = serde_json::json!(uuid::Uuid::now_v7());
    let another: Place = serde_json::from_value(spoilt.clone()).unwrap();
    assert_eq!(resume(&large, &another).await, Err(Gone));
    spoilt["last"] = serde_json::Value::Null;
    for (_, next) in spoilt["next"].as_object_mut().unwrap() {
        *next = serde_json::json!(5);
    }
    let beyond: Place = serde_json::from_value(spoilt).unwrap();
    assert_eq!(resume(&large, &beyond).await, Err(Gone));
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_key_sleeps_while_others_have_events() {
    let bench = Bench::new().await;
    bench.make_topics().await;
    let (replica, _running) = replica(&bench, Window::default()).await;
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    let mut of_a = replica.follow("a");
    let mut sleeping = pin!(of_a.next());
    assert!(sleeping.as_mut().poll(&mut context).is_pending());

    let others: Vec<_> = (1..=50).map(|version| ("b", version)).collect();
    produce(&bench, &others).await;
    read(&replica, 50).await;
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
    produce(&bench, &[("a", 1)]).await;
    until("the follower to be woken", async || {
        (wakes.0.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    let Poll::Ready(Ok(event)) = sleeping.poll(&mut context) else {
        panic!("woken for nothing");
    };
    assert_eq!(event.meta.key, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_when_the_log_was_made_anew() {
    let bench = Bench::new().await;
    bench.make_topics().await;
    let (replica, _running) = replica(&bench, Window::default()).await;
    let mut all = replica.subscribe_to_new();
    let mut of_a = replica.follow("a");
    produce(&bench, &[("a", 1), ("a", 2), ("a", 3), ("b", 1)]).await;
    heard(&mut all, 4).await;
    heard(&mut of_a, 3).await;
    let place = of_a.place();
    bench.delete_topics().await;
    bench.make_topics().await;
    produce(&bench, &[("a", 1)]).await;
    for subscription in [&mut all, &mut of_a] {
        let told = tokio::time::timeout(Duration::from_secs(60), subscription.next());
        told.await.unwrap().unwrap_err();
        assert_eq!(next(subscription).await, ("a".to_owned(), 1));
    }
    produce(&bench, &[("a", 2), ("a", 3)]).await;
    heard(&mut of_a, 2).await;
    let resumed = replica.resume(&place, Some("a"), PATIENCE).await;
    assert_eq!(resumed.err(), Some(Gone));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_called_for_everything_before_anybody_hears_it_however_little_is_kept() {
    let bench = Bench::new().await;
    bench.make_topics().await;
    let messages: Vec<Raw> = (1..=500)
        .map(|version| Raw::good(&counted("a", version)))
        .collect();
    bench.produce::<ThingCounted>(messages).await;
    let nothing = Window {
        bytes: 0,
        ..Window::default()
    };
    let count = Arc::new(AtomicUsize::new(0));
    let counting = count.clone();
    let replica = Broadcast::new(EVENTS, &[ThingCounted::TOPIC], nothing).each(move |event| {
        let before = counting.fetch_add(1, Ordering::SeqCst);
        assert_eq!(usize::try_from(event.meta.version).unwrap(), before + 1);
    });
    let mut all = replica.subscribe();
    let reader = replica.clone();
    let _running = bench
        .replica(|rt, _, kafka| rt.spawn("broadcast", |stop| reader.run(kafka, stop)))
        .await;
    loop {
        let version = match all.next().await {
            Ok(event) => event.meta.version,
            Err(Missed(_)) => continue,
        };
        assert!(count.load(Ordering::SeqCst) >= usize::try_from(version).unwrap());
        if version == 500 {
            break;
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 500);
}
