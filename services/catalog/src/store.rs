//! All SQL of the service, as functions over a connection.

pub(crate) mod offer;
pub(crate) mod vote;
