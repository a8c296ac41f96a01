//! Tests against the real thing: databases, an issuer of tokens, services in this process and
//! in processes of their own. For tests only: what goes wrong here panics with the reason.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

pub mod access;
mod collector;
mod db;
mod http;
pub mod issuer;
mod kafka;
mod ports;
pub mod queries;
mod redis;
mod service;
mod stack;
mod wait;

pub use collector::{Collector, Span, collector};
pub use db::{TestDb, db, db_with_roles};
pub use http::metric;
pub use issuer::Issuer;
pub use kafka::{Kafka, NO_BROKER, Said, kafka};
pub use redis::{NO_REDIS, Redis, RedisProcess, redis};
pub use service::{Vars, secret, start, start_unready};
pub use stack::{Plan, Stack};
pub use wait::{until, until_within};
