//! Everything that is generated from `proto/`: `api::homeward::catalog::v1` and so on.

include!(concat!(env!("OUT_DIR"), "/contracts.rs"));
