//! Names: the rules for those in protos, and what they become in Rust.

use heck::{ToShoutySnakeCase, ToSnakeCase, ToUpperCamelCase};
use prost_reflect::{EnumDescriptor, EnumValueDescriptor, FileDescriptor, MessageDescriptor};

/// Verbs whose past does not end in `-ed`.
const IRREGULAR: &[&str] = &[
    "begun",
    "bought",
    "broken",
    "built",
    "caught",
    "chosen",
    "cast",
    "cut",
    "done",
    "drawn",
    "driven",
    "fallen",
    "found",
    "given",
    "gone",
    "grown",
    "held",
    "hidden",
    "kept",
    "laid",
    "left",
    "lent",
    "lost",
    "made",
    "met",
    "paid",
    "put",
    "read",
    "run",
    "seen",
    "sent",
    "set",
    "shown",
    "shut",
    "sold",
    "spent",
    "split",
    "spoken",
    "stolen",
    "taken",
    "told",
    "understood",
    "won",
    "written",
    "withdrawn",
];

/// `offer_id`
pub(crate) fn is_snake(name: &str) -> bool {
    is_words(name, '_', |c| c.is_ascii_lowercase())
}

/// `OFFER_ID`
pub(crate) fn is_shouty(name: &str) -> bool {
    is_words(name, '_', |c| c.is_ascii_uppercase())
}

/// `offer-id`
pub(crate) fn is_kebab(name: &str) -> bool {
    is_words(name, '-', |c| c.is_ascii_lowercase())
}

/// Non-empty words of letters and digits, the first beginning with a letter.
fn is_words(name: &str, separator: char, letter: fn(char) -> bool) -> bool {
    name.starts_with(letter)
        && name
            .split(separator)
            .all(|word| !word.is_empty() && word.chars().all(|c| letter(c) || c.is_ascii_digit()))
}

/// `<entity>.<verb in the past>`: `offer.published`, `user.role_granted`, `move.rolled_back`.
pub(crate) fn is_event(name: &str) -> bool {
    let past = |word: &str| (word.len() > 3 && word.ends_with("ed")) || IRREGULAR.contains(&word);
    match name.split('.').collect::<Vec<_>>()[..] {
        [entity, verb] => is_snake(entity) && is_snake(verb) && verb.split('_').any(past),
        _ => false,
    }
}

/// `<service>.<entity>.<imperative>`: `addressing.address.get`.
pub(crate) fn is_task(name: &str, service: &str) -> bool {
    match name.split('.').collect::<Vec<_>>()[..] {
        [owner, entity, verb] => owner == service && is_snake(entity) && is_snake(verb),
        _ => false,
    }
}

/// The service that a package `<brand>.<service>.v<n>` belongs to.
pub(crate) fn service(package: &str) -> &str {
    package.split('.').nth(1).unwrap_or(package)
}

/// What runs it, as folders, programs and others call it: `move-plans`, where the package has
/// `move_plans`.
pub(crate) fn deployable(package: &str) -> String {
    service(package).replace('_', "-")
}

/// `offer.published` is said on `events.offer`.
pub(crate) fn topic(event: &str) -> String {
    format!("events.{}", event.split('.').next().unwrap_or(event))
}

/// `ERROR_REASON_OFFER_NOT_FOUND` is the word `OFFER_NOT_FOUND`.
pub(crate) fn word(value: &EnumValueDescriptor) -> &str {
    let prefix = prefix(value.parent_enum());
    value.name().strip_prefix(&prefix).unwrap_or(value.name())
}

/// What every value of the enum begins with: `ERROR_REASON_`.
pub(crate) fn prefix(descriptor: &EnumDescriptor) -> String {
    format!("{}_", descriptor.name().to_shouty_snake_case())
}

/// The variant of a value, as prost names it: `OfferNotFound`.
pub(crate) fn variant(value: &EnumValueDescriptor) -> String {
    word(value).to_upper_camel_case()
}

/// The path of a message from the module of a package; that of none is the root.
pub(crate) fn message(from: &str, message: &MessageDescriptor) -> String {
    if message.package_name() == from {
        return nested(message.parent_message(), message.name());
    }
    let up = "super::".repeat(from.split('.').filter(|word| !word.is_empty()).count());
    let modules: String = message
        .package_name()
        .split('.')
        .map(|word| format!("{}::", module(word)))
        .collect();
    format!(
        "{up}{modules}{}",
        nested(message.parent_message(), message.name())
    )
}

/// The path of a type from the module of its own package: `offer::Inner`.
pub(crate) fn nested(parent: Option<MessageDescriptor>, name: &str) -> String {
    let name = name.to_upper_camel_case();
    match parent {
        Some(parent) => format!("{}{name}", modules(&parent)),
        None => name,
    }
}

/// The module that holds what is nested in a message: `offer::`.
pub(crate) fn modules(message: &MessageDescriptor) -> String {
    let outer = message
        .parent_message()
        .map(|outer| modules(&outer))
        .unwrap_or_default();
    format!("{outer}{}::", module(&message.name().to_snake_case()))
}

/// A module or field, raw where Rust has the word for itself.
pub(crate) fn module(word: &str) -> String {
    const KEYWORDS: &[&str] = &[
        "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do",
        "dyn", "else", "enum", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
        "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return",
        "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
        "virtual", "where", "while", "yield",
    ];
    match word {
        "super" | "self" | "extern" | "crate" => format!("{word}_"),
        _ if KEYWORDS.contains(&word) => format!("r#{word}"),
        _ => word.to_owned(),
    }
}

/// The constant for a service: `CATALOG_SERVICE`.
pub(crate) fn constant(service: &str) -> String {
    service.to_shouty_snake_case()
}

/// The packages of some files, each once, in order.
pub(crate) fn packages(files: &[FileDescriptor]) -> Vec<String> {
    let mut packages: Vec<_> = files
        .iter()
        .map(|file| file.package_name().to_owned())
        .collect();
    packages.sort();
    packages.dedup();
    packages
}
