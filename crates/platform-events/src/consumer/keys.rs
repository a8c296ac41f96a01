//! Events that were read and are not yet handled: one after the other within a key, any number of
//! keys beside each other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::message::Message;

/// What orders events: the topic and the key.
pub(super) type Key = (&'static str, Vec<u8>);

#[derive(Default)]
pub(super) struct Keys {
    queues: HashMap<Key, VecDeque<Item>>,
    /// Keys whose first event may be handled now. A key that is being handled, or waits for its
    /// next try, is in `queues` only.
    ready: VecDeque<Key>,
    count: usize,
    bytes: usize,
}

/// One event on its way to its handler.
pub(super) struct Item {
    pub(super) message: Arc<Message>,
    /// How often it was tried.
    pub(super) tries: u32,
    /// It has failed in the company of others: who is to blame shows when it is alone.
    pub(super) alone: bool,
    /// It has failed as often as it may, and why.
    pub(super) given_up: Option<String>,
}

/// The first event of a key, to be handled, or parked if it is given up.
#[derive(Clone)]
pub(super) struct Taken {
    pub(super) message: Arc<Message>,
    pub(super) given_up: Option<String>,
}

impl Keys {
    pub(super) fn push(&mut self, message: Message) {
        self.count += 1;
        self.bytes += message.bytes();
        let key = message.order();
        let queue = self.queues.entry(key.clone()).or_default();
        queue.push_back(Item {
            message: Arc::new(message),
            tries: 0,
            alone: false,
            given_up: None,
        });
        if queue.len() == 1 {
            self.ready.push_back(key);
        }
    }

    /// The first events of some keys, to be handled in one transaction.
    pub(super) fn take(&mut self, max: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(key) = self.ready.front() else { break };
            let Some(item) = self.queues.get(key).and_then(VecDeque::front) else {
                self.ready.pop_front();
                continue;
            };
            if item.alone && !taken.is_empty() {
                break;
            }
            let alone = item.alone;
            taken.push(Taken {
                message: Arc::clone(&item.message),
                given_up: item.given_up.clone(),
            });
            self.ready.pop_front();
            if alone {
                break;
            }
        }
        taken
    }

    /// The first event of the key is done with.
    pub(super) fn done(&mut self, key: &Key) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        if let Some(item) = queue.pop_front() {
            self.count -= 1;
            self.bytes -= item.message.bytes();
        }
        if queue.is_empty() {
            self.queues.remove(key);
        } else {
            self.ready.push_back(key.clone());
        }
    }

    /// The first event of a key that was taken; the caller says when it is [`Keys::ready`] again.
    pub(super) fn first(&mut self, key: &Key) -> Option<&mut Item> {
        self.queues.get_mut(key).and_then(VecDeque::front_mut)
    }

    /// The first event of the key may be tried again.
    pub(super) fn ready(&mut self, key: Key) {
        self.ready.push_front(key);
    }

    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::message::tests::message;

    fn offsets(taken: &[Taken]) -> Vec<i64> {
        taken.iter().map(|taken| taken.message.offset).collect()
    }

    #[test]
    fn events_of_a_key_come_one_after_the_other() {
        let mut keys = Keys::default();
        for (offset, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            keys.push(message(key, offset));
        }
        let first = keys.take(10);
        assert_eq!(offsets(&first), [1, 3]);
        assert!(keys.take(10).is_empty());

        keys.done(&first[0].message.order());
        assert_eq!(offsets(&keys.take(10)), [2]);
        keys.done(&first[0].message.order());
        assert_eq!(offsets(&keys.take(10)), [4]);
        keys.done(&first[0].message.order());
        keys.done(&first[1].message.order());
        assert_eq!((keys.count(), keys.bytes(), keys.ready_count()), (0, 0, 0));
    }

    #[test]
    fn what_has_failed_is_tried_alone_and_first() {
        let mut keys = Keys::default();
        for (offset, key) in [(1, "a"), (2, "b"), (3, "c")] {
            keys.push(message(key, offset));
        }
        let a = keys.take(1)[0].message.order();
        keys.first(&a).unwrap().alone = true;
        keys.ready(a);
        assert_eq!(offsets(&keys.take(10)), [1]);
        assert_eq!(offsets(&keys.take(10)), [2, 3]);
    }
}
