use std::pin::pin;

use futures_util::FutureExt;

use super::*;

fn admission(running: usize, waiting: usize) -> Admission {
    aged(running, waiting, Duration::from_secs(60))
}

fn aged(running: usize, waiting: usize, age: Duration) -> Admission {
    Admission::new(AdmissionLimits {
        running,
        waiting,
        age,
    })
}

fn counts(running: usize, waiting: usize, refused: u64) -> Counts {
    Counts {
        running,
        waiting,
        refused,
    }
}

#[tokio::test]
async fn turns_go_by_rank_and_then_by_age() {
    let admission = admission(1, 8);
    let held = admission.admit(Class::List, None).await.unwrap();
    let mut list = pin!(admission.admit(Class::List, None));
    let mut first = pin!(admission.admit(Class::Read, None));
    let mut second = pin!(admission.admit(Class::Read, None));
    let mut mutation = pin!(admission.admit(Class::Mutation, None));
    assert!(list.as_mut().now_or_never().is_none());
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    assert!(mutation.as_mut().now_or_never().is_none());
    assert_eq!(admission.counts(), counts(1, 4, 0));

    drop(held);
    assert!(first.as_mut().now_or_never().is_none());
    drop(mutation.now_or_never().unwrap().unwrap());
    assert!(second.as_mut().now_or_never().is_none());
    drop(first.now_or_never().unwrap().unwrap());
    drop(second.now_or_never().unwrap().unwrap());
    drop(list.now_or_never().unwrap().unwrap());
    assert_eq!(admission.counts(), counts(0, 0, 0));
}

#[tokio::test]
async fn who_matters_more_takes_the_place_of_the_last_list() {
    let admission = admission(1, 2);
    let _held = admission.admit(Class::List, None).await.unwrap();
    let mut older = pin!(admission.admit(Class::List, None));
    let mut younger = pin!(admission.admit(Class::List, None));
    assert!(older.as_mut().now_or_never().is_none());
    assert!(younger.as_mut().now_or_never().is_none());
    let refused = admission.admit(Class::List, None).now_or_never().unwrap();
    assert!(refused.is_err());

    let mut read = pin!(admission.admit(Class::Read, None));
    assert!(read.as_mut().now_or_never().is_none());
    assert!(younger.now_or_never().unwrap().is_err());

    let mut mutation = pin!(admission.admit(Class::Mutation, None));
    assert!(mutation.as_mut().now_or_never().is_none());
    assert!(older.now_or_never().unwrap().is_err());
    let refused = admission.admit(Class::Read, None).now_or_never().unwrap();
    assert!(refused.is_err());
    assert_eq!(admission.counts(), counts(1, 2, 4));
}

#[tokio::test]
async fn a_wait_ends_with_the_age_of_the_queue() {
    let age = Duration::from_millis(20);
    let admission = aged(1, 2, age);
    let held = admission.admit(Class::Read, None).await.unwrap();
    let began = Instant::now();
    assert!(admission.admit(Class::Mutation, None).await.is_err());
    assert!(began.elapsed() >= age);
    assert_eq!(admission.counts(), counts(1, 0, 1));
    drop(held);
    assert_eq!(admission.counts(), counts(0, 0, 1));
}

#[tokio::test]
async fn who_leaves_gives_up_the_place_and_the_turn() {
    let admission = admission(1, 2);
    let held = admission.admit(Class::Read, None).await.unwrap();
    let mut gone = Box::pin(admission.admit(Class::Read, None));
    assert!(gone.as_mut().now_or_never().is_none());
    drop(gone);
    assert_eq!(admission.counts(), counts(1, 0, 0));

    // The turn came, and was not taken.
    let mut late = Box::pin(admission.admit(Class::Read, None));
    assert!(late.as_mut().now_or_never().is_none());
    drop(held);
    assert_eq!(admission.counts(), counts(1, 0, 0));
    drop(late);
    assert_eq!(admission.counts(), counts(0, 0, 0));
}

#[tokio::test]
async fn a_turn_goes_past_who_has_a_share_already() {
    let admission = admission(4, 8);
    let [greedy, modest, newcomer] = [(); 3].map(|()| Source::default());
    let of = |source| admission.admit(Class::Read, Some(source));
    let mut first = vec![of(&greedy).await.unwrap(), of(&greedy).await.unwrap()];
    let mut third = pin!(of(&greedy));
    assert!(third.as_mut().now_or_never().is_none());
    let held = of(&modest).await.unwrap();
    // One place is free: it is for somebody who has none.
    let mut second = pin!(of(&modest));
    assert!(second.as_mut().now_or_never().is_none());
    drop(of(&newcomer).await.unwrap());
    assert_eq!(admission.counts(), counts(3, 2, 0));

    // Two are free: `greedy` has one, and may have a second; then `modest` has as many as are free.
    first.pop();
    let third = third.now_or_never().unwrap().unwrap();
    assert!(second.as_mut().now_or_never().is_none());
    drop((third, first));
    drop(second.now_or_never().unwrap().unwrap());
    drop(held);
    assert_eq!(admission.counts(), counts(0, 0, 0));
}

