//! The options of `homeward.options.v1`, read from descriptors into plain types.

use anyhow::{Context, Result};
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumValueDescriptor, ExtensionDescriptor, FieldDescriptor,
    Kind, MessageDescriptor, MethodDescriptor, ServiceDescriptor,
};

/// `(homeward.options.v1.event)` on a message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Event {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) voids: Option<Voids>,
}

/// Which access tokens an event makes void, by the field that names them.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Voids {
    #[prost(string, tag = "1")]
    pub(crate) access_version: String,
    #[prost(string, tag = "2")]
    pub(crate) session: String,
}

/// `(homeward.options.v1.task)` on a message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Task {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) result: String,
}

/// One `(homeward.options.v1.role_mappings)` on a service.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RoleMapping {
    #[prost(string, tag = "1")]
    pub(crate) global: String,
    #[prost(string, tag = "2")]
    pub(crate) role: String,
}

/// `(homeward.options.v1.access)` on a method.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Access {
    #[prost(bool, tag = "1")]
    pub(crate) public: bool,
    #[prost(bool, tag = "2")]
    pub(crate) authenticated: bool,
    #[prost(string, repeated, tag = "3")]
    pub(crate) roles: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) services: Vec<String>,
    #[prost(bool, tag = "5")]
    pub(crate) delegation: bool,
}

/// `(homeward.options.v1.idempotency)` on a method.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idempotency {
    None,
    RequestId,
    Natural,
}

/// How much a method matters under load. No option says it: pages and the verbs of the AIPs do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Mutation,
    Read,
    List,
}

impl Class {
    pub(crate) fn of(method: &MethodDescriptor) -> Self {
        let begins = |verbs: [&str; 2]| {
            let mut rests = verbs
                .into_iter()
                .filter_map(|verb| method.name().strip_prefix(verb));
            // A `Getaway` is no `Get`.
            rests.any(|rest| !rest.starts_with(|next: char| next.is_ascii_lowercase()))
        };
        let paged = method.input().get_field_by_name("page_token").is_some();
        if paged || begins(["List", "Search"]) {
            Self::List
        } else if begins(["Get", "BatchGet"]) {
            Self::Read
        } else {
            Self::Mutation
        }
    }
}

/// `(homeward.options.v1.reason)` on an enum value.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Reason {
    #[prost(string, tag = "1")]
    pub(crate) code: String,
    #[prost(bool, tag = "2")]
    pub(crate) retryable: bool,
    #[prost(string, tag = "3")]
    pub(crate) remedy: String,
}

/// Reads the platform's options off descriptors of one pool.
pub(crate) struct Options {
    event: ExtensionDescriptor,
    task: ExtensionDescriptor,
    role_mappings: ExtensionDescriptor,
    access: ExtensionDescriptor,
    idempotency: ExtensionDescriptor,
    reason: ExtensionDescriptor,
}

impl Options {
    pub(crate) fn of(pool: &DescriptorPool) -> Result<Self> {
        let extension = |name: &str| {
            let name = format!("homeward.options.v1.{name}");
            pool.get_extension_by_name(&name)
                .with_context(|| format!("no option {name}"))
        };
        Ok(Self {
            event: extension("event")?,
            task: extension("task")?,
            role_mappings: extension("role_mappings")?,
            access: extension("access")?,
            idempotency: extension("idempotency")?,
            reason: extension("reason")?,
        })
    }

    pub(crate) fn event(&self, message: &MessageDescriptor) -> Option<Event> {
        read(&message.options(), &self.event)
    }

    pub(crate) fn task(&self, message: &MessageDescriptor) -> Option<Task> {
        read(&message.options(), &self.task)
    }

    pub(crate) fn role_mappings(&self, service: &ServiceDescriptor) -> Vec<RoleMapping> {
        let options = service.options();
        let mappings = options.get_extension(&self.role_mappings);
        let mappings = mappings.as_list().unwrap_or_default();
        mappings
            .iter()
            .filter_map(|mapping| mapping.as_message()?.transcode_to().ok())
            .collect()
    }

    pub(crate) fn access(&self, method: &MethodDescriptor) -> Option<Access> {
        read(&method.options(), &self.access)
    }

    pub(crate) fn idempotency(&self, method: &MethodDescriptor) -> Option<Idempotency> {
        match method
            .options()
            .get_extension(&self.idempotency)
            .as_enum_number()?
        {
            1 => Some(Idempotency::None),
            2 => Some(Idempotency::RequestId),
            3 => Some(Idempotency::Natural),
            _ => None,
        }
    }

    pub(crate) fn reason(&self, value: &EnumValueDescriptor) -> Option<Reason> {
        read(&value.options(), &self.reason)
    }
}

fn read<T: prost::Message + Default>(
    options: &DynamicMessage,
    option: &ExtensionDescriptor,
) -> Option<T> {
    if !options.has_extension(option) {
        return None;
    }
    options
        .get_extension(option)
        .as_message()?
        .transcode_to()
        .ok()
}

/// Whether protobuf's own `debug_redact` marks the field as a secret.
pub(crate) fn redacted(field: &FieldDescriptor) -> bool {
    let options = field.options();
    options
        .get_field_by_name("debug_redact")
        .and_then(|value| value.as_bool())
        .unwrap_or(false)
}

/// Whether the message, or one that it contains, has a secret field.
pub(crate) fn holds_secret(message: &MessageDescriptor) -> bool {
    fn search(message: &MessageDescriptor, seen: &mut Vec<MessageDescriptor>) -> bool {
        if seen.contains(message) {
            return false;
        }
        seen.push(message.clone());
        message.fields().any(|field| {
            redacted(&field) || matches!(field.kind(), Kind::Message(inner) if search(&inner, seen))
        })
    }
    search(message, &mut Vec::new())
}
