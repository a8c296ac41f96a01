//! Where somebody is in the log, in words that every replica understands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Positions, Received};

/// Where a subscription is, to be taken up again on any replica; of one topic.
///
/// It holds nothing secret, but who lets clients keep it should seal it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The next offset of each partition that matters.
    next: BTreeMap<i32, i64>,
    /// The last event before them, by which the log is known to be the same.
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Last {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) id: Uuid,
}

/// What follows a place cannot be told: it is older than what is kept, was not reached in time,
/// or is of another log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what follows the place is not known here")]
pub struct Gone;

/// A place in this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark {
    /// Of the next event, counted in the ring or among those of the key.
    pub(super) number: u64,
    pub(super) next: Positions,
    pub(super) last: Option<Last>,
}

impl Mark {
    /// Whether the event lies before the place.
    pub(super) fn is_before(&self, event: &Received) -> bool {
        let partition = (event.meta.event.topic, event.meta.partition);
        let next = self.next.get(&partition);
        next.is_some_and(|next| event.meta.offset < *next)
    }

    /// Steps over an event; false if it lies before the place.
    pub(super) fn pass(&mut self, event: &Received, key_only: bool) -> bool {
        let meta = &event.meta;
        let partition = (meta.event.topic, meta.partition);
        if self.is_before(event) {
            return false;
        }
        if key_only {
            // All of its events are here; a place in other partitions would only grow old.
            self.next.clear();
        }
        self.next.insert(partition, meta.offset + 1);
        self.last = Some(Last {
            partition: meta.partition,
            offset: meta.offset,
            id: meta.id,
        });
        true
    }

    /// Of the one topic.
    pub(super) fn place(&self, topic: &str) -> Place {
        let next = self.next.iter().filter(|((of, _), _)| *of == topic);
        Place {
            next: next
                .map(|((_, partition), next)| (*partition, *next))
                .collect(),
            last: self.last,
        }
    }
}

impl Place {
    /// With the number still to be found.
    pub(super) fn of_topic(&self, topic: &'static str) -> Mark {
        let next = self.next.iter();
        Mark {
            number: 0,
            next: next
                .map(|(partition, next)| ((topic, *partition), *next))
                .collect(),
            last: self.last,
        }
    }
}
