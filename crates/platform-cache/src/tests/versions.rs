//! What is read is never older than what was invalidated before.

use platform_testkit::RedisProcess;

use super::*;

#[tokio::test]
async fn a_reader_held_between_select_and_fill_never_brings_the_old_value_back() {
    let table = Table::default();
    table.set(1, 1, "old");
    let [a, b] = replicas(&table).await;
    let (held, open) = a.held(1).await;
    table.set(1, 2, "new");
    b.invalidate(1, 2).await;
    open();
    held.await.unwrap();
    reads_of_all(&[a, b], 1, |read| assert_eq!(read, some("new"))).await;
}

#[tokio::test]
async fn nor_if_redis_forgets_everything_meanwhile() {
    let redis = RedisProcess::start();
    let table = Table::default();
    table.set(1, 1, "old");
    let a = Replica::new(&redis.vars(), &table).await;
    let b = Replica::new(&redis.vars(), &table).await;
    let (held, open) = a.held(1).await;
    table.set(1, 2, "new");
    b.invalidate(1, 2).await;
    redis.flush();
    open();
    held.await.unwrap();
    assert_eq!(a.fills("refused"), 1);

    // Also where another load has left its mark meanwhile.
    table.set(1, 1, "old");
    let (held, open) = a.held(1).await;
    table.set(1, 2, "new");
    b.invalidate(1, 2).await;
    redis.flush();
    let (other, open_other) = b.held(1).await;
    open();
    held.await.unwrap();
    assert_eq!(a.fills("refused"), 2);
    open_other();
    assert_eq!(other.await.unwrap(), some("new"));
    reads_of_all(&[a, b], 1, |read| assert_eq!(read, some("new"))).await;
}

#[tokio::test]
async fn who_comes_after_a_write_does_not_share_a_load_from_before_it() {
    let table = Table::default();
    table.set(1, 1, "old");
    let replicas = replicas(&table).await;
    let (held, open) = replicas[0].held(1).await;
    table.set(1, 2, "new");
    replicas[1].invalidate(1, 2).await;
    let limit = Duration::from_secs(10);
    assert_eq!(within(limit, replicas[0].get(1)).await, some("new"));
    open();
    held.await.unwrap();
    reads_of_all(&replicas, 1, |read| assert_eq!(read, some("new"))).await;
}

#[tokio::test]
async fn what_a_database_that_lags_behind_says_is_not_stored() {
    let table = Table::default();
    table.set(1, 1, "old");
    let [a, b] = replicas(&table).await;
    a.get(1).await;
    b.invalidate(1, 2).await;
    // Read from where the write has not arrived.
    a.get(1).await;
    assert_eq!((a.fills("stored"), a.fills("refused")), (1, 1));
    table.set(1, 2, "new");
    reads_of_all(&[a, b], 1, |read| assert_eq!(read, some("new"))).await;
    assert_eq!(table.queries().len(), 3);
}

#[tokio::test]
async fn what_did_not_exist_is_invalidated_as_well() {
    let table = Table::default();
    let [a, b] = replicas(&table).await;
    assert_eq!(a.get(1).await, None);
    table.set(1, 1, "new");
    b.invalidate(1, 1).await;
    assert_eq!(a.get(1).await, some("new"));
}

#[tokio::test]
async fn repeated_and_late_invalidations_take_nothing_away() {
    let table = Table::default();
    table.set(1, 3, "three");
    let [a, b] = replicas(&table).await;
    a.get(1).await;
    for version in [1, 3, 2, 3] {
        b.invalidate(1, version).await;
        assert_eq!(a.get(1).await, some("three"));
    }
    assert_eq!(table.queries().len(), 1);

    // Nor does one that repeats what is known stop a load that began after it.
    b.invalidate(1, 4).await;
    table.set(1, 4, "four");
    let (held, open) = a.held(1).await;
    b.invalidate(1, 4).await;
    open();
    held.await.unwrap();
    assert_eq!(b.get(1).await, some("four"));
    assert_eq!(table.queries().len(), 2);
}

#[tokio::test]
async fn each_version_counts_by_itself() {
    let vars = platform_testkit::redis().vars();
    let replica = Replica::new(&vars, &Table::default()).await;
    let cache: Cache<String, 2> = Cache::new(&replica.redis, SETTINGS);
    let loads = AtomicUsize::new(0);
    let get = async |versions: [i64; 2]| {
        let load = async |ids: Vec<u32>| {
            loads.fetch_add(1, Ordering::Relaxed);
            let loaded = ids.into_iter().map(|key| Loaded {
                key,
                versions,
                value: format!("{versions:?}"),
            });
            Ok::<_, Infallible>(loaded.collect())
        };
        cache.get(&[1], load).await.unwrap().remove(0).unwrap()
    };
    assert_eq!(get([5, 1]).await, "[5, 1]");
    cache.invalidate(1, [4, 0]).await;
    cache.invalidate(1, [0, 1]).await;
    assert_eq!(get([6, 2]).await, "[5, 1]");
    cache.invalidate(1, [0, 2]).await;
    // Newer in one, older in the other.
    assert_eq!(get([6, 1]).await, "[6, 1]");
    assert_eq!(get([5, 2]).await, "[5, 2]");
    assert_eq!(get([9, 9]).await, "[5, 2]");
    assert_eq!(loads.into_inner(), 3);
}
