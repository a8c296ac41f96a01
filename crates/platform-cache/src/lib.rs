//! Redis, which may be gone at any time: a read-through cache whose values are never older than
//! what is known, and a handle on Redis for other uses.

mod args;
mod cache;
mod entry;
mod flights;
mod metrics;
mod owed;
mod redis;
mod script;

pub use args::RedisArgs;
pub use cache::{Cache, Loaded, Settings};
pub use redis::{Redis, Unavailable};
pub use script::Script;

pub use fred;

#[cfg(test)]
mod tests;
