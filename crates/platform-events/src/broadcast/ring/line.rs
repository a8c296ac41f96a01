//! A queue whose items keep their numbers.

use std::collections::VecDeque;

use crate::broadcast::Missed;

pub(super) struct Line<T> {
    /// The number of the oldest item that is kept.
    start: u64,
    items: VecDeque<T>,
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line {
            start: 0,
            items: VecDeque::new(),
        }
    }
}

impl<T> Line<T> {
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The number that the next item will have.
    pub(super) fn end(&self) -> u64 {
        self.start + self.items.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn first(&self) -> Option<&T> {
        self.items.front()
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.items.back()
    }

    /// `None` if it is not there yet, or not any more.
    pub(super) fn get(&self, number: u64) -> Option<&T> {
        let index = usize::try_from(number.checked_sub(self.start)?).ok()?;
        self.items.get(index)
    }

    /// An error if items from this number on are gone.
    pub(super) fn check(&self, number: u64) -> Result<(), Missed> {
        match self.start.saturating_sub(number) {
            0 => Ok(()),
            missed => Err(Missed(missed)),
        }
    }

    pub(super) fn push(&mut self, item: T) {
        self.items.push_back(item);
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.start += 1;
        Some(item)
    }

    /// Empty, and whoever had seen all has missed something.
    pub(super) fn break_off(&mut self) {
        self.start = self.end() + 1;
        self.items.clear();
    }

    /// The first number whose item is not `before`, where those that are come first.
    pub(super) fn partition_point(&self, before: impl FnMut(&T) -> bool) -> u64 {
        self.start + self.items.partition_point(before) as u64
    }
}
