//! Error reasons.

use std::collections::HashMap;

use prost_reflect::{EnumDescriptor, EnumValueDescriptor};

use crate::load::Loaded;
use crate::names;
use crate::report::{Report, comment};

/// The names of `google.rpc.Code`, without `OK`.
const CODES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

pub(crate) fn check(contracts: &Loaded, report: &mut Report) {
    let mut words: HashMap<String, EnumValueDescriptor> = HashMap::new();
    let own = contracts
        .enums()
        .filter(|reasons| states(contracts, reasons));
    for reasons in contracts.platform_reasons().into_iter().chain(own) {
        for value in reasons.values().filter(|value| value.number() != 0) {
            if contracts.owns(&value.parent_file()) {
                check_value(contracts, &value, report);
            }
            let word = names::word(&value).to_owned();
            if let Some(first) = words.insert(word.clone(), value.clone()) {
                let place = report.place(&first);
                report.refuse(
                    &value,
                    format!("the reason `{word}` names another case at {place}"),
                );
                words.insert(word, first);
            }
        }
        for zero in reasons
            .values()
            .filter(|value| value.number() == 0 && contracts.options.reason(value).is_some())
        {
            report.refuse(
                &zero,
                format!(
                    "`{}` is no reason, so it has no option `reason`",
                    zero.name()
                ),
            );
        }
    }
}

fn states(contracts: &Loaded, values: &EnumDescriptor) -> bool {
    values.name() == "ErrorReason"
        || values
            .values()
            .any(|value| contracts.options.reason(&value).is_some())
}

fn check_value(contracts: &Loaded, value: &EnumValueDescriptor, report: &mut Report) {
    let name = value.name();
    let Some(reason) = contracts.options.reason(value) else {
        report.refuse(value, format!("reason `{name}` has no option `reason`"));
        return;
    };
    if !CODES.contains(&reason.code.as_str()) {
        report.refuse(
            value,
            format!("reason `{name}`: `{}` is no gRPC status code", reason.code),
        );
    }
    if reason.remedy.is_empty() {
        report.refuse(value, format!("reason `{name}` states no remedy"));
    }
    if comment(value).is_empty() {
        report.refuse(
            value,
            format!("reason `{name}` has no comment in front of it to state the cause"),
        );
    }
}
