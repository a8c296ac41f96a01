//! Everything that happens, to everybody in this process: read without a group, so that each
//! replica sees all of it.

mod place;
mod read;
mod ring;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use platform_contract::{Event, EventType};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::envelope::{Meta, decode};
use place::Mark;
pub use place::{Gone, Place};
pub use ring::Window;
use ring::{Key, Ring};

/// The latest events of some topics, kept in memory; cheap to clone.
///
/// Repeats are left out for as long as the event itself is kept; who needs more compares versions.
#[derive(Clone)]
pub struct Broadcast(Arc<Shared>);

struct Shared {
    contract: &'static [EventType],
    topics: Vec<&'static str>,
    window: Window,
    each: RwLock<Vec<Box<Hear>>>,
    ring: Mutex<Ring>,
    /// Changes with every message that was read.
    read: watch::Sender<()>,
    caught_up: watch::Sender<bool>,
}

type Hear = dyn Fn(&Received) + Send + Sync;

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
}

/// The reader was too slow, or the log was cut or made anew: at least so many events are gone that
/// it has not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} events were missed")]
pub struct Missed(pub u64);

/// One who listens, at a pace of its own.
pub struct Subscription {
    shared: Arc<Shared>,
    /// Hears the events of this key alone.
    key: Option<Key>,
    mark: Mark,
    wake: watch::Receiver<()>,
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
            each: RwLock::default(),
            ring: Mutex::new(Ring::new(window)),
            read: watch::Sender::new(()),
            caught_up: watch::Sender::new(false),
        }))
    }

    /// Calls `hear` with every event as it is read, repeats included, before anybody hears it:
    /// what must miss nothing, and is done at once. Reading waits for it.
    #[must_use]
    pub fn each(self, hear: impl Fn(&Received) + Send + Sync + 'static) -> Broadcast {
        let mut each = self.0.each.write().unwrap_or_else(PoisonError::into_inner);
        each.push(Box::new(hear));
        drop(each);
        self
    }

    /// Hears everything that is kept, and then whatever comes.
    pub fn subscribe(&self) -> Subscription {
        let mut ring = self.0.ring();
        let mark = ring.oldest(None);
        self.0.listen(&mut ring, None, mark)
    }

    /// Hears what comes from now on.
    pub fn subscribe_to_new(&self) -> Subscription {
        let mut ring = self.0.ring();
        let mark = ring.newest(None);
        self.0.listen(&mut ring, None, mark)
    }

    /// Hears what comes from now on of one key, and sleeps while others have events. Only on a
    /// broadcast of one topic: panics on any other.
    pub fn follow(&self, key: &str) -> Subscription {
        let key = (self.topic(), key.to_owned());
        let mut ring = self.0.ring();
        let mark = ring.newest(Some(&key));
        self.0.listen(&mut ring, Some(key), mark)
    }

    /// Goes on behind a place that a subscription had on any replica; with the key that it
    /// followed, if it followed one. Waits up to `patience` until this replica has read as far.
    /// Only on a broadcast of one topic: panics on any other.
    pub async fn resume(
        &self,
        place: &Place,
        key: Option<&str>,
        patience: Duration,
    ) -> Result<Subscription, Gone> {
        let topic = self.topic();
        let place = place.of_topic(topic);
        let key = key.map(|key| (topic, key.to_owned()));
        let resumed = async {
            let mut read = self.0.read.subscribe();
            loop {
                read.mark_unchanged();
                {
                    let mut ring = self.0.ring();
                    if let Some(mark) = ring.find(place.clone(), key.as_ref())? {
                        return Ok(self.0.listen(&mut ring, key.clone(), mark));
                    }
                }
                // While much is read at once, thousands may wait, and not for every event.
                self.caught_up().await;
                // The sender lives as long as `self`.
                let _ = read.changed().await;
            }
        };
        timeout(patience, resumed).await.unwrap_or(Err(Gone))
    }

    /// How far the log was read.
    pub fn positions(&self) -> Positions {
        self.0.ring().positions()
    }

    /// Waits until everything was read that was there when reading began.
    pub async fn caught_up(&self) {
        let mut caught_up = self.0.caught_up.subscribe();
        // The sender lives as long as `self`.
        let _ = caught_up.wait_for(|caught_up| *caught_up).await;
    }

    fn topic(&self) -> &'static str {
        self.0.topic()
    }
}

impl Subscription {
    /// The next event, as soon as there is one. Can be given up at any time.
    ///
    /// After [`Missed`] it goes on with the oldest that is kept.
    pub async fn next(&mut self) -> Result<Arc<Received>, Missed> {
        loop {
            self.wake.mark_unchanged();
            if let Some(next) = self.take() {
                return next;
            }
            // The sender lives as long as `self`.
            let _ = self.wake.changed().await;
        }
    }

    fn take(&mut self) -> Option<Result<Arc<Received>, Missed>> {
        let ring = self.shared.ring();
        loop {
            match ring.get(self.key.as_ref(), self.mark.number) {
                Ok(event) => {
                    let event = event?;
                    self.mark.number += 1;
                    // Replicas read the partitions in different orders, so after a place there
                    // may be something from before it.
                    if self.mark.pass(&event, self.key.is_some()) {
                        return Some(Ok(event));
                    }
                }
                Err(missed) => {
                    self.mark = ring.oldest(self.key.as_ref());
                    return Some(Err(missed));
                }
            }
        }
    }

    /// Behind what it has given out last; before that, where the log was read to when it began.
    /// A place of the start is of no use before anything was read ([`Broadcast::caught_up`]).
    /// Only on a broadcast of one topic: panics on any other.
    pub fn place(&self) -> Place {
        self.mark.place(self.shared.topic())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.shared.ring().unfollow(key);
        }
    }
}

impl Shared {
    fn listen(self: &Arc<Self>, ring: &mut Ring, key: Option<Key>, mark: Mark) -> Subscription {
        let wake = match &key {
            Some(key) => ring.follow(key),
            None => self.read.subscribe(),
        };
        Subscription {
            shared: Arc::clone(self),
            key,
            mark,
            wake,
        }
    }

    fn tell_each(&self, event: &Received) {
        let each = self.each.read().unwrap_or_else(PoisonError::into_inner);
        for hear in each.iter() {
            hear(event);
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one topic that places and keys are of.
    fn topic(&self) -> &'static str {
        match self.topics[..] {
            [topic] => topic,
            _ => panic!("places and keys are for broadcasts of one topic"),
        }
    }
}
