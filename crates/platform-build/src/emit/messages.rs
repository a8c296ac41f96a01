//! Events, tasks, pages, and requests with a `request_id`.

use std::fmt::Write as _;

use prost_reflect::{MessageDescriptor, MethodDescriptor};

use crate::load::Loaded;
use crate::names;
use crate::options::{Event, Idempotency};

/// The impls for the messages of one package.
pub(crate) fn emit(contracts: &Loaded, package: &str, code: &mut String) {
    for message in contracts
        .messages()
        .filter(|message| message.package_name() == package)
    {
        event(contracts, &message, code);
        task(contracts, &message, code);
    }
    for service in contracts
        .services()
        .filter(|service| service.package_name() == package)
    {
        for method in service.methods() {
            once(contracts, package, &method, code);
            paged(package, &method, code);
        }
    }
}

fn event(contracts: &Loaded, message: &MessageDescriptor, code: &mut String) {
    let Some(event) = contracts.options.event(message) else {
        return;
    };
    let _ = write!(
        code,
        "
impl ::platform_contract::Event for {rust} {{
    const NAME: &'static str = {name:?};
    const TOPIC: &'static str = {topic:?};
    const SOURCE: &'static str = {source:?};
    const SCHEMA: &'static str = {schema:?};

    fn key(&self) -> &str {{
        &self.{key}
    }}

    fn version(&self) -> i64 {{
        self.version
    }}
}}
",
        rust = names::message(message.package_name(), message),
        name = event.name,
        topic = names::topic(&event.name),
        source = source(contracts, message),
        schema = message.full_name(),
        key = names::module(&event.key),
    );
}

fn task(contracts: &Loaded, message: &MessageDescriptor, code: &mut String) {
    let Some(task) = contracts.options.task(message) else {
        return;
    };
    let Some(result) = contracts.pool.get_message_by_name(&task.result) else {
        return;
    };
    let _ = write!(
        code,
        "
impl ::platform_contract::Task for {rust} {{
    const NAME: &'static str = {name:?};
    const TOPIC: &'static str = {topic:?};

    type Result = {result};
}}
",
        rust = names::message(message.package_name(), message),
        name = task.name,
        topic = format!("tasks.{}", task.name),
        result = names::message(message.package_name(), &result),
    );
}

fn once(contracts: &Loaded, package: &str, method: &MethodDescriptor, code: &mut String) {
    if contracts.options.idempotency(method) != Some(Idempotency::RequestId) {
        return;
    }
    let _ = write!(
        code,
        "
impl ::platform_contract::Once for {request} {{
    const METHOD: &'static str = {path:?};

    type Response = {response};

    fn request_id(&self) -> &str {{
        &self.request_id
    }}
}}
",
        request = names::message(package, &method.input()),
        path = path(method),
        response = names::message(package, &method.output()),
    );
}

fn paged(package: &str, method: &MethodDescriptor, code: &mut String) {
    if method.input().get_field_by_name("page_token").is_none() {
        return;
    }
    let _ = write!(
        code,
        "
impl ::platform_contract::Paged for {request} {{
    const METHOD: &'static str = {path:?};

    fn page_size(&self) -> i32 {{
        self.page_size
    }}

    fn page_token(&self) -> &str {{
        &self.page_token
    }}

    fn query(&self) -> Self {{
        let mut query = self.clone();
        query.page_size = 0;
        query.page_token.clear();
        query
    }}
}}
",
        request = names::message(package, &method.input()),
        path = path(method),
    );
}

/// The lists of all events and all tasks, for the root of the crate.
pub(crate) fn lists(contracts: &Loaded, code: &mut String) {
    let mut events = String::new();
    let mut tasks = String::new();
    for message in contracts.messages() {
        if let Some(event) = contracts.options.event(&message) {
            let _ = writeln!(
                events,
                "    ::platform_contract::EventType {{ name: {:?}, topic: {:?}, source: {:?}, key: {:?}, schema: {:?}, voids: {} }},",
                event.name,
                names::topic(&event.name),
                source(contracts, &message),
                event.key,
                message.full_name(),
                voids(&message, &event),
            );
        }
        if let Some(task) = contracts.options.task(&message) {
            let _ = writeln!(
                tasks,
                "    ::platform_contract::TaskType {{ name: {:?}, topic: {:?}, schema: {:?}, result: {:?} }},",
                task.name,
                format!("tasks.{}", task.name),
                message.full_name(),
                task.result,
            );
        }
    }
    let _ = write!(
        code,
        "
/// Every event, in the order of the protos.
pub static EVENTS: &[::platform_contract::EventType] = &[
{events}];

/// Every task, in the order of the protos.
pub static TASKS: &[::platform_contract::TaskType] = &[
{tasks}];
"
    );
}

/// A function that reads what an event voids, or `None`.
fn voids(message: &MessageDescriptor, event: &Event) -> String {
    let Some(voids) = &event.voids else {
        return "None".to_owned();
    };
    let voided = if voids.session.is_empty() {
        let field = names::module(&voids.access_version);
        format!("Below {{ subject: event.{{key}}, access_version: event.{field} }}")
    } else {
        let field = names::module(&voids.session);
        format!("Session {{ subject: event.{{key}}, session: event.{field} }}")
    };
    format!(
        "Some(|content| {{ let event = <{rust} as ::prost::Message>::decode(content)?; Ok(::platform_contract::Voided::{voided}) }})",
        rust = names::message("", message),
        voided = voided.replace("{key}", &names::module(&event.key)),
    )
}

/// `/homeward/catalog`.
fn source(contracts: &Loaded, message: &MessageDescriptor) -> String {
    format!(
        "/{}/{}",
        contracts.brand,
        names::deployable(message.package_name())
    )
}

/// `/homeward.catalog.v1.CatalogService/CastVote`.
pub(crate) fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}
