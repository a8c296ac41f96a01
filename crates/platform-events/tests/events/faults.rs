//! What is promised holds whatever is killed, stopped, refused or away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use platform::Running;
use platform_events::parked::{self, Filter};
use platform_events::{Actor, publish};
use platform_testkit::{metric, until, until_within};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use sqlx::{Connection, PgConnection};

use crate::children::{Replica, Role};
use crate::support::{
    Bench, ThingCounted, check_effects, check_log, count, count_in, effects, expected, full,
    places, spawn_relay,
};

/// Deterministic, so that a failure can be had again; which number comes when is not.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Writers that raise versions, two of them on each key at times; answers when all are done.
async fn write(bench: &Bench, events: u64, keys: u64) {
    const WRITERS: u64 = 8;
    /// Events in one transaction, as many services have more than one.
    const TOGETHER: u64 = 5;
    let left = Arc::new(AtomicU64::new(events / TOGETHER));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut conn = bench.connect().await;
        let left = Arc::clone(&left);
        writers.spawn(async move {
            let mut dice = Dice(writer + 1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                // In the order of the keys, so that two writers do not wait for each other.
                let mut chosen: Vec<u64> = (0..TOGETHER).map(|_| dice.roll(keys)).collect();
                chosen.sort_unstable();
                let mut tx = conn.begin().await.unwrap();
                for key in chosen {
                    count_in(&mut tx, &format!("thing-{key}")).await;
                }
                tx.commit().await.unwrap();
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_survives_relays_and_consumers_that_are_killed_and_stopped() {
    let (events, keys, every, stalled) = match full() {
        true => (
            200_000,
            1000,
            Duration::from_secs(2),
            Duration::from_secs(15),
        ),
        false => (
            6_000,
            100,
            Duration::from_millis(700),
            Duration::from_secs(3),
        ),
    };
    let bench = Bench::new().await;
    let mut vars = bench.vars();
    if !full() {
        // A stalled relay loses its lane after two seconds, before it goes on.
        vars.insert("OUTBOX_ACK_TIMEOUT".to_owned(), "500ms".to_owned());
    }
    // Small batches, so that there are many moments to die in.
    vars.insert("OUTBOX_BATCH_MAX".to_owned(), "50".to_owned());
    let roles = [
        Role::Relay,
        Role::Relay,
        Role::Relay,
        Role::Consumer,
        Role::Consumer,
    ];
    let mut replicas = roles.map(|role| Replica::start(role, &vars));
    let mut conn = bench.connect().await;

    let mut dice = Dice(7);
    let began = Instant::now();
    let mut waking: Vec<(Instant, usize)> = Vec::new();
    let mut faults = 0;
    let mut written = Box::pin(write(&bench, events, keys));
    let mut writing = true;
    loop {
        tokio::select! {
            () = &mut written, if writing => writing = false,
            () = tokio::time::sleep(every) => {}
        }
        waking.retain(|(at, index)| {
            let sleeps = *at > Instant::now();
            if !sleeps {
                replicas[*index].go_on();
            }
            sleeps
        });
        let done = !writing && bench.is_sent(&mut conn).await.is_some();
        if done && faults >= 8 && waking.is_empty() {
            break;
        }
        let index = usize::try_from(dice.roll(5)).unwrap();
        if waking.iter().any(|(_, stopped)| *stopped == index) {
            continue;
        }
        faults += 1;
        match dice.roll(5) {
            0 | 1 => {
                replicas[index].kill();
                replicas[index] = Replica::start(roles[index], &vars);
            }
            2 | 3 => {
                replicas[index].stall();
                waking.push((Instant::now() + stalled, index));
            }
            // As when Postgres is started again.
            _ => end_sessions(&mut conn).await,
        }
        assert!(
            began.elapsed() < Duration::from_secs(1800),
            "no end in sight"
        );
    }
    drop(written);

    let expected = expected(&mut conn).await;
    let total = usize::try_from(expected.values().sum::<i64>()).unwrap();
    let log = places(&bench.log::<ThingCounted>().await);
    let repeats = check_log(&log, &expected).unwrap();
    until_within(Duration::from_secs(120), "all effects", async || {
        let parked = parked::list(&mut conn, &Filter::default(), 10)
            .await
            .unwrap();
        assert!(parked.is_empty(), "parked: {parked:?}");
        for replica in &mut replicas {
            replica.assert_runs();
        }
        (effects(&mut conn, "reader").await.len() >= total).then_some(())
    })
    .await;
    check_effects(&effects(&mut conn, "reader").await, &expected).unwrap();
    eprintln!(
        "{total} events, {faults} faults, {repeats} repeats, {:?}",
        began.elapsed()
    );
}

/// Cuts off the database from every replica.
async fn end_sessions(conn: &mut PgConnection) {
    sqlx::query(
        "SELECT pg_terminate_backend(pid)
         FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'shop %'",
    )
    .execute(conn)
    .await
    .unwrap();
}

/// How many lanes the sessions of a service's relay hold right now.
async fn lanes_held(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*)
         FROM pg_stat_activity
         WHERE datname = current_database()
           AND application_name = 'shop outbox-relay'
           AND state = 'idle in transaction'",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_stopped_with_a_lane_in_its_hands_loses_it() {
    let bench = Bench::new().await;
    let mut vars = bench.vars();
    vars.insert("OUTBOX_ACK_TIMEOUT".to_owned(), "1s".to_owned());
    vars.insert("OUTBOX_BATCH_MAX".to_owned(), "20".to_owned());
    let stopped = Replica::start(Role::Relay, &vars);
    let mut conn = bench.connect().await;
    until("the relay to work", async || {
        count(&mut conn, "thing").await;
        (lanes_held(&mut conn).await > 0).then_some(())
    })
    .await;
    // One key, so that all that matters is in one lane.
    let mut waits = 0;
    until("it to be stopped in the middle of a batch", async || {
        for _ in 0..50 {
            count(&mut conn, "thing").await;
        }
        stopped.stall();
        let held = lanes_held(&mut conn).await > 0;
        if !held {
            stopped.go_on();
        }
        waits += 1;
        held.then_some(())
    })
    .await;

    let _other = bench.replica_with(vars, spawn_relay).await;
    for _ in 0..50 {
        count(&mut conn, "thing").await;
    }
    bench.until_sent().await;
    // It wakes up with a batch that others have sent long ago.
    stopped.go_on();
    for _ in 0..50 {
        count(&mut conn, "thing").await;
    }
    bench.until_sent().await;
    let log = places(&bench.log::<ThingCounted>().await);
    check_log(&log, &expected(&mut conn).await).unwrap();
}

/// A mock cluster that fails the n-th request to produce, in the middle of a batch whose messages
/// each go in a request of their own.
async fn fail_in_the_middle(error: RDKafkaRespErr) {
    let mock = MockCluster::new(1).unwrap();
    let bench = Bench::at(mock.bootstrap_servers()).await;
    mock.create_topic(&bench.topic::<ThingCounted>(), 12, 1)
        .unwrap();
    let mut vars = bench.vars();
    vars.insert(
        "KAFKA_OPTIONS".to_owned(),
        "batch.num.messages=1".to_owned(),
    );
    let mut conn = bench.connect().await;
    let mut tx = conn.begin().await.unwrap();
    for number in 0..60 {
        count_in(&mut tx, &format!("thing-{}", number % 3)).await;
    }
    tx.commit().await.unwrap();

    let fine = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    let errors: Vec<RDKafkaRespErr> = (0..40)
        .map(|number| if number % 7 == 4 { error } else { fine })
        .collect();
    mock.request_errors(RDKafkaApiKey::Produce, &errors);
    let relay = bench.replica_with(vars, spawn_relay).await;
    let expected = expected(&mut conn).await;
    // What is refused is held for a while, and sent in the end.
    until("all of it to be sent", async || {
        let log = places(&bench.log::<ThingCounted>().await);
        match check_log(&log, &expected) {
            Err(problem) if problem.contains("comes after") => panic!("{problem}"),
            result => result.ok(),
        }
    })
    .await;
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_for_good_in_mid_batch_leaves_no_hole() {
    fail_in_the_middle(RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_for_unknown_reasons_in_mid_batch_leaves_no_hole() {
    fail_in_the_middle(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_for_a_while_in_mid_batch_leaves_no_hole() {
    fail_in_the_middle(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS).await;
}

async fn set_largest_message(bench: &Bench, bytes: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &bench.brokers)
        .create()
        .unwrap();
    let topic = bench.topic::<ThingCounted>();
    let config = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", bytes);
    let altered = admin
        .alter_configs([&config], &AdminOptions::new())
        .await
        .unwrap();
    assert!(altered[0].is_ok(), "{altered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_broker_refuses_holds_up_its_key_only() {
    let bench = Bench::new().await;
    bench.make_topics().await;
    set_largest_message(&bench, "2000").await;
    let mut conn = bench.connect().await;
    // All keys of one lane, so that nothing but the relay can keep them apart.
    let mut keys: Vec<String> = (0..).map(|n| format!("thing-{n}")).take(200).collect();
    let lane: i16 = 3;
    let mut tx = conn.begin().await.unwrap();
    for key in &keys {
        count_in(&mut tx, key).await;
    }
    let of_lane: Vec<String> =
        sqlx::query_scalar("SELECT key FROM platform.outbox WHERE lane = $1 ORDER BY sequence")
            .bind(lane)
            .fetch_all(&mut *tx)
            .await
            .unwrap();
    tx.rollback().await.unwrap();
    keys.retain(|key| of_lane.contains(key));
    let bad = keys[2].clone();
    for round in 0..3 {
        for key in &keys {
            if *key == bad && round == 1 {
                // One that the broker will not take, whatever it is compressed with.
                let note: String = (0..200).map(|_| uuid::Uuid::now_v7().to_string()).collect();
                let mut tx = conn.begin().await.unwrap();
                let version: i64 = sqlx::query_scalar(
                    "UPDATE things SET version = version + 1 WHERE thing_id = $1 RETURNING version",
                )
                .bind(key)
                .fetch_one(&mut *tx)
                .await
                .unwrap();
                let event = ThingCounted {
                    thing_id: key.clone(),
                    version,
                    note,
                };
                publish(&mut tx, &event, Actor::nobody()).await.unwrap();
                tx.commit().await.unwrap();
            } else {
                count(&mut conn, key).await;
            }
        }
    }
    let _relay = bench.relay().await;
    until("the others to be sent", async || {
        let log = places(&bench.log::<ThingCounted>().await);
        let good = log.iter().filter(|(key, _)| *key != bad).count();
        (good >= 3 * (keys.len() - 1)).then_some(())
    })
    .await;
    let log = places(&bench.log::<ThingCounted>().await);
    assert_eq!(log.iter().filter(|(key, _)| *key == bad).count(), 1);
    let held: Vec<(i64, Option<String>)> = until("the key to be held", async || {
        let held: Vec<(i64, Option<String>)> =
            sqlx::query_as("SELECT version, cause FROM platform.outbox_held ORDER BY version")
                .fetch_all(&mut conn)
                .await
                .unwrap();
        (held.len() == 2).then_some(held)
    })
    .await;
    assert_eq!((held[0].0, held[1].0), (2, 3));
    assert!(held[0].1.is_some() && held[1].1.is_none(), "{held:?}");

    // Once the broker takes it, everything is there, in order.
    set_largest_message(&bench, "1000000").await;
    let expected = expected(&mut conn).await;
    until("the rest to be sent", async || {
        let log = places(&bench.log::<ThingCounted>().await);
        check_log(&log, &expected).ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_is_made_again() {
    let bench = Bench::new().await;
    let _relay = bench.relay().await;
    let mut conn = bench.connect().await;
    count(&mut conn, "a").await;
    bench.until_sent().await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &bench.brokers)
        .create()
        .unwrap();
    let topic = bench.topic::<ThingCounted>();
    admin
        .delete_topics(&[&topic], &AdminOptions::new())
        .await
        .unwrap();
    count(&mut conn, "a").await;
    bench.until_sent().await;
    let log = places(&bench.log::<ThingCounted>().await);
    assert_eq!(log, [("a".to_owned(), 2)]);
}

/// Requests go on without a broker, services start without one, and what was published meanwhile
/// is sent when it is there.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_events_wait_and_nobody_else() {
    let mock = MockCluster::new(1).unwrap();
    let bench = Bench::at(mock.bootstrap_servers()).await;
    mock.create_topic(&bench.topic::<ThingCounted>(), 12, 1)
        .unwrap();
    mock.broker_down(1).unwrap();
    let relay = bench.relay().await;
    let mut conn = bench.connect().await;
    for _ in 0..10 {
        count(&mut conn, "a").await;
    }
    until_given_up(&relay, 3).await;
    assert_eq!(
        lanes_held(&mut conn).await,
        0,
        "nobody holds a lane in order to wait"
    );
    mock.broker_up(1).unwrap();
    bench.until_sent().await;

    // Away in the middle.
    mock.broker_down(1).unwrap();
    for _ in 0..10 {
        count(&mut conn, "a").await;
    }
    until_given_up(&relay, 3).await;
    mock.broker_up(1).unwrap();
    bench.until_sent().await;
    let log = places(&bench.log::<ThingCounted>().await);
    check_log(&log, &expected(&mut conn).await).unwrap();
}

/// Waits until the relay has failed to send so many times more.
async fn until_given_up(relay: &Running, times: u64) {
    let failed = async || metric(relay.admin, "outbox_batches_failed_total", &[]).await;
    let before = failed().await;
    until("batches to be given up", async || {
        (failed().await >= before + times).then_some(())
    })
    .await;
}
