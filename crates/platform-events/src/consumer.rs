//! Hears events: each takes effect once, in the order of its key.

mod keys;
pub(crate) mod message;
mod offsets;
mod positions;
mod read;
mod redrive;
mod step;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use platform_contract::{Event, EventType};
use sqlx::PgConnection;

use crate::envelope::{Meta, decode};

pub use redrive::Redriven;

/// Handles one type of event.
pub trait Handle<E: Event>: Send + Sync + 'static {
    /// Carries out what the event means, in the transaction that records it as seen: what is
    /// written through `conn` happens once, whatever else is done here at least once.
    ///
    /// A handler that fails is called again, with the pause growing; in the end the event is
    /// parked, and the later ones of its key behind it. One that must not be handled is `Ok`.
    fn handle(
        &self,
        conn: &mut PgConnection,
        event: E,
        meta: &Meta,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a service does about events; one group of consumers, however many replicas run it.
pub struct Consumer {
    name: &'static str,
    contract: &'static [EventType],
    handlers: HashMap<&'static str, Box<dyn Handler>>,
    complete: bool,
}

impl Consumer {
    /// A consumer that handles nothing yet. `name`, mostly that of the service, names its group
    /// and never changes. `contract` has every event that there is: what is not in it, or does not
    /// come from the owner, is refused.
    pub fn new(name: &'static str, contract: &'static [EventType]) -> Consumer {
        Consumer {
            name,
            contract,
            handlers: HashMap::new(),
            complete: false,
        }
    }

    /// Handles events of type `E`. Other types of the same topic raise the version of their key.
    pub fn on<E: Event>(mut self, handlers: &Arc<impl Handle<E>>) -> Consumer {
        let handler = Typed::<E, _> {
            handlers: Arc::clone(handlers),
            event: PhantomData,
        };
        self.handlers.insert(E::NAME, Box::new(handler));
        self
    }

    /// Says that the consumer was rebuilt before it began (see [`crate::inbox::raise`]), so that it
    /// knows every key: one that it does not know begins with version 1, or events of it were
    /// lost. Without this, a new key may begin anywhere.
    pub fn complete(mut self) -> Consumer {
        self.complete = true;
        self
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The topics of what is handled.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &'static str> {
        let mut topics: Vec<_> = self
            .contract
            .iter()
            .filter(|event| self.handlers.contains_key(event.name))
            .map(|event| event.topic)
            .collect();
        topics.sort_unstable();
        topics.dedup();
        topics.into_iter()
    }

    /// Names of handled events that the contract does not have: a fault of the program.
    fn unknown(&self) -> Vec<&'static str> {
        let known = |name: &&str| self.contract.iter().any(|event| event.name == *name);
        self.handlers
            .keys()
            .copied()
            .filter(|name| !known(name))
            .collect()
    }
}

/// [`Handle`] without its type of event.
trait Handler: Send + Sync {
    /// Begins to handle an event, or says why it cannot be read.
    fn begin<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        payload: &[u8],
        meta: &'a Meta,
    ) -> Result<BoxFuture<'a, anyhow::Result<()>>, String>;
}

struct Typed<E, H> {
    handlers: Arc<H>,
    event: PhantomData<fn() -> E>,
}

impl<E: Event, H: Handle<E>> Handler for Typed<E, H> {
    fn begin<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        payload: &[u8],
        meta: &'a Meta,
    ) -> Result<BoxFuture<'a, anyhow::Result<()>>, String> {
        let event: E = decode(payload, meta)?;
        Ok(Box::pin(self.handlers.handle(conn, event, meta)))
    }
}
