//! The gRPC client: one channel per service called, balanced over its replicas.
//!
//! A call goes to a replica that is connected; replicas that are away are tried again beside the calls. A
//! call is sent a second time, to another replica, only if the first provably never reached a handler: the
//! connection was gone before it was written, or the peer refused the stream or left it out of its GOAWAY.
//! Everything else is the caller's to repeat. Trace context and the remaining time go along.

mod channel;
mod endpoint;
mod metrics;
mod payload;
mod received;
mod target;

#[cfg(test)]
mod tests;

pub use channel::Channel;
pub use endpoint::{Condition, EndpointState};
pub use metrics::Metrics;
pub use target::{GrpcTarget, TargetMalformed};
