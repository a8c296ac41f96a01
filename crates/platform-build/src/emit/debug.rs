//! `Debug` that prints `***` in place of secrets.

use std::fmt::Write as _;

use heck::ToUpperCamelCase;
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};

use crate::load::Loaded;
use crate::names;
use crate::options::redacted;

/// The messages that prost shall not derive `Debug` for.
/// It then leaves it out for what is nested in them, too.
pub(crate) fn skipped(contracts: &Loaded) -> Vec<String> {
    secretive(contracts)
        .map(|message| format!(".{}", message.full_name()))
        .collect()
}

/// The impls for one package.
pub(crate) fn emit(contracts: &Loaded, package: &str, code: &mut String) {
    let secretive: Vec<_> = secretive(contracts).collect();
    let within = |message: &MessageDescriptor| {
        let outwards =
            std::iter::successors(Some(message.clone()), MessageDescriptor::parent_message);
        outwards.into_iter().any(|outer| secretive.contains(&outer))
    };
    for descriptor in contracts
        .messages()
        .filter(|m| m.package_name() == package && within(m))
    {
        message(&descriptor, code);
        descriptor
            .oneofs()
            .filter(|oneof| !oneof.is_synthetic())
            .for_each(|descriptor| oneof(&descriptor, code));
        for nested in descriptor.child_enums() {
            let rust = names::nested(nested.parent_message(), nested.name());
            implement(&rust, "f.write_str(self.as_str_name())", code);
        }
    }
}

fn secretive(contracts: &Loaded) -> impl Iterator<Item = MessageDescriptor> + '_ {
    contracts
        .messages()
        .filter(|message| message.fields().any(|field| redacted(&field)))
}

fn message(message: &MessageDescriptor, code: &mut String) {
    let mut body = format!("f.debug_struct({:?})", message.name().to_upper_camel_case());
    let plain = |field: &FieldDescriptor| {
        field
            .containing_oneof()
            .is_none_or(|oneof| oneof.is_synthetic())
    };
    for field in message.fields().filter(plain) {
        let _ = write!(
            body,
            "\n            .field({:?}, &{})",
            field.name(),
            shown(&field)
        );
    }
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let _ = write!(
            body,
            "\n            .field({:?}, &self.{})",
            oneof.name(),
            names::module(oneof.name())
        );
    }
    body.push_str("\n            .finish()");
    implement(
        &names::nested(message.parent_message(), message.name()),
        &body,
        code,
    );
}

/// What is printed of a field.
fn shown(field: &FieldDescriptor) -> String {
    let name = names::module(field.name());
    if redacted(field) {
        r#"format_args!("***")"#.to_owned()
    } else if matches!(field.kind(), Kind::Enum(_))
        && field.cardinality() != Cardinality::Repeated
        && !field.supports_presence()
    {
        // The getter yields the variant, the field only its number.
        format!("self.{name}()")
    } else {
        format!("self.{name}")
    }
}

fn oneof(oneof: &OneofDescriptor, code: &mut String) {
    let mut body = "match self {\n".to_owned();
    for field in oneof.fields() {
        let variant = field.name().to_upper_camel_case();
        let _ = if redacted(&field) {
            writeln!(
                body,
                "            Self::{variant}(_) => f.write_str(\"{variant}(***)\"),"
            )
        } else {
            writeln!(
                body,
                "            Self::{variant}(value) => f.debug_tuple({variant:?}).field(value).finish(),"
            )
        };
    }
    body.push_str("        }");
    let rust = format!(
        "{}{}",
        names::modules(oneof.parent_message()),
        oneof.name().to_upper_camel_case()
    );
    implement(&rust, &body, code);
}

fn implement(rust: &str, body: &str, code: &mut String) {
    let _ = write!(
        code,
        "
impl ::core::fmt::Debug for {rust} {{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{
        {body}
    }}
}}
"
    );
}
