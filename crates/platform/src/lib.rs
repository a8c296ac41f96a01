//! What every service shares: start-up, servers, clients, identity, errors, limits.

pub mod admin;
pub mod admission;
pub mod app;
pub mod auth;
pub mod client;
pub mod config;
pub mod deadline;
pub mod describe;
pub mod error;
pub mod grpc;
pub mod http;
pub mod logging;
pub mod runtime;
pub mod sealed;
pub mod shutdown;
pub mod telemetry;
pub mod text;
pub mod time;
pub mod trace;

pub use app::App;
pub use runtime::{Running, Runtime, run_in_process};

/// Static programs bring their own: that of musl has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
