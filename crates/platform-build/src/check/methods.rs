//! Methods: who may call them, what a repeat does, and what they take and answer.

use std::collections::HashMap;

use prost_reflect::{Kind, MethodDescriptor};

use super::has;
use crate::load::Loaded;
use crate::names;
use crate::options::{Access, Class, Idempotency, RoleMapping, holds_secret};
use crate::report::Report;

pub(crate) fn check(contracts: &Loaded, report: &mut Report) {
    let mut users = HashMap::new();
    for service in contracts.services() {
        let roles = contracts.options.role_mappings(&service);
        if roles
            .iter()
            .any(|line| line.global.is_empty() || line.role.is_empty())
        {
            report.refuse(
                &service,
                format!(
                    "service `{}` has a role mapping without `global` or `role`",
                    service.name()
                ),
            );
        }
        for method in service.methods() {
            check_access(contracts, &method, &roles, report);
            check_idempotency(contracts, &method, report);
            check_messages(&method, &mut users, report);
            check_pages(&method, report);
        }
    }
}

fn check_access(
    contracts: &Loaded,
    method: &MethodDescriptor,
    map: &[RoleMapping],
    report: &mut Report,
) {
    let name = method.name();
    let Some(Access {
        public,
        authenticated,
        roles,
        services,
        delegation,
    }) = contracts.options.access(method)
    else {
        report.refuse(method, format!("method `{name}` states no `access`"));
        return;
    };
    let ways = [
        public,
        authenticated,
        !roles.is_empty() || !services.is_empty(),
    ];
    if ways.into_iter().filter(|&way| way).count() != 1 {
        let ways = "`public`, `authenticated`, or a choice of `roles` and `services`";
        report.refuse(
            method,
            format!("the access of method `{name}` is not exactly one of {ways}"),
        );
    }
    for role in roles
        .iter()
        .filter(|role| map.iter().all(|line| line.role != **role))
    {
        report.refuse(
            method,
            format!(
                "method `{name}` allows the role `{role}`, which the service's map does not have"
            ),
        );
    }
    for service in services.iter().filter(|service| !names::is_kebab(service)) {
        report.refuse(
            method,
            format!("method `{name}` allows `{service}`, which is no name of a service"),
        );
    }
    if delegation && services.is_empty() {
        report.refuse(
            method,
            format!("method `{name}` allows delegation, but no service that could act for a user"),
        );
    }
}

fn check_idempotency(contracts: &Loaded, method: &MethodDescriptor, report: &mut Report) {
    let name = method.name();
    let request = method.input();
    let Some(idempotency) = contracts.options.idempotency(method) else {
        report.refuse(method, format!("method `{name}` states no `idempotency`"));
        return;
    };
    if Class::of(method) != Class::Mutation && idempotency != Idempotency::Natural {
        report.refuse(
            method,
            format!(
                "method `{name}` reads, by its verb or its pages, but is not IDEMPOTENCY_NATURAL"
            ),
        );
    }
    if idempotency != Idempotency::RequestId {
        if request.get_field_by_name("request_id").is_some() {
            report.refuse(
                method,
                format!("method `{name}` takes a `request_id`, but is not IDEMPOTENCY_REQUEST_ID"),
            );
        }
        return;
    }
    if !has(&request, "request_id", Kind::String) {
        report.refuse(method, format!("method `{name}` is IDEMPOTENCY_REQUEST_ID, but `{}` has no field `string request_id`", request.name()));
    }
    if holds_secret(&method.output()) {
        report.refuse(method, format!("method `{name}` is IDEMPOTENCY_REQUEST_ID, but its answer holds a secret, which would be stored"));
    }
    if method.is_client_streaming() || method.is_server_streaming() {
        report.refuse(
            method,
            format!("method `{name}` is IDEMPOTENCY_REQUEST_ID, but streams"),
        );
    }
}

/// Request and answer are named after their method and belong to it alone.
fn check_messages(
    method: &MethodDescriptor,
    users: &mut HashMap<String, MethodDescriptor>,
    report: &mut Report,
) {
    let name = method.name();
    for (message, suffix) in [(method.input(), "Request"), (method.output(), "Response")] {
        if let Some(first) = users.insert(message.full_name().to_owned(), method.clone()) {
            let place = report.place(&first);
            let (message, first) = (message.name(), first.name());
            report.refuse(
                method,
                format!("method `{name}` uses `{message}`, which belongs to `{first}` at {place}"),
            );
        } else if message.name() != format!("{name}{suffix}")
            || message.parent_file() != method.parent_file()
        {
            report.refuse(
                method,
                format!(
                    "method `{name}` uses `{}` instead of a `{name}{suffix}` beside it",
                    message.name()
                ),
            );
        }
    }
}

/// A list has all three fields of AIP-158, or it is none.
fn check_pages(method: &MethodDescriptor, report: &mut Report) {
    let (request, answer) = (method.input(), method.output());
    let begun = request.get_field_by_name("page_size").is_some()
        || request.get_field_by_name("page_token").is_some()
        || answer.get_field_by_name("next_page_token").is_some();
    let complete = has(&request, "page_size", Kind::Int32)
        && has(&request, "page_token", Kind::String)
        && has(&answer, "next_page_token", Kind::String);
    if begun && !complete {
        let fields =
            "`int32 page_size`, `string page_token` and, in the answer, `string next_page_token`";
        report.refuse(
            method,
            format!(
                "method `{}` answers pages, but lacks one of {fields}",
                method.name()
            ),
        );
    }
}
