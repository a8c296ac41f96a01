//! All SQL of the service, as functions over a connection.

pub(crate) mod choice;
pub(crate) mod model;