#[tokio::test]
async fn who_fills_a_share_of_the_queue_takes_nothing_from_others() {
    let admission = admission(1, 4);
    let _held = admission.admit(Class::Read, None).await.unwrap();
    let (one, other) = (Source::default(), Source::default());
    let of = |class, source| Box::pin(admission.admit(class, Some(source)));
    let mut others = of(Class::List, &other);
    assert!(others.as_mut().now_or_never().is_none());
    let mut own = [of(Class::List, &one), of(Class::List, &one)];
    for waits in &mut own {
        assert!(waits.as_mut().now_or_never().is_none());
    }
    assert!(of(Class::List, &one).now_or_never().unwrap().is_err());
    // There is room, but not for this source, whose own list goes.
    let mut mutation = of(Class::Mutation, &one);
    assert!(mutation.as_mut().now_or_never().is_none());
    let [older, younger] = &mut own;
    assert!(younger.as_mut().now_or_never().unwrap().is_err());
    assert!(older.as_mut().now_or_never().is_none());
    assert!(others.as_mut().now_or_never().is_none());
    assert_eq!(admission.counts(), counts(1, 3, 2));
}

/// One place, and each millisecond somebody comes: with `twice` as much to do as can be done, or with half as
/// much. Answers how long those waited who were let in, by the millisecond in which they were.
fn milliseconds(admission: &Admission, from: Instant, time: u64, twice: bool) -> Vec<(u64, u64)> {
    let mut running: Option<Permit> = None;
    let mut queue: Vec<Waiting> = Vec::new();
    let mut let_in = Vec::new();
    for ms in 0..time {
        let now = from + Duration::from_millis(ms);
        queue.retain(|waiting| now < waiting.since + waiting.patience);
        if (!twice || ms % 2 == 0)
            && let Some(mut over) = running.take()
        {
            over.give_back(now);
        }
        if twice || ms % 2 == 0 {
            match admission.0.enter(Class::Read, None, now) {
                Entry::Begun(permit) => {
                    let_in.push((ms, 0));
                    running = Some(permit);
                }
                Entry::Waits(waiting) => queue.push(waiting),
                Entry::Full => panic!("there is room for all"),
            }
        }
        queue.retain_mut(|waiting| match waiting.turn.try_recv() {
            Ok(permit) => {
                let waited = now - waiting.since;
                let_in.push((ms, u64::try_from(waited.as_millis()).unwrap()));
                running = Some(permit);
                false
            }
            Err(_) => true,
        });
    }
    let_in
}

#[test]
fn who_is_let_in_while_the_queue_stands_has_hardly_waited() {
    const AGE_MS: u64 = 200;
    let admission = aged(1, 1000, Duration::from_millis(AGE_MS));
    let start = Instant::now();
    let let_in = milliseconds(&admission, start, 3000, true);
    // No place is ever empty.
    assert_eq!(let_in.len(), 1500);
    let of = |from: u64, to: u64| {
        let waits = let_in.iter().filter(move |(at, _)| (from..to).contains(at));
        waits.map(|(_, waited)| *waited).max().unwrap()
    };
    // A burst is served in order, and so waits.
    assert!(of(0, AGE_MS) > AGE_MS / 3, "{}", of(0, AGE_MS));
    assert!(of(AGE_MS + 1, 3000) <= 2, "{}", of(AGE_MS + 1, 3000));

    // Afterwards the queue is empty, and the next burst waits in order again.
    let again = milliseconds(&admission, start + Duration::from_secs(3), 1000, false);
    assert!(again.iter().all(|(_, waited)| *waited == 0), "{again:?}");
    let burst = milliseconds(&admission, start + Duration::from_secs(4), AGE_MS, true);
    assert!(burst.iter().any(|(_, waited)| *waited > AGE_MS / 3));
}

#[test]
fn who_comes_while_the_queue_stands_is_told_soon() {
    let admission = aged(1, 8, Duration::from_millis(200));
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let Entry::Begun(_held) = admission.0.enter(Class::Read, None, at(0)) else {
        panic!("there is a place")
    };
    let wait = |ms| match admission.0.enter(Class::Read, None, at(ms)) {
        Entry::Waits(waiting) => waiting,
        _ => panic!("there is room to wait"),
    };
    let first = wait(0);
    let (before, after) = (wait(199), wait(200));
    let patience = [&first, &before, &after].map(|waiting| waiting.patience.as_millis());
    assert_eq!(patience, [200, 200, 20]);
    // Empty for a moment: what comes next is another burst.
    drop((first, before, after));
    assert_eq!(wait(300).patience.as_millis(), 200);
}

#[test]
fn who_is_refused_together_does_not_come_back_together() {
    let after: std::collections::BTreeSet<_> =
        (0..100).map(|_| Overloaded::now().retry_after).collect();
    assert!(after.len() > 90, "{}", after.len());
    let (half, whole) = (Duration::from_millis(500), Duration::from_millis(1500));
    assert!(after.iter().all(|after| (half..=whole).contains(after)));
}
