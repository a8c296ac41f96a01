//! GraphQL for any schema: HTTP in front, checks before execution, errors, scalars, global ids.

mod admission;
pub mod assets;
pub mod connection;
pub mod context;
pub mod document;
pub mod error;
pub mod feed;
pub mod graphiql;
pub mod guard;
pub mod hot;
pub mod http;
pub mod id;
mod json;
pub mod live;
pub mod persisted;
pub mod rate;
pub mod refusal;
pub mod scalars;
pub mod session;
#[cfg(test)]
mod tests;

pub use admission::Turn;
pub use connection::{Connection, Edge, Page, PageInfo};
pub use context::Context;
pub use document::{Document, Documents, Prepared};
pub use error::{Failure, UserError};
pub use graphiql::Graphiql;
pub use guard::{Checker, Limits, Open, schemas};
pub use http::{Endpoint, EndpointArgs, Origins, health};
pub use id::{GlobalId, Kind};
pub use live::{Live, LiveArgs};
pub use persisted::{Manifest, Persisted};
pub use scalars::{Currency, DateTime, Long, RequestId};
