//! How many sockets and streams are open: in all, from one address, of one user.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use platform::auth::Caller;
use platform_contract::PlatformReason;

use super::Live;
use super::metrics::Transport;
use crate::refusal::{Refusal, RequestReason};

/// What a refused client is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Seats {
    total: usize,
    networks: HashMap<IpAddr, usize>,
    users: HashMap<Box<str>, usize>,
}

/// Held by a socket or stream while it is open.
pub(super) struct Seat {
    pub(super) live: Arc<Live>,
    transport: Transport,
    network: Option<IpAddr>,
    user: Option<Box<str>>,
}

impl Live {
    /// Room for one more.
    pub(super) fn seat(
        self: &Arc<Self>,
        transport: Transport,
        network: Option<IpAddr>,
    ) -> Result<Seat, Refusal> {
        if self.is_draining() {
            return Err(Refusal::new(
                PlatformReason::Overloaded,
                StatusCode::SERVICE_UNAVAILABLE,
                "the service restarts",
            )
            .retry_after(Duration::from_secs(1)));
        }
        let mut seats = self.seats();
        if seats.total >= self.args.live_max {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(exceeded(
                status,
                "there are as many streams as there may be",
            ));
        }
        if let Some(network) = network
            && !take(&mut seats.networks, network, self.args.live_address_max)
        {
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Err(exceeded(status, "too many streams from this address"));
        }
        seats.total += 1;
        drop(seats);
        let label = transport.label();
        self.metrics.connections.get_or_create(&label).inc();
        Ok(Seat {
            live: self.clone(),
            transport,
            network,
            user: None,
        })
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.seats().total
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Counts for this caller from now on.
    pub(super) fn of(&mut self, caller: &Caller) -> Result<(), Refusal> {
        if self.user.is_some() || *caller == Caller::Nobody {
            return Ok(());
        }
        let user: Box<str> = caller.principal().into();
        let max = self.live.args.live_user_max;
        if !take(&mut self.live.seats().users, user.clone(), max) {
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Err(exceeded(status, "too many streams of this user"));
        }
        self.user = Some(user);
        Ok(())
    }

    /// Counts a message sent.
    pub(super) fn sent(&self) {
        let label = self.transport.label();
        self.live.metrics.messages.get_or_create(&label).inc();
    }

    /// Counts how it ends.
    pub(super) fn closed(&self, code: impl Into<String>) {
        let label = self.transport.closed(code);
        self.live.metrics.closes.get_or_create(&label).inc();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.live.seats();
        seats.total -= 1;
        if let Some(network) = self.network {
            give_back(&mut seats.networks, network);
        }
        if let Some(user) = self.user.take() {
            give_back(&mut seats.users, user);
        }
        drop(seats);
        let label = self.transport.label();
        self.live.metrics.connections.get_or_create(&label).dec();
        self.live.left.notify_one();
    }
}

fn take<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, max: usize) -> bool {
    let count = counts.entry(key).or_default();
    // Never zero afterwards, since `max` is at least one.
    let free = *count < max;
    *count += usize::from(free);
    free
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

fn exceeded(status: StatusCode, message: &str) -> Refusal {
    Refusal::new(RequestReason::StreamsExceeded, status, message).retry_after(RETRY_AFTER)
}
