//! The last events, bounded in bytes and time, and how to find one.

mod line;
mod log;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::place::{Gone, Mark};
use super::{Missed, Positions, Received};
use crate::outbox::partition;
use line::Line;
use log::Log;

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

/// Topic and key.
pub(super) type Key = (&'static str, String);
/// Topic and number.
pub(super) type Partition = (&'static str, i32);

pub(super) struct Ring {
    window: Window,
    bytes: usize,
    /// In the order in which they were read.
    events: Line<(Instant, Arc<Received>)>,
    keys: HashMap<Key, OfKey>,
    logs: BTreeMap<Partition, Log>,
}

/// Kept while there is an event or a follower.
#[derive(Default)]
struct OfKey {
    /// Numbers of its events.
    events: Line<u64>,
    followers: usize,
    wake: Option<watch::Sender<()>>,
}

impl Ring {
    pub(super) fn new(window: Window) -> Ring {
        Ring {
            window,
            bytes: 0,
            events: Line::default(),
            keys: HashMap::new(),
            logs: BTreeMap::new(),
        }
    }

    /// Reading of the partition begins at `from`, or goes on there. If it should go on elsewhere,
    /// events were lost, or the log is another one: everybody has missed something.
    pub(super) fn begin(&mut self, partition: Partition, from: i64) {
        let known = self.logs.get(&partition).map(|log| log.next);
        if known == Some(from) {
            return;
        }
        if known.is_some() {
            self.break_off();
        }
        self.logs.insert(partition, Log::new(from));
    }

    /// A message was read, whatever it is; answers the next offset.
    pub(super) fn advance(&mut self, partition: Partition, offset: i64) -> i64 {
        self.begin(partition, offset);
        let next = offset + 1;
        if let Some(log) = self.logs.get_mut(&partition) {
            log.next = next;
        }
        next
    }

    /// Keeps an event that was read just now. False if a newer one of its key, or this one, is
    /// kept already.
    pub(super) fn push(&mut self, event: Received, now: Instant) -> bool {
        let of_key = self.keys.entry(key(&event)).or_default();
        let newest = of_key.events.last().and_then(|n| self.events.get(*n));
        if newest.is_some_and(|(_, newest)| newest.meta.version >= event.meta.version) {
            return false;
        }
        let number = self.events.end();
        of_key.events.push(number);
        if let Some(wake) = &of_key.wake {
            wake.send_replace(());
        }
        let meta = &event.meta;
        if let Some(log) = self.logs.get_mut(&(meta.event.topic, meta.partition)) {
            log.push(meta.offset, meta.id, number);
        }
        self.bytes += bytes(&event);
        self.events.push((now, Arc::new(event)));
        self.evict(now);
        true
    }

    pub(super) fn evict(&mut self, now: Instant) {
        while let Some((at, event)) = self.events.first() {
            let old = now.duration_since(*at) > self.window.age;
            // The newest stays, however large it is.
            if !old && (self.bytes <= self.window.bytes || self.events.len() == 1) {
                break;
            }
            self.bytes -= bytes(event);
            let key = key(event);
            if let Some(of_key) = self.keys.get_mut(&key) {
                of_key.events.pop();
                if of_key.is_over() {
                    self.keys.remove(&key);
                }
            }
            let partition = (event.meta.event.topic, event.meta.partition);
            if let Some(log) = self.logs.get_mut(&partition) {
                log.pop();
            }
            self.events.pop();
        }
    }

    /// Everybody misses something, and no place from before is known any more.
    fn break_off(&mut self) {
        self.bytes = 0;
        self.events.break_off();
        for of_key in self.keys.values_mut() {
            of_key.events.break_off();
            if let Some(wake) = &of_key.wake {
                wake.send_replace(());
            }
        }
        self.keys.retain(|_, of_key| !of_key.is_over());
        for log in self.logs.values_mut() {
            *log = Log::new(log.next);
        }
    }

    /// The event with this number, counted in all or among those of the key; `None` if it is not
    /// there yet.
    pub(super) fn get(
        &self,
        key: Option<&Key>,
        number: u64,
    ) -> Result<Option<Arc<Received>>, Missed> {
        let number = match key {
            None => number,
            Some(key) => match self.keys.get(key) {
                None => return Ok(None),
                Some(of_key) => {
                    of_key.events.check(number)?;
                    match of_key.events.get(number) {
                        None => return Ok(None),
                        Some(number) => *number,
                    }
                }
            },
        };
        self.events.check(number)?;
        Ok(self.events.get(number).map(|(_, event)| Arc::clone(event)))
    }

    /// Before everything that is kept.
    pub(super) fn oldest(&self, key: Option<&Key>) -> Mark {
        let mut mark = self.mark(key, |log| (log.low, log.before));
        mark.number = match key {
            None => self.events.start(),
            Some(key) => self.keys.get(key).map_or(0, |of_key| of_key.events.start()),
        };
        mark
    }

    /// Behind everything.
    pub(super) fn newest(&self, key: Option<&Key>) -> Mark {
        let mut mark = self.mark(key, |log| (log.next, log.newest()));
        mark.number = match key {
            None => self.events.end(),
            Some(key) => self.keys.get(key).map_or(0, |of_key| of_key.events.end()),
        };
        mark
    }

    fn mark(&self, key: Option<&Key>, at: impl Fn(&Log) -> (i64, Option<log::Entry>)) -> Mark {
        let only = key.map(|(topic, key)| {
            let count = self.logs.keys().filter(|(of, _)| of == topic).count();
            (*topic, partition(key, count))
        });
        let mut mark = Mark::default();
        for (partition, log) in &self.logs {
            if only.is_some_and(|only| only != *partition) {
                continue;
            }
            let (next, last) = at(log);
            mark.next.insert(*partition, next);
            // Ids are in the order of time. Every replica knows the newest, if any.
            let last = last.map(|entry| entry.at(partition.1));
            mark.last = mark.last.into_iter().chain(last).max_by_key(|last| last.id);
        }
        mark
    }

    /// Where to go on behind a place; `None` if it was not reached yet.
    pub(super) fn find(&self, mut mark: Mark, key: Option<&Key>) -> Result<Option<Mark>, Gone> {
        let mut reached = !mark.next.is_empty();
        for (partition, next) in &mark.next {
            let log = self.logs.get(partition);
            if log.is_some_and(|log| *next < log.low) {
                return Err(Gone);
            }
            reached &= log.is_some_and(|log| *next <= log.next);
        }
        if !reached {
            return Ok(None);
        }
        if let Some(last) = mark.last {
            let mut logs = mark
                .next
                .keys()
                .filter(|(_, number)| *number == last.partition);
            let log = logs.next().and_then(|partition| self.logs.get(partition));
            if log.and_then(|log| log.id(last.offset)) != Some(last.id) {
                return Err(Gone);
            }
        }
        mark.number = match key {
            None => {
                // All partitions are there, or something of the others would be left out.
                if mark.next.len() != self.logs.len() {
                    return Err(Gone);
                }
                let of_partitions = mark
                    .next
                    .iter()
                    .filter_map(|(partition, next)| self.logs.get(partition)?.number_from(*next));
                of_partitions.min().unwrap_or(self.events.end())
            }
            Some(key) => match self.keys.get(key) {
                None => 0,
                Some(of_key) => of_key.events.partition_point(|number| {
                    self.events
                        .get(*number)
                        .is_some_and(|(_, event)| mark.is_before(event))
                }),
            },
        };
        Ok(Some(mark))
    }

    /// Wakes for events of the key alone, until as many have left as came.
    pub(super) fn follow(&mut self, key: &Key) -> watch::Receiver<()> {
        let of_key = self.keys.entry(key.clone()).or_default();
        of_key.followers += 1;
        of_key.wake.get_or_insert_default().subscribe()
    }

    pub(super) fn unfollow(&mut self, key: &Key) {
        if let Some(of_key) = self.keys.get_mut(key) {
            of_key.followers -= 1;
            if of_key.followers == 0 {
                of_key.wake = None;
            }
            if of_key.is_over() {
                self.keys.remove(key);
            }
        }
    }

    pub(super) fn positions(&self) -> Positions {
        let logs = self.logs.iter();
        logs.map(|(partition, log)| (*partition, log.next))
            .collect()
    }
}

impl OfKey {
    fn is_over(&self) -> bool {
        self.followers == 0 && self.events.len() == 0
    }
}

fn key(event: &Received) -> Key {
    (event.meta.event.topic, event.meta.key.clone())
}

fn bytes(event: &Received) -> usize {
    OVERHEAD_BYTES + event.payload.len()
}

#[cfg(test)]
mod tests;
