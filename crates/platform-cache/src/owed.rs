//! Invalidations that Redis has not confirmed yet. Until it has, this process does not read the
//! keys from it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Keys that are remembered; with more, nothing is read until all that is stored has expired.
pub(crate) const OWED_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Owed<const N: usize> {
    state: Mutex<State<N>>,
    /// Something is owed.
    pub(crate) wake: Notify,
}

struct State<const N: usize> {
    keys: HashMap<String, [i64; N]>,
    /// There were too many.
    forgotten: bool,
    distrusted_until: Option<Instant>,
}

impl<const N: usize> Default for State<N> {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            forgotten: false,
            distrusted_until: None,
        }
    }
}

impl<const N: usize> Owed<N> {
    pub(crate) fn add(&self, key: &str, versions: [i64; N]) {
        let mut state = self.state();
        if state.keys.len() >= OWED_MAX && !state.keys.contains_key(key) {
            state.forgotten = true;
        } else {
            let owed = state.keys.entry(key.to_owned()).or_insert(versions);
            for (owed, version) in owed.iter_mut().zip(versions) {
                *owed = version.max(*owed);
            }
        }
        self.wake.notify_one();
    }

    /// Redis knows these versions.
    pub(crate) fn paid(&self, key: &str, versions: [i64; N]) {
        let mut state = self.state();
        if let Some(owed) = state.keys.get(key)
            && owed.iter().zip(versions).all(|(owed, paid)| *owed <= paid)
        {
            state.keys.remove(key);
        }
    }

    pub(crate) fn some(&self, max: usize) -> Vec<(String, [i64; N])> {
        let state = self.state();
        let keys = state.keys.iter().take(max);
        keys.map(|(key, versions)| (key.clone(), *versions))
            .collect()
    }

    /// Nothing is owed any more. If some was forgotten, what is stored may still be wrong, for as
    /// long as it lives.
    pub(crate) fn settled(&self, life_max: Duration) {
        let mut state = self.state();
        if std::mem::take(&mut state.forgotten) {
            state.distrusted_until = Some(Instant::now() + life_max);
        }
    }

    /// Of these places, those whose keys may not be read.
    pub(crate) fn split(&self, places: Vec<usize>, keys: &[String]) -> (Vec<usize>, Vec<usize>) {
        let mut state = self.state();
        if state
            .distrusted_until
            .is_some_and(|until| until <= Instant::now())
        {
            state.distrusted_until = None;
        }
        if state.forgotten || state.distrusted_until.is_some() {
            return (places, Vec::new());
        }
        let owed = |place: &usize| state.keys.contains_key(&keys[*place]);
        places.into_iter().partition(owed)
    }

    fn state(&self) -> MutexGuard<'_, State<N>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
