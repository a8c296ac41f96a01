//! What is known of one partition.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::broadcast::place::Last;

pub(super) struct Log {
    /// From here on every event is kept.
    pub(super) low: i64,
    /// Where the next message will be.
    pub(super) next: i64,
    /// The last event that was dropped. Who saw it has not missed the ones that are kept.
    pub(super) before: Option<Entry>,
    entries: VecDeque<(Entry, u64)>,
}

/// An event and its place.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    offset: i64,
    id: Uuid,
}

impl Entry {
    pub(super) fn at(self, partition: i32) -> Last {
        let Entry { offset, id } = self;
        Last {
            partition,
            offset,
            id,
        }
    }
}

impl Log {
    pub(super) fn new(from: i64) -> Log {
        Log {
            low: from,
            next: from,
            before: None,
            entries: VecDeque::new(),
        }
    }

    /// With the number that it has among all.
    pub(super) fn push(&mut self, offset: i64, id: Uuid, number: u64) {
        self.entries.push_back((Entry { offset, id }, number));
    }

    pub(super) fn pop(&mut self) {
        if let Some((entry, _)) = self.entries.pop_front() {
            self.low = entry.offset + 1;
            self.before = Some(entry);
        }
    }

    pub(super) fn newest(&self) -> Option<Entry> {
        let kept = self.entries.back().map(|(entry, _)| *entry);
        kept.or(self.before)
    }

    /// The number of the first event from this offset on.
    pub(super) fn number_from(&self, offset: i64) -> Option<u64> {
        let index = self.index_from(offset);
        self.entries.get(index).map(|(_, number)| *number)
    }

    /// The event at this offset.
    pub(super) fn id(&self, offset: i64) -> Option<Uuid> {
        let kept = self.entries.get(self.index_from(offset));
        let known = kept.map(|(entry, _)| *entry).into_iter().chain(self.before);
        let mut found = known.filter(|entry| entry.offset == offset);
        found.next().map(|entry| entry.id)
    }

    fn index_from(&self, offset: i64) -> usize {
        self.entries
            .partition_point(|(entry, _)| entry.offset < offset)
    }
}
