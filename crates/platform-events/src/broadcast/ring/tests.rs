use platform::trace::TraceContext;
use platform_contract::EventType;
use uuid::Uuid;

use super::*;
use crate::{Actor, Meta};

static EVENT: EventType = EventType {
    name: "offer.published",
    topic: "events.offer",
    source: "/homeward/catalog",
    key: "offer_id",
    schema: "homeward.catalog.v1.OfferPublished",
    voids: None,
};

/// Of 1,000 bytes, in partition 0.
fn received(key: &str, version: i64) -> Received {
    Received {
        meta: Meta {
            id: Uuid::now_v7(),
            event: &EVENT,
            key: key.to_owned(),
            version,
            time: platform::time::now(),
            actor: Actor::nobody(),
            trace: TraceContext::new(),
            partition: 0,
            offset: version,
        },
        payload: vec![0; 488],
    }
}

fn ring(bytes: usize) -> Ring {
    Ring::new(Window {
        age: Duration::from_secs(10),
        bytes,
    })
}

fn key_of(key: &str) -> Key {
    (EVENT.topic, key.to_owned())
}

/// A log that several rings read: key, version, partition.
fn log(events: &[(&str, i64, i32)]) -> Vec<Received> {
    let mut ends = BTreeMap::new();
    let mut log = Vec::new();
    for (key, version, partition) in events {
        let end = ends.entry(*partition).or_insert(0);
        let mut event = received(key, *version);
        (event.meta.partition, event.meta.offset) = (*partition, *end);
        *end += 1;
        log.push(event);
    }
    log
}

fn copy(event: &Received) -> Received {
    Received {
        meta: event.meta.clone(),
        payload: event.payload.clone(),
    }
}

/// Reads these events of a log of two partitions.
fn read<'a>(ring: &mut Ring, events: impl IntoIterator<Item = &'a Received>) {
    for event in events {
        ring.advance((EVENT.topic, event.meta.partition), event.meta.offset);
        ring.push(copy(event), Instant::now());
    }
}

fn two_partitions(bytes: usize) -> Ring {
    let mut ring = ring(bytes);
    ring.begin((EVENT.topic, 0), 0);
    ring.begin((EVENT.topic, 1), 0);
    ring
}

/// What a subscription at the mark hears.
fn heard(ring: &Ring, mut mark: Mark, key: Option<&Key>) -> Vec<(String, i64)> {
    let mut heard = Vec::new();
    while let Some(event) = ring.get(key, mark.number).unwrap() {
        mark.number += 1;
        if mark.pass(&event, key.is_some()) {
            heard.push((event.meta.key.clone(), event.meta.version));
        }
    }
    heard
}

/// Behind this event, as one who hears everything has it.
fn behind(ring: &Ring, events: usize) -> Mark {
    let mut mark = ring.oldest(None);
    for _ in 0..events {
        let event = ring.get(None, mark.number).unwrap().unwrap();
        mark.number += 1;
        assert!(mark.pass(&event, false));
    }
    mark.number = u64::MAX;
    mark
}

#[test]
fn the_oldest_go_when_there_are_too_many_bytes() {
    let (mut ring, now) = (ring(2500), Instant::now());
    for version in 1..=5 {
        assert!(ring.push(received("a", version), now));
    }
    assert_eq!((ring.events.start(), ring.events.end()), (3, 5));
    assert_eq!(ring.get(None, 2).unwrap_err(), Missed(1));
    assert!(ring.get(None, 5).unwrap().is_none());
    assert_eq!(ring.get(None, 3).unwrap().unwrap().meta.version, 4);
}

#[test]
fn the_oldest_go_with_time() {
    let (mut ring, now) = (ring(1_000_000), Instant::now());
    ring.push(received("a", 1), now);
    ring.push(received("a", 2), now + Duration::from_secs(8));
    ring.evict(now + Duration::from_secs(11));
    assert_eq!((ring.events.start(), ring.events.end()), (1, 2));
}

