//! Who begins when there is more to do than can be done: one order for gRPC calls and HTTP requests.
//!
//! A request that finds a free place begins at once. Else it waits, in a queue that is bounded by its length
//! and by the age of those in it; what matters least ([`Class`]) is refused first and begins last.
//!
//! Waiting helps against a burst, after which the queue is empty again. A queue that has stood for as long as
//! one may wait is no burst: in order of arrival everybody in it would wait that long, those who are let in as
//! well, for as long as it stands. So from then on turns go to who came last, and who comes waits for a tenth
//! of the time at most: some hardly wait, and the others are told soon to come back later.
//!
//! No [`Source`] takes more places than it leaves free, and no more of the queue. So one has at most half, the
//! next at most half of what is left, and whatever a few of them do with their places, there is one for
//! somebody else. It costs a source that is alone half of the places.

mod metrics;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform_contract::PlatformReason;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::Status;

use crate::error::Refusal;
use metrics::Metrics;

pub use platform_contract::Class;

/// What is left of the longest wait while the queue stands.
const STANDING_PART: u32 = 10;
/// What a refused caller is told to wait, on average.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How much is done and waited for at once.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Requests worked on at once; at least one.
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

/// Lets requests in; cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Inner>);

/// What a request holds while it is worked on.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    class: Class,
    source: Option<Source>,
    over: bool,
}

/// Where requests come from that share a bound, for example one connection; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Source(Arc<Share>);

/// Counted under the lock of the admission.
#[derive(Debug, Default)]
struct Share {
    running: AtomicUsize,
    waiting: AtomicUsize,
}

/// The refusal: there is more to do than can be done in time.
#[derive(Clone, Copy, Debug)]
pub struct Overloaded {
    /// When the caller may come back: at random around a second, so that those who are refused together do not
    /// come back together.
    pub retry_after: Duration,
}

/// What is going on at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Worked on now.
    pub running: usize,
    /// In the queue now.
    pub waiting: usize,
    /// Refused since the start.
    pub refused: u64,
}

#[derive(Debug)]
struct Inner {
    limits: AdmissionLimits,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    next_id: u64,
    /// One per class, the oldest in front.
    queues: [VecDeque<Waiter>; 3],
    /// Since when the queue has not been empty.
    stands_since: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    class: Class,
    source: Option<Source>,
    /// A turn, or nothing when the place in the queue went to somebody who matters more.
    turn: oneshot::Sender<Permit>,
}

enum Entry {
    Begun(Permit),
    Waits(Waiting),
    Full,
}

/// A place in the queue, given up when it is dropped.
struct Waiting {
    inner: Arc<Inner>,
    class: Class,
    id: u64,
    since: Instant,
    /// How long it may be kept.
    patience: Duration,
    turn: oneshot::Receiver<Permit>,
    /// What became of it is counted.
    told: bool,
}

impl Admission {
    /// Nobody is in yet.
    pub fn new(limits: AdmissionLimits) -> Admission {
        Admission(Arc::new(Inner {
            limits,
            metrics: Metrics::new(),
            state: Mutex::default(),
        }))
    }

    /// Shows what goes on here as `admission_*`; once in a process.
    pub fn register(&self, registry: &mut Registry) {
        self.0.metrics.register(registry, &self.0.limits);
    }

    /// Waits for a turn, at most as long as the queue may be old; without a source, only the limits of all
    /// hold. Who drops the future, because time is over or the caller is gone, leaves the queue at once.
    pub async fn admit(&self, class: Class, source: Option<&Source>) -> Result<Permit, Overloaded> {
        let mut waiting = match self.0.enter(class, source, Instant::now()) {
            Entry::Begun(permit) => return Ok(permit),
            Entry::Full => return Err(Overloaded::now()),
            Entry::Waits(waiting) => waiting,
        };
        let metrics = self.0.metrics.of(class);
        let in_time = tokio::time::timeout(waiting.patience, &mut waiting.turn).await;
        waiting.told = true;
        let permit = match in_time {
            Ok(Ok(permit)) => permit,
            // Displaced, which is counted.
            Ok(Err(_)) => return Err(Overloaded::now()),
            Err(_) => {
                waiting.turn.close();
                // It may have come in this moment.
                let Ok(permit) = waiting.turn.try_recv() else {
                    metrics.too_old.inc();
                    return Err(Overloaded::now());
                };
                permit
            }
        };
        metrics.waits.observe(waiting.since.elapsed().as_secs_f64());
        Ok(permit)
    }

