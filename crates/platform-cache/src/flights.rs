//! Loads under way in this process, so that many who miss the same key make one query.
//!
//! Who comes while a load is under way may share it only if its SELECT sees everything that was
//! committed before they came. It does if it began after they came, or if after they came they have
//! seen the token under the key with which it began: whoever invalidates takes the token away.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::entry::Token;

pub(crate) struct Flights<V> {
    /// Tells our tokens from those of other processes.
    process: u64,
    clock: AtomicU64,
    under_way: Mutex<HashMap<String, Flight<V>>>,
}

struct Flight<V> {
    number: u64,
    /// When its SELECT began, and with which token; nothing before.
    began: Option<(u64, Option<Token>)>,
    outcome: watch::Receiver<Outcome<V>>,
}

#[derive(Clone)]
enum Outcome<V> {
    Loading,
    Loaded(Option<V>),
    Failed,
}

/// What came of somebody else's load.
pub(crate) enum Shared<V> {
    Loaded(Option<V>),
    /// Everybody is to find out alone.
    Failed,
    /// It was given up.
    Abandoned,
}

/// Somebody else's load.
pub(crate) struct Seat<V>(watch::Receiver<Outcome<V>>);

/// A load of our own; over with this value.
pub(crate) struct Lead<'a, V> {
    flights: &'a Flights<V>,
    number: u64,
    keys: Vec<(usize, String, watch::Sender<Outcome<V>>)>,
}

/// When somebody came.
#[derive(Clone, Copy)]
pub(crate) struct Arrival(u64);

impl<V: Clone> Flights<V> {
    pub(crate) fn new() -> Self {
        Self {
            process: RandomState::new().hash_one(std::process::id()),
            clock: AtomicU64::new(0),
            under_way: Mutex::default(),
        }
    }

    pub(crate) fn arrive(&self) -> Arrival {
        Arrival(self.clock.fetch_add(1, Ordering::SeqCst))
    }

    /// For keys that were missing, by place, with the token that was found under each: those that
    /// we load, and those that we share.
    pub(crate) fn board(
        &self,
        arrival: Arrival,
        missing: Vec<(usize, String, Option<Token>)>,
    ) -> (Lead<'_, V>, Vec<(usize, Seat<V>)>) {
        let mut under_way = self.under_way();
        let mut lead = Lead {
            flights: self,
            number: self.clock.fetch_add(1, Ordering::SeqCst),
            keys: Vec::new(),
        };
        let mut seats = Vec::new();
        for (place, key, token) in missing {
            match under_way.get(&key) {
                Some(flight) if flight.serves(arrival, token) => {
                    seats.push((place, Seat(flight.outcome.clone())));
                }
                _ => {
                    let (sender, outcome) = watch::channel(Outcome::Loading);
                    let number = lead.number;
                    let flight = Flight {
                        number,
                        began: None,
                        outcome,
                    };
                    under_way.insert(key.clone(), flight);
                    lead.keys.push((place, key, sender));
                }
            }
        }
        (lead, seats)
    }
}

impl<V> Flight<V> {
    /// Whether its SELECT sees all that somebody may expect who came then, and has found this
    /// token since.
    fn serves(&self, arrival: Arrival, found: Option<Token>) -> bool {
        match self.began {
            None => true,
            Some((began, token)) => began > arrival.0 || (token.is_some() && token == found),
        }
    }
}

impl<V> Flights<V> {
    fn under_way(&self) -> MutexGuard<'_, HashMap<String, Flight<V>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone> Lead<'_, V> {
    /// For keys that have none.
    pub(crate) fn token(&self) -> Token {
        let (process, number) = (u128::from(self.flights.process), u128::from(self.number));
        (process << 64 | number).to_be_bytes()
    }

    /// To be called before the SELECT, with the token that was found under a key by then.
    pub(crate) fn begins(&self, key: &str, token: Option<Token>) {
        let mut under_way = self.flights.under_way();
        if let Some(flight) = under_way.get_mut(key)
            && flight.number == self.number
        {
            let now = self.flights.clock.fetch_add(1, Ordering::SeqCst);
            flight.began = Some((now, token));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Places and keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (usize, &str)> {
        self.keys
            .iter()
            .map(|(place, key, _)| (*place, key.as_str()))
    }

    /// Gives everybody what was found for a key.
    pub(crate) fn loaded(&self, place: usize, value: &Option<V>) {
        if let Some((.., outcome)) = self.keys.iter().find(|(at, ..)| *at == place) {
            outcome.send_replace(Outcome::Loaded(value.clone()));
        }
    }

    /// Tells everybody whom nothing was given.
    pub(crate) fn failed(&self) {
        for (.., outcome) in &self.keys {
            outcome.send_if_modified(|outcome| {
                let loading = matches!(outcome, Outcome::Loading);
                if loading {
                    *outcome = Outcome::Failed;
                }
                loading
            });
        }
    }
}

impl<V> Drop for Lead<'_, V> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way();
        for (_, key, _) in &self.keys {
            if under_way
                .get(key)
                .is_some_and(|flight| flight.number == self.number)
            {
                under_way.remove(key);
            }
        }
    }
}

impl<V: Clone> Seat<V> {
    pub(crate) async fn landed(mut self) -> Shared<V> {
        let over = |outcome: &Outcome<V>| !matches!(outcome, Outcome::Loading);
        match self.0.wait_for(over).await.as_deref() {
            Ok(Outcome::Loaded(value)) => Shared::Loaded(value.clone()),
            Ok(Outcome::Failed) => Shared::Failed,
            Ok(Outcome::Loading) | Err(_) => Shared::Abandoned,
        }
    }
}
