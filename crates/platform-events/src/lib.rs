//! Events between services: at least once on the wire, in order per key, once in effect.

mod args;
mod blocking;
pub mod broadcast;
pub mod command;
mod consumer;
mod context;
mod envelope;
pub mod inbox;
mod metrics;
mod outbox;
pub mod parked;
mod relay;
mod revocations;
mod seldom;
mod session;
mod spans;
mod topics;

pub use args::{Kafka, KafkaArgs, Options};
pub use broadcast::Broadcast;
pub use consumer::{Consumer, Handle, Redriven};
pub use envelope::{Actor, Meta};
pub use outbox::{PublishError, publish};
pub use relay::relay;
pub use revocations::{REVOCATIONS_AGE, revocations, revoking};
pub use topics::{PARTITIONS, TopicsError, ensure_topics};

/// The tables of this crate; every service that says or hears events passes it along with
/// its own.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();