#[test]
fn a_repeat_is_not_kept_and_a_forgotten_key_costs_nothing() {
    let (mut ring, now) = (ring(1_000_000), Instant::now());
    assert!(ring.push(received("a", 2), now));
    assert!(!ring.push(received("a", 2), now));
    assert!(!ring.push(received("a", 1), now));
    assert!(ring.push(received("b", 1), now));
    assert_eq!(ring.events.end(), 2);
    ring.evict(now + Duration::from_secs(11));
    assert!(ring.keys.is_empty());
    assert_eq!(ring.bytes, 0);
}

#[test]
fn who_follows_a_key_hears_its_events_and_leaves_nothing_behind() {
    let mut ring = two_partitions(1_000_000);
    let key = key_of("a");
    let mark = ring.newest(Some(&key));
    ring.follow(&key);
    ring.follow(&key);
    read(
        &mut ring,
        &log(&[("b", 1, 0), ("a", 1, 0), ("b", 2, 0), ("a", 2, 0)]),
    );
    let expected = [("a".to_owned(), 1), ("a".to_owned(), 2)];
    assert_eq!(heard(&ring, mark, Some(&key)), expected);

    ring.unfollow(&key);
    ring.evict(Instant::now() + Duration::from_secs(11));
    assert!(ring.keys.contains_key(&key), "one still follows");
    ring.unfollow(&key);
    assert!(ring.keys.is_empty());
}

#[test]
fn who_follows_a_key_misses_its_own_events_only() {
    let mut ring = two_partitions(2500);
    let [a, b] = ["a", "b"].map(key_of);
    let [of_a, of_b] = [&a, &b].map(|key| {
        ring.follow(key);
        ring.newest(Some(key)).number
    });
    let log = log(&[("b", 1, 0), ("b", 2, 0), ("b", 3, 0), ("a", 1, 0)]);
    read(&mut ring, &log);
    assert_eq!(ring.get(Some(&b), of_b).unwrap_err(), Missed(2));
    let event = ring.get(Some(&a), of_a).unwrap().unwrap();
    assert_eq!(event.meta.version, 1);
}

#[test]
fn a_place_is_taken_up_where_the_partitions_were_read_in_another_order() {
    let log = log(&[
        ("a", 1, 0),
        ("a", 2, 0),
        ("b", 1, 1),
        ("b", 2, 1),
        ("a", 3, 0),
    ]);
    let [mut here, mut there] = [(); 2].map(|()| two_partitions(1_000_000));
    read(&mut here, &log);
    read(&mut there, [2, 0, 3, 1, 4].map(|n: usize| &log[n]));
    let all = ["a1", "a2", "b1", "b2", "a3"];
    for count in 0..=5 {
        let found = there.find(behind(&here, count), None).unwrap().unwrap();
        let rest = heard(&there, found, None);
        let mut rest: Vec<_> = rest.iter().map(|(key, n)| format!("{key}{n}")).collect();
        rest.sort();
        let mut expected = all[count..].to_vec();
        expected.sort_unstable();
        assert_eq!(rest, expected, "behind {count}");
    }
}

#[test]
fn a_place_of_a_key_is_taken_up_where_more_and_where_less_is_kept() {
    let log = log(&[
        ("a", 1, 0),
        ("b", 1, 0),
        ("a", 2, 0),
        ("b", 2, 0),
        ("a", 3, 0),
    ]);
    let [mut here, mut more] = [(); 2].map(|()| two_partitions(1_000_000));
    let mut less = two_partitions(2500);
    let a = key_of("a");
    here.follow(&a);
    let mut mark = here.newest(Some(&a));
    for ring in [&mut here, &mut more, &mut less] {
        read(ring, &log);
    }
    let expected: Vec<_> = (1..=3).map(|version| ("a".to_owned(), version)).collect();
    for count in 1..=3 {
        let event = here.get(Some(&a), mark.number).unwrap().unwrap();
        mark.number += 1;
        assert!(mark.pass(&event, true));
        assert_eq!(mark.next.len(), 1, "its own partition");
        let found = more.find(mark.clone(), Some(&a)).unwrap().unwrap();
        assert_eq!(heard(&more, found, Some(&a)), expected[count..]);
        // Which keeps the last two, and knows the one before them: `a` at version 2.
        let found = less.find(mark.clone(), Some(&a));
        match count {
            1 => assert_eq!(found.unwrap_err(), Gone),
            _ => {
                let found = found.unwrap().unwrap();
                assert_eq!(heard(&less, found, Some(&a)), expected[count..]);
            }
        }
    }
}

