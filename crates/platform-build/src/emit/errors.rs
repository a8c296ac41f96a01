//! From checked contracts to the list of error reasons, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prost_reflect::EnumValueDescriptor;

use super::reasons::stated;
use crate::load::Loaded;
use crate::names;
use crate::options::Reason;
use crate::report::comment;

const HEAD: &str = "# Errors

<!-- Made from the protos; see `platform_build::Contracts::errors`. -->

Every refusal has a word that names one case on the whole platform.
In gRPC it is the `reason` of `google.rpc.ErrorInfo`; in GraphQL it is `code` of a user error, and `extensions.reason` of an entry of `errors`.
Where a repeat helps, the same request can succeed later, at the earliest after the delay that the answer names.
`./homeward errors REASON` explains a word.
";

/// A table for each who says them.
pub(crate) fn errors(contracts: &Loaded) -> String {
    let mut services: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for reasons in contracts.enums() {
        let service = names::deployable(reasons.package_name());
        services
            .entry(service)
            .or_default()
            .extend(stated(contracts, &reasons));
    }
    let [platform, request] = contracts
        .platform_reasons()
        .map(|reasons| stated(contracts, &reasons));
    let of_platform = [
        ("Every service".to_owned(), platform),
        ("The GraphQL endpoint".to_owned(), request),
    ];
    let mut text = HEAD.to_owned();
    for (who, reasons) in of_platform.into_iter().chain(services) {
        if reasons.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n## {who}\n\n| reason | code | a repeat | cause | remedy |\n| --- | --- | --- | --- | --- |\n"
        );
        for (value, reason) in &reasons {
            let _ = writeln!(text, "{}", row(value, reason));
        }
    }
    text
}

fn row(value: &EnumValueDescriptor, reason: &Reason) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    format!(
        "| `{}` | {} | {} | {} | {} |",
        names::word(value),
        reason.code,
        if reason.retryable {
            "helps"
        } else {
            "does not help"
        },
        cell(&comment(value)),
        cell(&reason.remedy)
    )
}
