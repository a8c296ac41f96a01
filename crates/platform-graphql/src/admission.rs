//! No more requests at once than the process can do; the queue in front is bounded by length and
//! age, and what matters least is refused first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use platform_contract::PlatformReason;
use tokio::sync::oneshot;

use crate::refusal::Refusal;

/// What a refused client is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What kind of work a request is. When there is too much, lists are refused first, then single
/// reads, then mutations; probes of health are never counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Changes something.
    Mutation,
    /// Reads single things.
    Read,
    /// Reads lists.
    List,
}

/// How much is done and waited for at once.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Requests executed at once.
    pub running: usize,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Longest wait of a request for its turn.
    pub age: Duration,
}

impl Default for AdmissionLimits {
    fn default() -> AdmissionLimits {
        AdmissionLimits {
            running: 256,
            waiting: 512,
            age: Duration::from_millis(500),
        }
    }
}

/// Lets requests in.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Inner>);

/// What a request holds while it is executed.
#[derive(Debug)]
pub struct Permit(Option<Arc<Inner>>);

/// The turn of a subscription, which is for its beginning: who waits for an event does no work.
/// It ends with the first answer, or before that where a resolver says so.
#[derive(Clone, Debug)]
pub struct Turn(Arc<Mutex<Option<Permit>>>);

impl Turn {
    pub(crate) fn new(permit: Option<Permit>) -> Turn {
        Turn(Arc::new(Mutex::new(permit)))
    }

    /// The turn of the subscription that is being executed.
    pub fn of(ctx: &async_graphql::Context<'_>) -> Turn {
        ctx.data_unchecked::<Turn>().clone()
    }

    /// Lets somebody else have it.
    pub fn end(&self) {
        let permit = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(permit);
    }
}

#[derive(Debug)]
struct Inner {
    limits: AdmissionLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    refused: u64,
    next_id: u64,
    /// One per class, the oldest in front.
    queues: [VecDeque<Waiter>; 3],
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    /// A turn, or nothing when the place in the queue went to somebody who matters more.
    turn: oneshot::Sender<Permit>,
}

/// What is going on at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Executed now.
    pub running: usize,
    /// In the queue now.
    pub waiting: usize,
    /// Refused since the start.
    pub refused: u64,
}

impl Admission {
    /// Nobody is in yet.
    pub fn new(limits: AdmissionLimits) -> Admission {
        Admission(Arc::new(Inner {
            limits,
            state: Mutex::default(),
        }))
    }

    /// Waits for a turn, at most as long as the queue may be old.
    ///
    /// Who leaves, because time is over or the client is gone, leaves the queue at once.
    pub async fn admit(&self, class: Class) -> Result<Permit, Refusal> {
        let mut place = match self.0.enter(class) {
            Entry::Admitted(permit) => return Ok(permit),
            Entry::Full => return Err(overloaded()),
            Entry::Queued(place) => place,
        };
        match tokio::time::timeout(self.0.limits.age, &mut place.turn).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(overloaded()),
            Err(_) => {
                self.0.state().refused += 1;
                Err(overloaded())
            }
        }
    }

    /// What is going on now.
    pub fn counts(&self) -> Counts {
        let state = self.0.state();
        Counts {
            running: state.running,
            waiting: state.waiting(),
            refused: state.refused,
        }
    }
}

enum Entry {
    Admitted(Permit),
    Queued(Place),
    Full,
}

/// A place in the queue, given up when it is dropped.
struct Place {
    inner: Arc<Inner>,
    class: Class,
    id: u64,
    turn: oneshot::Receiver<Permit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        let queue = &mut state.queues[self.class as usize];
        if let Some(at) = queue.iter().position(|waiter| waiter.id == self.id) {
            queue.remove(at);
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, class: Class) -> Entry {
        let mut state = self.state();
        if state.running < self.limits.running {
            state.running += 1;
            return Entry::Admitted(Permit(Some(self.clone())));
        }
        if state.waiting() >= self.limits.waiting {
            state.refused += 1;
            if !state.make_room(class) {
                return Entry::Full;
            }
        }
        let (sender, turn) = oneshot::channel();
        state.next_id += 1;
        let id = state.next_id;
        state.queues[class as usize].push_back(Waiter { id, turn: sender });
        Entry::Queued(Place {
            inner: self.clone(),
            class,
            id,
            turn,
        })
    }

