//! Events, tasks and secrets.

use std::collections::HashMap;

use heck::ToSnakeCase;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::has;
use crate::load::Loaded;
use crate::names;
use crate::options::{Event, Task, Voids, holds_secret, redacted};
use crate::report::Report;

pub(crate) fn check(contracts: &Loaded, report: &mut Report) {
    let mut names: HashMap<String, MessageDescriptor> = HashMap::new();
    let mut topics: HashMap<String, MessageDescriptor> = HashMap::new();
    for message in contracts.messages() {
        let event = contracts.options.event(&message);
        let task = contracts.options.task(&message);
        if event.is_some() && task.is_some() {
            report.refuse(
                &message,
                format!("`{}` is both event and task", message.name()),
            );
        }
        for name in event
            .iter()
            .map(|event| &event.name)
            .chain(task.iter().map(|task| &task.name))
        {
            if let Some(first) = names.insert(name.clone(), message.clone()) {
                let place = report.place(&first);
                report.refuse(
                    &message,
                    format!(
                        "the name `{name}` is taken by `{}` at {place}",
                        first.name()
                    ),
                );
            }
        }
        if let Some(event) = event {
            check_event(&message, &event, report);
            let topic = names::topic(&event.name);
            let owner = topics
                .entry(topic.clone())
                .or_insert_with(|| message.clone());
            let (owner, service) = (
                names::service(owner.package_name()),
                names::service(message.package_name()),
            );
            if owner != service {
                report.refuse(
                    &message,
                    format!("topic `{topic}` belongs to `{owner}`, so `{service}` cannot write it"),
                );
            }
        }
        if let Some(task) = task {
            check_task(contracts, &message, &task, report);
        }
        for field in message
            .fields()
            .filter(|field| looks_secret(field) && !redacted(field))
        {
            report.refuse(
                &field,
                format!(
                    "field `{}` looks like a secret: mark it `[debug_redact = true]`",
                    field.name()
                ),
            );
        }
    }
}

fn check_event(message: &MessageDescriptor, event: &Event, report: &mut Report) {
    let Event { name, key, voids } = event;
    if !names::is_event(name) {
        report.refuse(
            message,
            format!("event name `{name}` is not `<entity>.<verb in the past>`"),
        );
    } else if name.replace('.', "_") != message.name().to_snake_case() {
        report.refuse(
            message,
            format!(
                "event `{name}` does not fit its message `{}`",
                message.name()
            ),
        );
    }
    if key.is_empty() {
        report.refuse(message, format!("event `{name}` states no key"));
    } else if !has(message, key, Kind::String) {
        report.refuse(
            message,
            format!("event `{name}` has no field `string {key}` for its key"),
        );
    }
    if !has(message, "version", Kind::Int64) {
        report.refuse(
            message,
            format!("event `{name}` has no field `int64 version`"),
        );
    }
    if let Some(voids) = voids {
        check_voids(message, name, voids, report);
    }
    if holds_secret(message) {
        report.refuse(message, format!("event `{name}` holds a secret"));
    }
}

fn check_voids(message: &MessageDescriptor, name: &str, voids: &Voids, report: &mut Report) {
    let (field, kind, word) = match (voids.access_version.as_str(), voids.session.as_str()) {
        (field, "") if !field.is_empty() => (field, Kind::Int64, "int64"),
        ("", field) if !field.is_empty() => (field, Kind::String, "string"),
        _ => {
            report.refuse(
                message,
                format!(
                    "`voids` of event `{name}` is not exactly one of `access_version` and `session`"
                ),
            );
            return;
        }
    };
    if !has(message, field, kind) {
        report.refuse(
            message,
            format!("event `{name}` has no field `{word} {field}` for what it voids"),
        );
    }
}

fn check_task(contracts: &Loaded, message: &MessageDescriptor, task: &Task, report: &mut Report) {
    let Task { name, result } = task;
    let service = names::service(message.package_name());
    if !names::is_task(name, service) {
        report.refuse(
            message,
            format!("task name `{name}` is not `{service}.<entity>.<imperative>`"),
        );
    }
    let known = contracts.pool.get_message_by_name(result);
    if !known.is_some_and(|result| contracts.owns(&result.parent_file())) {
        report.refuse(
            message,
            format!("task `{name}`: its result `{result}` is no message of these contracts"),
        );
    }
}

/// Whether a text of this name had better not be printed. Page tokens are sealed and harmless.
fn looks_secret(field: &FieldDescriptor) -> bool {
    let name = field.name();
    let text = match field.kind() {
        Kind::Message(entry) if field.is_map() => is_text(&entry.map_entry_value_field()),
        _ => is_text(field),
    };
    text && !name.ends_with("page_token")
        && ["password", "secret", "token"]
            .iter()
            .any(|word| name.contains(word))
}

fn is_text(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::String | Kind::Bytes)
}
