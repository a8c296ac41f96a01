//! The checks over a schema of their own.

mod generated;
mod hostile;
mod inputs;
mod merging;
mod roots;
mod size;
mod zoo;

const FINE: &str = "OK";
const SYNTAX: &str = "GRAPHQL_SYNTAX_INVALID";
const LARGE: &str = "GRAPHQL_DOCUMENT_TOO_LARGE";
const INVALID: &str = "GRAPHQL_DOCUMENT_INVALID";
const INPUT: &str = "GRAPHQL_INPUT_INVALID";
const UNKNOWN: &str = "GRAPHQL_OPERATION_UNKNOWN";
