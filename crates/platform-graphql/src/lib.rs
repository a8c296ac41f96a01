//! GraphQL for any schema: HTTP in front, checks before execution, errors, scalars, global ids.

pub mod connection;
pub mod context;
pub mod error;
pub mod guard;
pub mod http;
pub mod id;
pub mod refusal;
pub mod scalars;
#[cfg(test)]
mod tests;

pub use connection::{Connection, Edge, Page, PageInfo};
pub use context::Context;
pub use error::{Failure, UserError};
pub use guard::Limits;
pub use http::Endpoint;
pub use id::{GlobalId, Kind};
pub use scalars::{Currency, DateTime, Long, RequestId};
