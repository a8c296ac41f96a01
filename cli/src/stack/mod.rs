//! The stack on this machine: its plan, its processes, what is known about them.
//!
//! Infrastructure (`postgres`) and services are processes alike, see [`process::Process`];
//! another kind of infrastructure is a file beside `postgres.rs` and a line in
//! [`plan::Plan::infrastructure`].

pub(crate) mod databases;
pub(crate) mod describe;
pub(crate) mod environment;
pub(crate) mod kafka;
pub(crate) mod plan;
pub(crate) mod postgres;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod replicas;
pub(crate) mod state;
pub(crate) mod supervisor;