#[test]
fn a_place_is_gone_when_it_is_too_old_or_of_another_event_and_waits_when_it_is_ahead() {
    let events = [("a", 1, 0), ("b", 1, 1), ("a", 2, 0), ("a", 3, 0)];
    let (one, other) = (log(&events), log(&events));
    let [mut ring, mut behind_one, mut another] = [(); 3].map(|()| two_partitions(1_000_000));
    read(&mut ring, &one);
    read(&mut behind_one, &one[..2]);
    read(&mut another, &other);
    let place = behind(&ring, 3);
    assert!(ring.find(place.clone(), None).unwrap().is_some());
    assert!(behind_one.find(place.clone(), None).unwrap().is_none());
    assert_eq!(another.find(place.clone(), None).unwrap_err(), Gone);

    let mut small = two_partitions(1500);
    read(&mut small, &one);
    assert_eq!(small.find(behind(&ring, 2), None).unwrap_err(), Gone);
    let last = small.find(place.clone(), None).unwrap().unwrap();
    assert_eq!(heard(&small, last, None), [("a".to_owned(), 3)]);
    // What was dropped last is still known for what it was.
    small.evict(Instant::now() + Duration::from_secs(11));
    let end = small.newest(None);
    assert!(end.last.is_some());
    assert!(small.find(end, None).unwrap().is_some());

    let mut partly = place.clone();
    partly.next.remove(&(EVENT.topic, 1));
    assert_eq!(ring.find(partly, None).unwrap_err(), Gone);
    assert!(ring.find(Mark::default(), None).unwrap().is_none());
}

#[test]
fn a_log_made_anew_empties_the_ring_and_nobody_goes_on_as_if_nothing_had_happened() {
    let mut ring = two_partitions(1_000_000);
    let a = key_of("a");
    ring.follow(&a);
    read(&mut ring, &log(&[("a", 1, 0), ("b", 1, 1), ("a", 2, 0)]));
    let [all, of_a] = [ring.newest(None), ring.newest(Some(&a))];
    let other = log(&[("a", 1, 0), ("a", 2, 0), ("a", 3, 0)]);
    read(&mut ring, &other[..1]);
    assert_eq!(ring.get(None, all.number).unwrap_err(), Missed(1));
    assert_eq!(ring.get(Some(&a), of_a.number).unwrap_err(), Missed(1));
    assert_eq!(
        heard(&ring, ring.oldest(Some(&a)), Some(&a)),
        [("a".to_owned(), 1)]
    );
    assert!(
        ring.find(all.clone(), None).unwrap().is_none(),
        "not as far"
    );
    read(&mut ring, &other[1..]);
    assert_eq!(ring.find(all, None).unwrap_err(), Gone);
    assert_eq!(ring.find(of_a, Some(&a)).unwrap_err(), Gone);
}

#[test]
fn what_is_cut_from_the_log_before_it_was_read_is_missed() {
    let mut ring = two_partitions(1_000_000);
    let log = log(&[("a", 1, 0), ("a", 2, 0), ("a", 3, 0)]);
    read(&mut ring, &log[..1]);
    let end = ring.newest(None);
    read(&mut ring, &log[2..]);
    assert_eq!(ring.get(None, end.number).unwrap_err(), Missed(1));
    assert_eq!(ring.find(end, None).unwrap_err(), Gone);
}
