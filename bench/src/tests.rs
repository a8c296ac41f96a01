//! What an event costs, by count.

use platform_testkit::{TestDb, Vars};

use crate::outbox::{Costs, costs};
use crate::{Config, MIGRATORS};

#[test]
fn the_command_line_is_well_formed() {
    platform::config::debug_assert::<Config>();
}

fn config(db: &TestDb) -> Config {
    let brokers = std::env::var("TEST_KAFKA_BROKERS").expect(
        "TEST_KAFKA_BROKERS is not set: these tests need an Apache Kafka, for example at \
         127.0.0.1:9092; `./homeward test` starts one",
    );
    let mut vars: Vars = db.vars();
    for (name, value) in [
        ("KAFKA_BROKERS", brokers),
        ("RESOURCE_PREFIX", format!("test-{}.", std::process::id())),
        ("SEAL_KEY", platform_testkit::secret()),
    ] {
        vars.insert(name.to_owned(), value);
    }
    platform::config::parse("bench", &vars).unwrap()
}

/// Others on the same server write WAL as well, but they do not always.
async fn cheapest(events: u64, keys: u64) -> Costs {
    let db = platform_testkit::db(MIGRATORS).await;
    let config = config(&db);
    let mut conn = db.connect().await;
    let mut best = costs(&db.url, &config, &mut conn, events, keys)
        .await
        .unwrap();
    for _ in 0..2 {
        let next = costs(&db.url, &config, &mut conn, events, keys)
            .await
            .unwrap();
        for (best, next) in [
            (&mut best.publish, next.publish),
            (&mut best.relay, next.relay),
        ] {
            best.statements = best.statements.min(next.statements);
            best.wal_bytes = best.wal_bytes.min(next.wal_bytes);
        }
    }
    best
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_costs_one_statement_to_publish_and_little_to_send() {
    let Costs { publish, relay } = cheapest(3200, 160).await;
    assert!(publish.statements <= 1.0, "{publish:?}");
    assert!(publish.wal_bytes < 900.0, "{publish:?}");
    // Per batch, which here is what a lane holds: begin, take, read, delete, commit.
    assert!(relay.statements < 0.06, "{relay:?}");
    assert!(relay.wal_bytes < 120.0, "{relay:?}");
}
