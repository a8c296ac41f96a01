//! The rules that a contract must keep.

mod layout;
mod messages;
mod methods;
mod reasons;

use prost_reflect::{Cardinality, Kind, MessageDescriptor};

use crate::load::Loaded;
use crate::report::{Report, Violations};

/// Checks every rule, and names every place that breaks one.
pub(crate) fn check(contracts: &Loaded) -> Result<(), Violations> {
    let mut report = Report::new(contracts.root.clone());
    layout::check(contracts, &mut report);
    messages::check(contracts, &mut report);
    methods::check(contracts, &mut report);
    reasons::check(contracts, &mut report);
    report.finish()
}

/// Whether the message has exactly this plain field: one value, without `optional` or `oneof`.
fn has(message: &MessageDescriptor, name: &str, kind: Kind) -> bool {
    message.get_field_by_name(name).is_some_and(|field| {
        field.kind() == kind
            && field.cardinality() != Cardinality::Repeated
            && field.containing_oneof().is_none()
    })
}
