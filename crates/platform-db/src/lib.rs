//! Postgres as services use it: pool, migrations, requests carried out once, pages, errors.

pub mod error;
mod metrics;
pub mod migrate;
mod once;
mod page;
mod pool;
mod retry;
mod watch;

pub use error::Error;
pub use once::{Begun, OnceTx};
pub use page::Page;
pub use pool::{Db, DbArgs, Tx};
pub use retry::{Conflict, retry};

/// The tables of this crate; every service with a database passes it along with its own.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

#[cfg(test)]
mod tests;