    /// What is going on now.
    pub fn counts(&self) -> Counts {
        let state = self.0.state();
        Counts {
            running: state.running,
            waiting: state.waiting(),
            refused: self.0.metrics.refused(),
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, class: Class, source: Option<&Source>, now: Instant) -> Entry {
        let mut state = self.state();
        // Whoever waits does so because there is no place for them; so nobody is passed over.
        if fits(running(source), self.limits.running - state.running) {
            return Entry::Begun(self.begin(&mut state, class, source.cloned()));
        }
        let room = self.limits.waiting.saturating_sub(state.waiting());
        if !fits(waiting(source), room) {
            // With room left it is the source that has its share, and must take from that.
            let only = source.filter(|_| room > 0);
            let Some(displaced) = state.displace(class, only) else {
                self.metrics.of(class).full.inc();
                return Entry::Full;
            };
            self.metrics.of(displaced.class).displaced.inc();
            self.metrics.of(displaced.class).waiting.dec();
        }
        let patience = match state.stands(self.limits.age, now) {
            true => self.limits.age / STANDING_PART,
            false => self.limits.age,
        };
        let (sender, turn) = oneshot::channel();
        let id = state.wait(class, source, sender, now);
        self.metrics.of(class).waiting.inc();
        Entry::Waits(Waiting {
            inner: self.clone(),
            class,
            id,
            since: now,
            patience,
            turn,
            told: false,
        })
    }

    fn begin(self: &Arc<Self>, state: &mut State, class: Class, source: Option<Source>) -> Permit {
        state.running += 1;
        count(running(source.as_ref()), 1);
        self.metrics.of(class).running.inc();
        Permit {
            inner: self.clone(),
            class,
            source,
            over: false,
        }
    }

    /// Takes a place back.
    fn end(&self, state: &mut State, permit: &mut Permit) {
        permit.over = true;
        state.running -= 1;
        count(running(permit.source.as_ref()), -1);
        self.metrics.of(permit.class).running.dec();
    }

    /// Hands free places on.
    fn hand_on(self: &Arc<Self>, state: &mut State, now: Instant) {
        while let Some(next) = state.next(&self.limits, now) {
            self.metrics.of(next.class).waiting.dec();
            let permit = self.begin(state, next.class, next.source);
            // Who left in this moment does not take it; the place is for the next one.
            if let Err(mut unused) = next.turn.send(permit) {
                self.end(state, &mut unused);
            }
        }
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// Whether the queue has not been empty for as long as a request may wait.
    fn stands(&self, age: Duration, now: Instant) -> bool {
        let since = self.stands_since;
        since.is_some_and(|since| now.saturating_duration_since(since) >= age)
    }

    fn wait(
        &mut self,
        class: Class,
        source: Option<&Source>,
        turn: oneshot::Sender<Permit>,
        now: Instant,
    ) -> u64 {
        self.next_id += 1;
        self.stands_since.get_or_insert(now);
        count(waiting(source), 1);
        self.queues[class as usize].push_back(Waiter {
            id: self.next_id,
            class,
            source: source.cloned(),
            turn,
        });
        self.next_id
    }

    fn remove(&mut self, class: Class, at: usize) -> Option<Waiter> {
        let waiter = self.queues[class as usize].remove(at)?;
        count(waiting(waiter.source.as_ref()), -1);
        if self.waiting() == 0 {
            self.stands_since = None;
        }
        Some(waiter)
    }

    /// Takes the next one for whom there is a place: of those that matter most who waits longest, or who came
    /// last while the queue stands.
    fn next(&mut self, limits: &AdmissionLimits, now: Instant) -> Option<Waiter> {
        let free = limits.running - self.running;
        let last_first = self.stands(limits.age, now);
        let fit = |waiter: &Waiter| fits(running(waiter.source.as_ref()), free);
        let (class, at) = Class::ALL.into_iter().find_map(|class| {
            let queue = &self.queues[class as usize];
            let at = match last_first {
                true => queue.iter().rposition(fit),
                false => queue.iter().position(fit),
            };
            Some((class, at?))
        })?;
        self.remove(class, at)
    }

    /// Sends away who came last of those that matter least, if that is less than `class`; only those of one
    /// source, if that is given.
    fn displace(&mut self, class: Class, only: Option<&Source>) -> Option<Waiter> {
        let mut lesser = Class::ALL.into_iter().rev().take_while(|&one| one > class);
        let of_it = |waiter: &Waiter| {
            only.is_none_or(|only| {
                let source = waiter.source.as_ref();
                source.is_some_and(|source| Arc::ptr_eq(&source.0, &only.0))
            })
        };
        let (class, at) = lesser.find_map(|class| {
            let at = self.queues[class as usize].iter().rposition(of_it)?;
            Some((class, at))
        })?;
        self.remove(class, at)
    }
}

/// Whether there is a place for one more: no source has more than it leaves free.
fn fits(held: Option<&AtomicUsize>, free: usize) -> bool {
    held.map_or(0, |held| held.load(Ordering::Relaxed)) < free
}

fn running(source: Option<&Source>) -> Option<&AtomicUsize> {
    source.map(|source| &source.0.running)
}

fn waiting(source: Option<&Source>) -> Option<&AtomicUsize> {
    source.map(|source| &source.0.waiting)
}

fn count(held: Option<&AtomicUsize>, change: isize) {
    if let Some(held) = held {
        let now = held.load(Ordering::Relaxed).saturating_add_signed(change);
        held.store(now, Ordering::Relaxed);
    }
}

impl Permit {
    fn give_back(&mut self, now: Instant) {
        if !self.over {
            let inner = self.inner.clone();
            let mut state = inner.state();
            inner.end(&mut state, self);
            inner.hand_on(&mut state, now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(Instant::now());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        let metrics = self.inner.metrics.of(self.class);
        let queue = &state.queues[self.class as usize];
        if let Some(at) = queue.iter().position(|waiter| waiter.id == self.id) {
            state.remove(self.class, at);
            metrics.waiting.dec();
        }
        if !self.told {
            metrics.left.inc();
        }
    }
}

impl Overloaded {
    /// What the caller is told.
    pub const MESSAGE: &'static str = "there is more to do than can be done in time";

    /// A refusal with a time of its own to come back.
    pub fn now() -> Overloaded {
        let mut random = [0; 2];
        // Without randomness it is merely the shortest.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let part = u32::from(u16::from_le_bytes(random));
        Overloaded {
            retry_after: RETRY_AFTER / 2 + RETRY_AFTER * part / u32::from(u16::MAX),
        }
    }
}

impl From<Overloaded> for Status {
    fn from(overloaded: Overloaded) -> Status {
        Refusal::new(PlatformReason::Overloaded, Overloaded::MESSAGE)
            .retry_after(overloaded.retry_after)
            .into()
    }
}
