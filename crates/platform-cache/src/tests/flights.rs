//! Many who miss the same key make one query.

use super::*;
use crate::flights::Flights;

#[tokio::test]
async fn a_thousand_who_miss_the_same_key_at_once_make_one_query_in_each_replica() {
    let table = Table::default();
    table.set(1, 1, "one");
    let replicas = replicas(&table).await.map(Arc::new);
    for (count, replica) in replicas.iter().enumerate() {
        // Others have not stored it yet.
        let (held, open) = replica.held(1).await;
        let readers: Vec<_> = (0..999)
            .map(|_| {
                let replica = Arc::clone(replica);
                tokio::spawn(async move { replica.get(1).await })
            })
            .collect();
        until("all to wait", async || {
            (replica.reads("shared") == 999).then_some(())
        })
        .await;
        assert_eq!(table.queries().len(), count + 1);
        open();
        assert_eq!(held.await.unwrap(), some("one"));
        for reader in readers {
            assert_eq!(reader.await.unwrap(), some("one"));
        }
        assert_eq!(table.queries().len(), count + 1);
        replica.invalidate(1, count as i64 + 2).await;
        table.set(1, count as i64 + 2, "one");
    }
}

#[tokio::test]
async fn a_thousand_at_once_make_one_query_however_they_meet() {
    let table = Table::default();
    table.set(1, 1, "one");
    let [a, _] = replicas(&table).await;
    let a = Arc::new(a);
    let readers: Vec<_> = (0..1000)
        .map(|_| {
            let a = Arc::clone(&a);
            tokio::spawn(async move { a.get(1).await })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), some("one"));
    }
    assert_eq!(table.queries().len(), 1);
}

#[tokio::test]
async fn replicas_that_load_the_same_key_do_not_take_it_from_each_other() {
    let table = Table::default();
    table.set(1, 1, "one");
    let replicas = replicas(&table).await.map(Arc::new);
    let (held_a, open_a) = replicas[0].held(1).await;
    let (held_b, open_b) = replicas[1].held(1).await;
    let mut readers = Vec::new();
    // One after the other: each comes after both loads have begun.
    for count in 0..20 {
        let replica = Arc::clone(&replicas[count % 2]);
        let before = replica.reads("shared");
        let reader = Arc::clone(&replica);
        readers.push(tokio::spawn(async move { reader.get(1).await }));
        until("it to wait", async || {
            let loads = table.queries().len() > 2;
            (loads || replica.reads("shared") > before).then_some(())
        })
        .await;
        assert_eq!(table.queries().len(), 2);
    }
    open_a();
    open_b();
    for reader in readers.into_iter().chain([held_a, held_b]) {
        assert_eq!(reader.await.unwrap(), some("one"));
    }
    assert_eq!(table.queries().len(), 2);
}

#[tokio::test]
async fn batches_that_overlap_wait_for_each_other_and_not_for_ever() {
    let table = Table::default();
    let all: Vec<u32> = (0..40).collect();
    for id in &all {
        table.set(*id, 1, &id.to_string());
    }
    let [a, b] = replicas(&table).await;
    let backwards: Vec<u32> = all.iter().rev().copied().collect();
    let reads = async {
        tokio::join!(
            a.get_all(&all),
            a.get_all(&backwards),
            b.get_all(&all),
            a.get_all(&all[..20]),
        )
    };
    let (one, two, three, four) = within(Duration::from_secs(10), reads).await;
    let expected: Vec<_> = all.iter().map(|id| Some(id.to_string())).collect();
    assert_eq!(one, expected);
    assert!(two.iter().rev().eq(&expected));
    assert_eq!(three, expected);
    assert_eq!(four, expected[..20]);
}

#[tokio::test]
async fn who_shared_a_load_that_was_given_up_loads_instead() {
    let table = Table::default();
    table.set(1, 1, "one");
    let [a, _] = replicas(&table).await;
    let a = Arc::new(a);
    let (held, _open) = a.held(1).await;
    let reader = tokio::spawn({
        let a = Arc::clone(&a);
        async move { a.get(1).await }
    });
    until("it to wait", async || {
        (a.reads("shared") == 1).then_some(())
    })
    .await;
    held.abort();
    let limit = Duration::from_secs(10);
    assert_eq!(within(limit, reader).await.unwrap(), some("one"));
    assert_eq!(table.queries().len(), 2);
}

#[tokio::test]
async fn a_load_that_fails_is_tried_by_each_who_shared_it_and_stores_nothing() {
    let table = Table::default();
    table.set(1, 1, "one");
    let [a, _] = replicas(&table).await;
    table.0.failing.store(1, Ordering::SeqCst);
    let gate = tokio::sync::Semaphore::new(0);
    let read = async || {
        let load = async |ids| {
            let fails = table.0.failing.swap(0, Ordering::SeqCst) == 1;
            if fails {
                let _ = gate.acquire().await;
                return Err("the database is away");
            }
            Ok(table.select(ids))
        };
        a.cache
            .get(&[1], load)
            .await
            .map(|mut found| found.remove(0))
    };
    let open = async {
        until("it to wait", async || {
            (a.reads("shared") == 1).then_some(())
        })
        .await;
        gate.add_permits(1);
    };
    let late = async {
        until("the first to load", async || {
            (a.reads("miss") == 1).then_some(())
        })
        .await;
        read().await
    };
    let (first, second, ()) = tokio::join!(read(), late, open);
    assert_eq!(first, Err("the database is away"));
    assert_eq!(second, Ok(some("one")));
    assert_eq!(a.get(1).await, some("one"));
}

#[test]
fn a_load_serves_whom_its_select_cannot_disappoint() {
    let flights = Flights::<String>::new();
    let [ours, others] = [[1; 16], [2; 16]];
    let shared = |arrival, found| {
        let (_lead, seats) = flights.board(arrival, vec![(0, "key".to_owned(), found)]);
        seats.len() == 1
    };
    let early = flights.arrive();
    let (lead, _) = flights.board(early, vec![(0, "key".to_owned(), None)]);
    // Its SELECT has not begun.
    let later = flights.arrive();
    assert!(shared(later, None));
    lead.begins("key", Some(ours));
    // They came before, whatever they found.
    assert!(shared(later, None));
    assert!(shared(later, Some(others)));
    let late = flights.arrive();
    assert!(shared(late, Some(ours)));
    assert!(!shared(late, Some(others)));
}
