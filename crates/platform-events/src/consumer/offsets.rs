//! How far each partition is: up to the first event that is not yet done with.

use std::collections::{BTreeSet, HashMap};

pub(super) type Partition = (&'static str, i32);

#[derive(Default)]
pub(super) struct Offsets(HashMap<Partition, Progress>);

#[derive(Default)]
struct Progress {
    /// Read and not yet done with.
    pending: BTreeSet<i64>,
    /// Behind the last one that was read.
    end: i64,
    /// What was last told to the broker.
    told: i64,
}

impl Offsets {
    pub(super) fn read(&mut self, partition: Partition, offset: i64) {
        let progress = self.0.entry(partition).or_default();
        progress.pending.insert(offset);
        progress.end = progress.end.max(offset + 1);
    }

    /// An event is done with, whoever has read it.
    pub(super) fn done(&mut self, partition: Partition, offset: i64) {
        if let Some(progress) = self.0.get_mut(&partition) {
            progress.pending.remove(&offset);
        }
    }

    /// Partitions that are others' business now.
    pub(super) fn forget(&mut self, partition: Partition) {
        self.0.remove(&partition);
    }

    /// Positions that have changed since they were asked for.
    pub(super) fn changed(&mut self) -> Vec<(Partition, i64)> {
        self.0
            .iter_mut()
            .filter_map(|(partition, progress)| {
                let position = progress.pending.first().copied().unwrap_or(progress.end);
                (std::mem::replace(&mut progress.told, position) != position)
                    .then_some((*partition, position))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Partition = ("events.offer", 3);

    #[test]
    fn a_position_waits_for_the_earliest_event() {
        let mut offsets = Offsets::default();
        for offset in [10, 11, 13] {
            offsets.read(P, offset);
        }
        assert_eq!(offsets.changed(), [(P, 10)]);
        offsets.done(P, 11);
        offsets.done(P, 13);
        assert_eq!(offsets.changed(), []);
        offsets.done(P, 10);
        assert_eq!(offsets.changed(), [(P, 14)]);
        assert_eq!(offsets.changed(), []);
    }

    #[test]
    fn a_partition_that_is_gone_has_no_position() {
        let mut offsets = Offsets::default();
        offsets.read(P, 10);
        offsets.forget(P);
        offsets.done(P, 10);
        assert_eq!(offsets.changed(), []);
    }
}
