//! What generated contracts are made of: traits and tables, no runtime.

mod reason;

pub use reason::{Code, PlatformReason, Reason, RequestReason};

use prost::Message;

/// A domain event: a fact with its place in the order of its key.
pub trait Event: Message + Default + Send + Sync + 'static {
    /// `<entity>.<verb in the past>`; the CloudEvents `type`.
    const NAME: &'static str;
    /// `events.<entity>`, without the configured prefix.
    const TOPIC: &'static str;
    /// The only service that says it, as CloudEvents `source`: `/homeward/catalog`.
    const SOURCE: &'static str;
    /// Full name of the message; the CloudEvents `dataschema`.
    const SCHEMA: &'static str;

    /// The partition key.
    fn key(&self) -> &str;

    /// Counts 1, 2, 3 ... per key within the topic.
    fn version(&self) -> i64;
}

/// A background task, carried out by the service that its name begins with.
pub trait Task: Message + Default + Send + Sync + 'static {
    /// `<service>.<entity>.<imperative>`.
    const NAME: &'static str;
    /// `tasks.<name>`, without the configured prefix.
    const TOPIC: &'static str;

    /// What the finished task reports.
    type Result: Message + Default + Send + Sync + 'static;
}

/// One event of a list of all events.
#[derive(Debug)]
pub struct EventType {
    /// As [`Event::NAME`].
    pub name: &'static str,
    /// As [`Event::TOPIC`].
    pub topic: &'static str,
    /// As [`Event::SOURCE`].
    pub source: &'static str,
    /// The field that holds the partition key: `offer_id`.
    pub key: &'static str,
    /// As [`Event::SCHEMA`].
    pub schema: &'static str,
    /// Reads from the event's content which access tokens it makes void; `None` if it never
    /// does that.
    pub voids: Option<ReadVoided>,
}

/// Reads from the content of an event what it makes void.
pub type ReadVoided = fn(&[u8]) -> Result<Voided, prost::DecodeError>;

/// Access tokens that are void from an event on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voided {
    /// Those of a subject with a lower access version.
    Below {
        /// The claim `sub`.
        subject: String,
        /// What the claim `ver` must at least be.
        access_version: i64,
    },
    /// Those of a session.
    Session {
        /// The claim `sub`.
        subject: String,
        /// The claim `sid`.
        session: String,
    },
}

/// One task of a list of all tasks.
#[derive(Debug)]
pub struct TaskType {
    /// As [`Task::NAME`].
    pub name: &'static str,
    /// As [`Task::TOPIC`].
    pub topic: &'static str,
    /// Full name of the message.
    pub schema: &'static str,
    /// Full name of the message that the finished task reports.
    pub result: &'static str,
}

/// A request that carries a `request_id`: repeated, it gets the stored answer (AIP-155).
pub trait Once: Message + Default + Send + Sync + 'static {
    /// The path of its method: `/homeward.catalog.v1.CatalogService/CastVote`.
    const METHOD: &'static str;

    /// The method's answer; never holds a secret.
    type Response: Message + Default + Send + Sync + 'static;

    /// The id as the caller sent it, not yet checked.
    fn request_id(&self) -> &str;
}

/// A request for one page of a list (AIP-158).
pub trait Paged: Message + Default + Clone + Send + Sync + 'static {
    /// The path of its method.
    const METHOD: &'static str;

    /// As the caller sent it: 0 means the default.
    fn page_size(&self) -> i32;

    /// As the caller sent it: empty means the first page.
    fn page_token(&self) -> &str;

    /// The request without `page_size` and `page_token`: what makes two pages one query.
    fn query(&self) -> Self;
}

/// A generated gRPC server that knows its access table.
pub trait Served {
    /// The service that it serves.
    const SERVICE: &'static Service;
}

/// One gRPC service as its proto states it.
#[derive(Debug)]
pub struct Service {
    /// The deployable that serves it: `catalog`.
    pub name: &'static str,
    /// `homeward.catalog.v1.CatalogService`.
    pub full_name: &'static str,
    /// `ErrorInfo.domain` of its errors: `catalog.homeward`.
    pub domain: &'static str,
    /// Global role to role of this service.
    pub roles: &'static [(&'static str, &'static str)],
    /// In the order of the proto.
    pub methods: &'static [Method],
    /// All its files and what they import, as an encoded `FileDescriptorSet`.
    pub descriptors: &'static [u8],
}

/// One method as its proto states it.
#[derive(Debug)]
pub struct Method {
    /// `CastVote`.
    pub name: &'static str,
    /// `/homeward.catalog.v1.CatalogService/CastVote`.
    pub path: &'static str,
    /// Full name of the request message.
    pub input: &'static str,
    /// Full name of the answer.
    pub output: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What a repeat does.
    pub idempotency: Idempotency,
    /// How much it matters when there is too much to do.
    pub class: Class,
}

/// How much a request matters when there is more to do than can be done. What stands first is
/// refused last; probes of health are no requests, and are never refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Changes something.
    Mutation,
    /// Reads single things, or some by their ids.
    Read,
    /// Reads a list.
    List,
}

impl Class {
    /// In their order.
    pub const ALL: [Class; 3] = [Class::Mutation, Class::Read, Class::List];

    /// In lower case, as labels have it.
    pub fn word(self) -> &'static str {
        match self {
            Class::Mutation => "mutation",
            Class::Read => "read",
            Class::List => "list",
        }
    }
}

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody; a token that is sent is verified all the same.
    Public,
    /// Any user with a valid token.
    Authenticated,
    /// Users who hold one of `roles` (roles of the service), and the named `services`.
    Allowed {
        roles: &'static [&'static str],
        services: &'static [&'static str],
        /// A named service may act for a user; then both must be allowed.
        delegation: bool,
    },
}

/// What a repeated call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// A second effect.
    None,
    /// The stored answer, by `request_id`.
    RequestId,
    /// Nothing: reads, and setting a state.
    Natural,
}
