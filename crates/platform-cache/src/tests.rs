//! Against a real Redis, with two handles on it as two replicas have them. A map stands for the
//! table of a service.

mod away;
mod flights;
mod traces;
mod versions;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform_testkit::{Vars, until};
use prometheus_client::registry::Registry;

use crate::metrics::{Fill, Read};
use crate::{Cache, Loaded, Redis, RedisArgs, Settings};

const SETTINGS: Settings = Settings {
    name: "test",
    life_max: Duration::from_secs(60),
    value_bytes_max: 1000,
};

/// Rows by id, each with its version.
#[derive(Clone, Default)]
struct Table(Arc<Rows>);

#[derive(Default)]
struct Rows {
    rows: Mutex<HashMap<u32, (i64, String)>>,
    /// Ids of each query.
    queries: Mutex<Vec<Vec<u32>>>,
    failing: AtomicUsize,
}

impl Table {
    fn set(&self, id: u32, version: i64, value: &str) {
        let mut rows = self.0.rows.lock().unwrap();
        rows.insert(id, (version, value.to_owned()));
    }

    fn select(&self, ids: Vec<u32>) -> Vec<Loaded<u32, String, 1>> {
        let rows = self.0.rows.lock().unwrap();
        let found = ids.iter().filter_map(|id| {
            rows.get(id).map(|(version, value)| Loaded {
                key: *id,
                versions: [*version],
                value: value.clone(),
            })
        });
        let found = found.collect();
        self.0.queries.lock().unwrap().push(ids);
        found
    }

    fn queries(&self) -> Vec<Vec<u32>> {
        self.0.queries.lock().unwrap().clone()
    }
}

struct Replica {
    redis: Redis,
    cache: Cache<String, 1>,
    table: Table,
}

impl Replica {
    /// With a Redis that is there.
    async fn new(vars: &Vars, table: &Table) -> Replica {
        let replica = Replica::without(vars, table);
        until("redis", async || replica.redis.there().then_some(())).await;
        replica
    }

    fn without(vars: &Vars, table: &Table) -> Replica {
        let mut all = Vars::from([("REDIS_TIMEOUT".to_owned(), "10s".to_owned())]);
        all.extend(vars.clone());
        let args: RedisArgs = platform::config::parse("test", &all).unwrap();
        let redis = args.connect("test", &mut Registry::default()).unwrap();
        Replica {
            cache: Cache::new(&redis, SETTINGS),
            redis,
            table: table.clone(),
        }
    }

    async fn get(&self, id: u32) -> Option<String> {
        self.get_all(&[id]).await.remove(0)
    }

    async fn get_all(&self, ids: &[u32]) -> Vec<Option<String>> {
        let load = async |ids| Ok::<_, Infallible>(self.table.select(ids));
        self.cache.get(ids, load).await.unwrap()
    }

    /// A read that stands still between its SELECT and what follows; answers what opens it, once
    /// it stands there.
    async fn held(&self, id: u32) -> (Held, impl FnOnce()) {
        let (selected, reached) = tokio::sync::oneshot::channel();
        let (open, opened) = tokio::sync::oneshot::channel::<()>();
        let (cache, table) = (self.cache.clone(), self.table.clone());
        let once = Mutex::new(Some((selected, opened)));
        let read = tokio::spawn(async move {
            let load = |ids| {
                let found = table.select(ids);
                let once = once.lock().unwrap().take();
                async move {
                    if let Some((selected, opened)) = once {
                        let _ = selected.send(());
                        let _ = opened.await;
                    }
                    Ok::<_, Infallible>(found)
                }
            };
            cache.get(&[id], load).await.unwrap().remove(0)
        });
        reached.await.unwrap();
        (read, move || open.send(()).unwrap())
    }

    async fn invalidate(&self, id: u32, version: i64) {
        self.cache.invalidate(id, [version]).await;
    }

    fn reads(&self, outcome: &'static str) -> u64 {
        let cache = SETTINGS.name;
        let reads = &self.redis.metrics().reads;
        reads.get_or_create(&Read { cache, outcome }).get()
    }

    fn fills(&self, outcome: &'static str) -> u64 {
        let cache = SETTINGS.name;
        let fills = &self.redis.metrics().fills;
        fills.get_or_create(&Fill { cache, outcome }).get()
    }
}

type Held = tokio::task::JoinHandle<Option<String>>;

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

async fn replicas(table: &Table) -> [Replica; 2] {
    let vars = platform_testkit::redis().vars();
    [
        Replica::new(&vars, table).await,
        Replica::new(&vars, table).await,
    ]
}

