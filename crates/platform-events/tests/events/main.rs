//! Events against a real Postgres and a real Kafka; a mock cluster only where a broker must
//! misbehave.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod beginning;
mod broadcasting;
mod children;
mod consuming;
mod faults;
mod relaying;
mod resuming;
mod revoking;
mod support;
mod traces;
