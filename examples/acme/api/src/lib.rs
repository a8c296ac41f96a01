//! Everything that is generated from `proto/`: `acme_api::acme::orders::v1`.

include!(concat!(env!("OUT_DIR"), "/contracts.rs"));