    /// Hands the turn on to who waits longest of those that matter most.
    fn release(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.queues.iter_mut().find_map(VecDeque::pop_front);
                if next.is_none() {
                    state.running -= 1;
                }
                next
            };
            let Some(waiter) = next else { return };
            match waiter.turn.send(Permit(Some(self.clone()))) {
                Ok(()) => return,
                // Left in this moment; the turn is for the next one.
                Err(mut unused) => drop(unused.0.take()),
            }
        }
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// Sends away who came last of those that matter least, if that is less than `class`.
    fn make_room(&mut self, class: Class) -> bool {
        let less = &mut self.queues[class as usize + 1..];
        less.iter_mut().rev().find_map(VecDeque::pop_back).is_some()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.release();
        }
    }
}

fn overloaded() -> Refusal {
    Refusal::new(
        PlatformReason::Overloaded,
        StatusCode::SERVICE_UNAVAILABLE,
        "there is more to do than can be done in time",
    )
    .retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn admission(running: usize, waiting: usize) -> Admission {
        Admission::new(AdmissionLimits {
            running,
            waiting,
            age: Duration::from_secs(60),
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
        let held = admission.admit(Class::List).await.unwrap();
        let mut list = pin!(admission.admit(Class::List));
        let mut first = pin!(admission.admit(Class::Read));
        let mut second = pin!(admission.admit(Class::Read));
        let mut mutation = pin!(admission.admit(Class::Mutation));
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
        let _held = admission.admit(Class::List).await.unwrap();
        let mut older = pin!(admission.admit(Class::List));
        let mut younger = pin!(admission.admit(Class::List));
        assert!(older.as_mut().now_or_never().is_none());
        assert!(younger.as_mut().now_or_never().is_none());
        assert!(
            admission
                .admit(Class::List)
                .now_or_never()
                .unwrap()
                .is_err()
        );

        let mut read = pin!(admission.admit(Class::Read));
        assert!(read.as_mut().now_or_never().is_none());
        let refusal = younger.now_or_never().unwrap().unwrap_err();
        assert_eq!(refusal.word, "OVERLOADED");
        assert_eq!(refusal.http, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refusal.retryable && refusal.retry_after.is_some());

        let mut mutation = pin!(admission.admit(Class::Mutation));
        assert!(mutation.as_mut().now_or_never().is_none());
        assert!(older.now_or_never().unwrap().is_err());
        assert!(
            admission
                .admit(Class::Read)
                .now_or_never()
                .unwrap()
                .is_err()
        );
        assert_eq!(admission.counts(), counts(1, 2, 4));
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_age_of_the_queue() {
        let age = Duration::from_millis(20);
        let admission = Admission::new(AdmissionLimits {
            running: 1,
            waiting: 2,
            age,
        });
        let held = admission.admit(Class::Read).await.unwrap();
        let began = tokio::time::Instant::now();
        assert!(admission.admit(Class::Mutation).await.is_err());
        assert!(began.elapsed() >= age);
        assert_eq!(admission.counts(), counts(1, 0, 1));
        drop(held);
        assert_eq!(admission.counts(), counts(0, 0, 1));
    }

    #[tokio::test]
    async fn who_leaves_gives_up_the_place_and_the_turn() {
        let admission = admission(1, 2);
        let held = admission.admit(Class::Read).await.unwrap();
        let mut gone = Box::pin(admission.admit(Class::Read));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        assert_eq!(admission.counts(), counts(1, 0, 0));

        // The turn came, and was not taken.
        let mut late = Box::pin(admission.admit(Class::Read));
        assert!(late.as_mut().now_or_never().is_none());
        drop(held);
        assert_eq!(admission.counts(), counts(1, 0, 0));
        drop(late);
        assert_eq!(admission.counts(), counts(0, 0, 0));
    }
}
