//! The last events, bounded in bytes and time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Received;

/// How much is kept for those who come later or are slow.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Events from this long ago are read at the start, and kept for this long.
    pub age: Duration,
    /// Memory for events; the oldest go first.
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            age: Duration::from_mins(10),
            bytes: 32 * 1024 * 1024,
        }
    }
}

/// What an event costs besides its content.
const OVERHEAD_BYTES: usize = 512;

pub(super) struct Ring {
    window: Window,
    events: VecDeque<(Instant, Arc<Received>)>,
    /// The number of the oldest event that is kept, counted from the start of the process.
    first: u64,
    bytes: usize,
    /// The newest version of each key that is kept, and how many events keep it.
    versions: HashMap<(&'static str, String), (i64, usize)>,
}

impl Ring {
    pub(super) fn new(window: Window) -> Ring {
        Ring {
            window,
            events: VecDeque::new(),
            first: 0,
            bytes: 0,
            versions: HashMap::new(),
        }
    }

    /// False if a newer event of its key, or this one, has been there.
    pub(super) fn push(&mut self, event: Received, now: Instant) -> bool {
        let (version, count) = self.versions.entry(event.key()).or_default();
        if *version >= event.meta.version {
            return false;
        }
        *version = event.meta.version;
        *count += 1;
        self.bytes += bytes(&event);
        self.events.push_back((now, Arc::new(event)));
        self.evict(now);
        true
    }

    pub(super) fn evict(&mut self, now: Instant) {
        while let Some((at, event)) = self.events.front() {
            let old = now.duration_since(*at) > self.window.age;
            // The newest stays, however large it is.
            if !old && (self.bytes <= self.window.bytes || self.events.len() == 1) {
                break;
            }
            self.bytes -= bytes(event);
            let key = event.key();
            if let Some((_, count)) = self.versions.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.versions.remove(&key);
                }
            }
            self.events.pop_front();
            self.first += 1;
        }
    }

    /// The number that the next event will have.
    pub(super) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// `None` if it is not there yet, or not any more.
    pub(super) fn get(&self, number: u64) -> Option<Arc<Received>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.events.get(index).map(|(_, event)| Arc::clone(event))
    }
}

fn bytes(event: &Received) -> usize {
    OVERHEAD_BYTES + event.payload.len()
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_oldest_go_when_there_are_too_many_bytes() {
        let (mut ring, now) = (ring(2500), Instant::now());
        for version in 1..=5 {
            assert!(ring.push(received("a", version), now));
        }
        assert_eq!((ring.first(), ring.end()), (3, 5));
        assert!(ring.get(2).is_none() && ring.get(5).is_none());
        assert_eq!(ring.get(3).unwrap().meta.version, 4);
    }

    #[test]
    fn the_oldest_go_with_time() {
        let (mut ring, now) = (ring(1_000_000), Instant::now());
        ring.push(received("a", 1), now);
        ring.push(received("a", 2), now + Duration::from_secs(8));
        ring.evict(now + Duration::from_secs(11));
        assert_eq!((ring.first(), ring.end()), (1, 2));
    }

    #[test]
    fn a_repeat_is_not_kept_and_a_forgotten_key_costs_nothing() {
        let (mut ring, now) = (ring(1_000_000), Instant::now());
        assert!(ring.push(received("a", 2), now));
        assert!(!ring.push(received("a", 2), now));
        assert!(!ring.push(received("a", 1), now));
        assert!(ring.push(received("b", 1), now));
        assert_eq!(ring.end(), 2);
        ring.evict(now + Duration::from_secs(11));
        assert!(ring.versions.is_empty());
        assert_eq!(ring.bytes, 0);
    }
}
