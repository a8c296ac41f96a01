//! Everything that happens, to everybody in this process: read without a group, so that each
//! replica sees all of it.

mod read;
mod ring;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use platform_contract::{Event, EventType};
use tokio::sync::watch;

use crate::envelope::{Meta, decode};
use ring::Ring;
pub use ring::Window;

/// The latest events of some topics, kept in memory; cheap to clone.
///
/// Repeats are left out for as long as the event itself is kept; who needs more compares versions.
#[derive(Clone)]
pub struct Broadcast(Arc<Shared>);

struct Shared {
    contract: &'static [EventType],
    topics: Vec<&'static str>,
    window: Window,
    ring: Mutex<Ring>,
    positions: Mutex<Positions>,
    /// Changes with every event.
    end: watch::Sender<u64>,
    caught_up: watch::Sender<bool>,
}

/// The next offset of each partition, by topic and partition.
pub type Positions = BTreeMap<(&'static str, i32), i64>;

/// An event that was read.
#[derive(Debug)]
pub struct Received {
    /// What is known of it.
    pub meta: Meta,
    pub(crate) payload: Vec<u8>,
}

/// The content is not what the headers say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("undecodable: {0}")]
pub struct Undecodable(String);

impl Received {
    /// The event, if it is an `E`.
    pub fn event<E: Event>(&self) -> Result<Option<E>, Undecodable> {
        if self.meta.event.name != E::NAME {
            return Ok(None);
        }
        decode(&self.payload, &self.meta)
            .map(Some)
            .map_err(Undecodable)
    }

    fn key(&self) -> (&'static str, String) {
        (self.meta.event.topic, self.meta.key.clone())
    }
}

/// The reader was too slow: so many events are gone that it has not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} events were missed")]
pub struct Missed(pub u64);

/// One who listens, at a pace of its own.
pub struct Subscription {
    shared: Arc<Shared>,
    next: u64,
    end: watch::Receiver<u64>,
}

impl Broadcast {
    /// For the topics of the contract that `topics` names, mostly as `E::TOPIC`. Nothing is read
    /// before [`Broadcast::run`].
    pub fn new(
        contract: &'static [EventType],
        topics: &[&'static str],
        window: Window,
    ) -> Broadcast {
        let mut topics = topics.to_vec();
        topics.sort_unstable();
        topics.dedup();
        Broadcast(Arc::new(Shared {
            contract,
            topics,
            window,
            ring: Mutex::new(Ring::new(window)),
            positions: Mutex::default(),
            end: watch::Sender::new(0),
            caught_up: watch::Sender::new(false),
        }))
    }

    /// Hears everything that is kept, and then whatever comes.
    pub fn subscribe(&self) -> Subscription {
        self.subscription(|ring| ring.first())
    }

    /// Hears what comes from now on.
    pub fn subscribe_to_new(&self) -> Subscription {
        self.subscription(Ring::end)
    }

    fn subscription(&self, next: impl FnOnce(&Ring) -> u64) -> Subscription {
        let end = self.0.end.subscribe();
        let next = next(&self.0.ring());
        Subscription {
            shared: Arc::clone(&self.0),
            next,
            end,
        }
    }

    /// How far the log was read.
    pub fn positions(&self) -> Positions {
        self.0.positions().clone()
    }

    /// Waits until everything was read that was there when reading began.
    pub async fn caught_up(&self) {
        let mut caught_up = self.0.caught_up.subscribe();
        // The sender lives as long as `self`.
        let _ = caught_up.wait_for(|caught_up| *caught_up).await;
    }
}

impl Subscription {
    /// The next event, as soon as there is one. Can be given up at any time.
    pub async fn next(&mut self) -> Result<Arc<Received>, Missed> {
        loop {
            {
                let ring = self.shared.ring();
                if let Some(missed) = ring.first().checked_sub(self.next).filter(|n| *n > 0) {
                    self.next = ring.first();
                    return Err(Missed(missed));
                }
                if let Some(event) = ring.get(self.next) {
                    self.next += 1;
                    return Ok(event);
                }
            }
            // The sender lives as long as `self.shared`.
            let _ = self.end.wait_for(|end| *end > self.next).await;
        }
    }
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn positions(&self) -> MutexGuard<'_, Positions> {
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
