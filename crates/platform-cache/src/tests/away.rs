//! Redis may be away, stand still, forget everything.

use std::time::Instant;

use platform_testkit::{NO_REDIS, RedisProcess};

use super::*;
use crate::Unavailable;
use crate::owed::OWED_MAX;

fn with_timeout(vars: Vars, timeout: &str) -> Vars {
    let timeout = ("REDIS_TIMEOUT".to_owned(), timeout.to_owned());
    vars.into_iter().chain([timeout]).collect()
}

#[tokio::test]
async fn without_redis_everything_is_loaded_at_once() {
    let table = Table::default();
    table.set(1, 1, "one");
    let vars = Vars::from([("REDIS_URL".to_owned(), NO_REDIS.to_owned())]);
    let replica = Replica::without(&vars, &table);
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(replica.get(1).await, some("one"));
    }
    let took = began.elapsed();
    // The timeout is ten seconds.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(table.queries().len(), 1000);
}

#[tokio::test]
async fn a_redis_that_stands_still_costs_a_few_timeouts_and_is_found_again() {
    let redis = RedisProcess::start();
    let table = Table::default();
    table.set(1, 1, "one");
    let vars = with_timeout(redis.vars(), "50ms");
    let replica = Replica::new(&vars, &table).await;
    replica.get(1).await;

    redis.pause();
    let began = Instant::now();
    let mut slow = 0;
    for _ in 0..1000 {
        let asked = Instant::now();
        assert_eq!(replica.get(1).await, some("one"));
        slow += usize::from(asked.elapsed() >= Duration::from_millis(50));
    }
    assert!(slow <= 5, "{slow} reads have waited");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!replica.redis.there());

    redis.resume();
    until("redis", async || replica.redis.there().then_some(())).await;
    let queries = table.queries().len();
    until("hits", async || {
        replica.get(1).await;
        let hits = replica.reads("hit");
        replica.get(1).await;
        (replica.reads("hit") > hits).then_some(())
    })
    .await;
    assert!(table.queries().len() <= queries + 2);
}

#[tokio::test]
async fn kill_9_and_a_new_start_are_no_error() {
    let redis = RedisProcess::start();
    let table = Table::default();
    table.set(1, 1, "one");
    let replica = Replica::new(&redis.vars(), &table).await;
    for _ in 0..3 {
        redis.kill();
        let limit = Duration::from_secs(5);
        assert_eq!(within(limit, replica.get(1)).await, some("one"));
        assert_eq!(within(limit, replica.get(1)).await, some("one"));
        redis.run();
        until("redis", async || replica.redis.there().then_some(())).await;
        replica.get(1).await;
        let hits = replica.reads("hit");
        assert_eq!(replica.get(1).await, some("one"));
        assert_eq!(replica.reads("hit"), hits + 1);
    }
}

#[tokio::test]
async fn a_write_while_redis_stands_still_is_seen_here_at_once_and_elsewhere_when_it_is_back() {
    let redis = RedisProcess::start();
    let table = Table::default();
    table.set(1, 1, "old");
    let vars = with_timeout(redis.vars(), "50ms");
    let [a, b] = [
        Replica::new(&vars, &table).await,
        Replica::new(&vars, &table).await,
    ];
    a.get(1).await;

    redis.pause();
    until("redis to be away", async || {
        a.get(1).await;
        (!a.redis.there()).then_some(())
    })
    .await;
    table.set(1, 2, "new");
    a.invalidate(1, 2).await;
    assert_eq!(a.get(1).await, some("new"));
    redis.resume();
    // In the moment in which Redis is back, too.
    until("redis", async || {
        assert_eq!(a.get(1).await, some("new"));
        a.redis.there().then_some(())
    })
    .await;
    assert_eq!(a.get(1).await, some("new"));
    until("the other to see it", async || {
        (b.get(1).await == some("new")).then_some(())
    })
    .await;
    reads_of_all(&[a, b], 1, |read| assert_eq!(read, some("new"))).await;
}

#[tokio::test]
async fn an_invalidation_whose_request_is_given_up_takes_place() {
    let redis = RedisProcess::start();
    let table = Table::default();
    table.set(1, 1, "old");
    let vars = with_timeout(redis.vars(), "10s");
    let [a, b] = [
        Replica::new(&vars, &table).await,
        Replica::new(&vars, &table).await,
    ];
    a.get(1).await;
    table.set(1, 2, "new");
    redis.pause();
    let given_up = tokio::time::timeout(Duration::from_millis(1), a.invalidate(1, 2)).await;
    assert!(given_up.is_err());
    // What was sent is lost with it.
    redis.kill();
    redis.run();
    until("redis to be told", async || {
        use fred::interfaces::KeysInterface;
        let key = b.redis.key("test:1");
        let held = b.redis.ask("GET", |client| async move {
            client.get::<Option<Vec<u8>>, _>(key).await
        });
        (held.await.ok()?? == b"m\0\0\0\0\0\0\0\x02").then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_too_much_to_remember_nothing_is_read_until_all_has_expired() {
    let redis = RedisProcess::start();
    let table = Table::default();
    table.set(1, 1, "old");
    let vars = with_timeout(redis.vars(), "50ms");
    let mut replica = Replica::new(&vars, &table).await;
    let life_max = Duration::from_secs(1);
    replica.cache = Cache::new(
        &replica.redis,
        Settings {
            life_max,
            ..SETTINGS
        },
    );
    replica.get(1).await;
    redis.pause();
    until("redis to be away", async || {
        replica.get(1).await;
        (!replica.redis.there()).then_some(())
    })
    .await;
    for id in 0..OWED_MAX as u32 {
        replica.invalidate(1000 + id, 1).await;
    }
    table.set(1, 2, "new");
    replica.invalidate(1, 2).await;
    let hits = replica.reads("hit");
    redis.resume();
    until("hits", async || {
        assert_eq!(replica.get(1).await, some("new"));
        (replica.reads("hit") > hits).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_more_commands_are_under_way_than_may_be() {
    let redis = RedisProcess::start();
    let max = ("REDIS_COMMANDS_MAX".to_owned(), "2".to_owned());
    let vars: Vars = redis.vars().into_iter().chain([max]).collect();
    let replica = Arc::new(Replica::new(&vars, &Table::default()).await);
    redis.pause();
    let ask = || {
        let redis = replica.redis.clone();
        tokio::spawn(async move {
            use fred::interfaces::KeysInterface;
            let key = redis.key("x");
            redis
                .ask("GET", |client| async move {
                    client.get::<Option<String>, _>(key).await
                })
                .await
        })
    };
    let asked: Vec<_> = (0..10).map(|_| ask()).collect();
    until("all but two to be refused", async || {
        let done = asked.iter().filter(|ask| ask.is_finished()).count();
        (done == 8).then_some(())
    })
    .await;
    redis.resume();
    let mut answered = 0;
    for ask in asked {
        match ask.await.unwrap() {
            Ok(None) => answered += 1,
            Err(Unavailable::Busy) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answered, 2);
}