/// Long enough for whatever would come to come; there is nothing to wait for.
async fn reads_of_all(replicas: &[Replica], id: u32, mut each: impl FnMut(Option<String>)) {
    for _ in 0..50 {
        for replica in replicas {
            each(replica.get(id).await);
        }
    }
}

/// As a request with a deadline.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(limit, future).await;
    done.unwrap_or_else(|_| panic!("it took more than {limit:?}"))
}

#[test]
fn the_configuration_is_well_formed() {
    platform::config::debug_assert::<RedisArgs>();
}

#[tokio::test]
async fn a_bad_url_stops_the_start_and_is_not_shown() {
    for url in ["secret", "redis://:secret@", "http://secret"] {
        let vars = Vars::from([("REDIS_URL".to_owned(), url.to_owned())]);
        let args: RedisArgs = platform::config::parse("test", &vars).unwrap();
        let connected = args.connect("test", &mut Registry::default());
        let error = format!("{:#}", connected.err().expect(url));
        assert!(
            error.contains("REDIS_URL") && !error.contains("secret"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_one_replica_has_loaded_the_other_finds() {
    let table = Table::default();
    table.set(1, 1, "one");
    let [a, b] = replicas(&table).await;
    assert_eq!(a.get(1).await, some("one"));
    assert_eq!(b.get(1).await, some("one"));
    assert_eq!(a.get(1).await, some("one"));
    assert_eq!(table.queries(), [[1]]);
}

#[tokio::test]
async fn a_batch_asks_once_for_what_is_missing_and_keeps_its_order() {
    let table = Table::default();
    for id in 0..50 {
        table.set(id, 1, &format!("row {id}"));
    }
    let [a, b] = replicas(&table).await;
    let known: Vec<u32> = (0..50).step_by(3).collect();
    a.get_all(&known).await;

    // Every second one does not exist.
    let asked: Vec<u32> = (0..100).rev().collect();
    let expected: Vec<_> = asked
        .iter()
        .map(|id| (*id < 50).then(|| format!("row {id}")))
        .collect();
    assert_eq!(b.get_all(&asked).await, expected);
    let missing: Vec<u32> = asked
        .iter()
        .copied()
        .filter(|id| !known.contains(id))
        .collect();
    assert_eq!(table.queries(), [known, missing]);
    // What does not exist is known as well.
    assert_eq!(a.get_all(&asked).await, expected);
    assert_eq!(table.queries().len(), 2);
    assert_eq!(a.get_all(&[]).await, []);
    assert_eq!(a.get_all(&[7, 7, 999, 7]).await.len(), 4);
}

#[tokio::test]
async fn keys_are_of_the_installation_and_of_the_service() {
    let redis = platform_testkit::redis();
    let table = Table::default();
    table.set(1, 1, "one");
    let replica = Replica::new(&redis.vars(), &table).await;
    let prefix = &redis.vars()["RESOURCE_PREFIX"];
    assert_eq!(replica.redis.key("x"), format!("{prefix}test:x"));
    replica.get(1).await;
    // Of another installation, which has another table.
    let other = Table::default();
    let [stranger, _] = replicas(&other).await;
    assert_eq!(stranger.get(1).await, None);
}

#[tokio::test]
async fn a_large_value_is_not_stored() {
    let table = Table::default();
    table.set(1, 1, &"x".repeat(SETTINGS.value_bytes_max + 1));
    let [a, _] = replicas(&table).await;
    a.get(1).await;
    a.get(1).await;
    assert_eq!(table.queries().len(), 2);
    assert_eq!(a.fills("large"), 2);
}

#[tokio::test]
async fn what_is_not_ours_is_passed_over() {
    use fred::interfaces::KeysInterface;

    let table = Table::default();
    table.set(1, 1, "one");
    let [a, _] = replicas(&table).await;
    let key = a.redis.key("test:1");
    for bytes in [
        &b"x"[..],
        b"",
        b"v\0\0\0\0\0\0\0\x01\xff\xff",
        b"n\0\0\0\0\0\0\0\x01x",
    ] {
        let life = fred::types::Expiration::EX(60);
        let set = a.redis.ask("SET", |client| {
            let key = key.clone();
            async move {
                client
                    .set::<(), _, _>(key, bytes, Some(life), None, false)
                    .await
            }
        });
        set.await.unwrap();
        assert_eq!(a.get(1).await, some("one"));
    }
}
