//! Error reasons.

use std::fmt::Write as _;

use heck::ToUpperCamelCase;
use prost_reflect::{EnumDescriptor, EnumValueDescriptor};

use crate::load::Loaded;
use crate::names;
use crate::options::Reason;
use crate::report::comment;

/// `Reason` for the enums of one package that state reasons.
pub(crate) fn emit(contracts: &Loaded, package: &str, code: &mut String) {
    for reasons in contracts
        .enums()
        .filter(|reasons| reasons.package_name() == package)
    {
        if reasons
            .values()
            .any(|value| contracts.options.reason(&value).is_some())
        {
            let rust = names::nested(reasons.parent_message(), reasons.name());
            implement(contracts, &reasons, &rust, "::platform_contract::", code);
        }
    }
}

/// Reasons of the platform as a plain enum, without the value that is none.
pub(crate) fn plain(platform: &Loaded, reasons: &EnumDescriptor) -> String {
    let name = reasons.name();
    let mut code = format!(
        "/// {}\n#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]\npub enum {name} {{\n",
        comment(reasons)
    );
    for (value, _) in stated(platform, reasons) {
        let _ = writeln!(
            code,
            "    /// {}\n    {},",
            comment(&value),
            names::variant(&value)
        );
    }
    code.push_str("}\n");
    implement(platform, reasons, name, "", &mut code);
    code
}

fn implement(
    contracts: &Loaded,
    reasons: &EnumDescriptor,
    rust: &str,
    path: &str,
    code: &mut String,
) {
    let mut all = String::new();
    let mut arms: [String; 5] = Default::default();
    // Only an enum made by prost has the value 0; it is no reason, so it is not in `ALL`.
    let zero = !path.is_empty();
    for value in reasons
        .values()
        .filter(|value| zero || contracts.options.reason(value).is_some())
    {
        let reason = contracts.options.reason(&value);
        let variant = names::variant(&value);
        if reason.is_some() {
            let _ = write!(all, "Self::{variant}, ");
        }
        let reason = reason.unwrap_or_else(|| Reason {
            code: "UNKNOWN".to_owned(),
            ..Reason::default()
        });
        let columns = [
            format!("{:?}", names::word(&value)),
            format!("{path}Code::{}", reason.code.to_upper_camel_case()),
            reason.retryable.to_string(),
            format!("{:?}", comment(&value)),
            format!("{:?}", reason.remedy),
        ];
        for (arms, column) in arms.iter_mut().zip(columns) {
            let _ = writeln!(arms, "            Self::{variant} => {column},");
        }
    }
    let [words, codes, retryable, causes, remedies] = arms;
    let _ = write!(
        code,
        "
impl {rust} {{
    /// Every reason, in the order of the proto.
    pub const ALL: &'static [Self] = &[{all}];
}}

#[allow(clippy::match_same_arms, clippy::match_like_matches_macro)]
impl {path}Reason for {rust} {{
    fn word(self) -> &'static str {{
        match self {{
{words}        }}
    }}

    fn code(self) -> {path}Code {{
        match self {{
{codes}        }}
    }}

    fn retryable(self) -> bool {{
        match self {{
{retryable}        }}
    }}

    fn cause(self) -> &'static str {{
        match self {{
{causes}        }}
    }}

    fn remedy(self) -> &'static str {{
        match self {{
{remedies}        }}
    }}
}}
"
    );
}

/// The values that are reasons, in the order of the proto.
pub(super) fn stated(
    contracts: &Loaded,
    reasons: &EnumDescriptor,
) -> Vec<(EnumValueDescriptor, Reason)> {
    reasons
        .values()
        .filter_map(|value| Some((value.clone(), contracts.options.reason(&value)?)))
        .collect()
}
