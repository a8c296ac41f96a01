//! From checked contracts to the catalogue of events, as AsyncAPI 3.0.

use std::collections::BTreeMap;

use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::yaml::Node;
use crate::load::Loaded;
use crate::names;
use crate::options::Event;
use crate::report::comment;

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// Every event with its topic, its sender, its key, its headers and its content.
pub(crate) fn asyncapi(contracts: &Loaded) -> String {
    let mut topics: BTreeMap<String, Vec<Said>> = BTreeMap::new();
    for message in contracts.messages() {
        if let Some(event) = contracts.options.event(&message) {
            let topic = names::topic(&event.name);
            let said = Said {
                service: names::deployable(message.package_name()),
                event,
                message,
            };
            topics.entry(topic).or_default().push(said);
        }
    }

    let brand = &contracts.brand;
    let mut schemas = BTreeMap::new();
    let events: Vec<&Said> = topics.values().flatten().collect();
    for said in &events {
        add(&said.message, &mut schemas);
    }
    let document = map([
        ("asyncapi", text("3.0.0")),
        (
            "info",
            map([
                ("title", text(format!("Events of {brand}"))),
                ("version", text("1.0.0")),
                (
                    "description",
                    text(
                        "Facts that have happened, on Kafka, as CloudEvents 1.0 in binary mode. \
                     The content is protobuf, described here field by field under the names of the \
                     protos. At least once on the wire; of each key, the first occurrences are \
                     the versions 1, 2, 3 ... in order: drop what is not newer than what you have \
                     seen. An installation may put a prefix before the addresses. A fact that \
                     changes is a new event; these never break.",
                    ),
                ),
            ]),
        ),
        ("defaultContentType", text("application/protobuf")),
        (
            "channels",
            each(&topics, |(topic, said)| {
                (topic.clone(), channel(topic, said))
            }),
        ),
        (
            "operations",
            each(&topics, |(topic, said)| {
                let service = &said[0].service;
                (
                    format!("{service}.says.{topic}"),
                    operation(service, topic, said),
                )
            }),
        ),
        (
            "components",
            map([
                (
                    "messages",
                    each(&events, |said| {
                        (said.event.name.clone(), said.message(brand))
                    }),
                ),
                ("messageTraits", map([("cloudEvent", cloud_event())])),
                ("schemas", Node::Map(schemas.into_iter().collect())),
            ]),
        ),
    ]);
    let mut yaml =
        "# Made from the protos; see `platform_build::Contracts::asyncapi`.\n".to_owned();
    document.write(&mut yaml);
    yaml
}

/// An event with the service that says it.
struct Said {
    service: String,
    event: Event,
    message: MessageDescriptor,
}

impl Said {
    fn message(&self, brand: &str) -> Node {
        let Event { name, key, voids } = &self.event;
        let schema = self.message.full_name();
        let constants = [
            ("ce_type", name.clone()),
            ("ce_source", format!("/{brand}/{}", self.service)),
            ("ce_dataschema", schema.to_owned()),
        ];
        let mut entries = vec![
            ("name", text(name)),
            ("title", text(self.message.name())),
            ("summary", text(comment(&self.message))),
            (
                "traits",
                Node::List(vec![reference("messageTraits", "cloudEvent")]),
            ),
            (
                "headers",
                map([
                    ("type", text("object")),
                    (
                        "properties",
                        each(constants, |(header, value)| {
                            let only = map([("type", text("string")), ("const", text(value))]);
                            (header.to_owned(), only)
                        }),
                    ),
                ]),
            ),
            ("payload", reference("schemas", schema)),
            (
                "bindings",
                map([(
                    "kafka",
                    map([
                        (
                            "key",
                            map([
                                ("type", text("string")),
                                ("description", text(format!("The field {key}."))),
                            ]),
                        ),
                        ("bindingVersion", text("0.5.0")),
                    ]),
                )]),
            ),
        ];
        if let Some(voids) = voids {
            let (what, field) = match voids.session.is_empty() {
                true => ("accessVersion", &voids.access_version),
                false => ("session", &voids.session),
            };
            entries.push(("x-voids", map([(what, text(field))])));
        }
        Node::Map(owned(entries))
    }
}

fn channel(topic: &str, said: &[Said]) -> Node {
    map([
        ("address", text(topic)),
        (
            "description",
            text(format!("Said by {} alone.", said[0].service)),
        ),
        (
            "messages",
            each(said, |said| {
                let name = said.event.name.clone();
                let message = reference("messages", &name);
                (name, message)
            }),
        ),
    ])
}

fn operation(service: &str, topic: &str, said: &[Said]) -> Node {
    let message = |said: &Said| pointer(&format!("/channels/{topic}/messages/{}", said.event.name));
    map([
        ("action", text("send")),
        ("summary", text(format!("What {service} says."))),
        ("channel", pointer(&format!("/channels/{topic}"))),
        ("messages", Node::List(said.iter().map(message).collect())),
    ])
}

/// The headers that all events have.
fn cloud_event() -> Node {
    const HEADERS: [(&str, &str, bool); 13] = [
        (
            "ce_id",
            "A UUID, one per event, the same in every repeat.",
            true,
        ),
        (
            "ce_source",
            "The service that says it, and that alone may.",
            true,
        ),
        ("ce_specversion", "1.0", true),
        ("ce_type", "The name of the event.", true),
        ("ce_time", "When it was published, RFC 3339 in UTC.", true),
        (
            "ce_subject",
            "The key: the entity in whose order it stands.",
            true,
        ),
        (
            "ce_sequence",
            "The version: its place in that order, from 1.",
            true,
        ),
        (
            "ce_dataschema",
            "The full name of the message that is the content.",
            true,
        ),
        (
            "ce_actorid",
            "On whose behalf: a user's id or a service's name; for attribution only.",
            false,
        ),
        ("ce_actorkind", "`user-<word>`, `system` or `nobody`.", true),
        (
            "ce_actororg",
            "The organisation that the user acted for.",
            false,
        ),
        ("content-type", "application/protobuf", true),
        (
            "traceparent",
            "W3C trace context of what published it.",
            false,
        ),
    ];
    let required = HEADERS.iter().filter(|(_, _, required)| *required);
    map([(
        "headers",
        map([
            ("type", text("object")),
            (
                "required",
                Node::List(required.map(|(name, _, _)| text(*name)).collect()),
            ),
            (
                "properties",
                each(HEADERS, |(name, description, _)| {
                    let header =
                        map([("type", text("string")), ("description", text(description))]);
                    (name.to_owned(), header)
                }),
            ),
        ]),
    )])
}

/// Adds a message, and whatever it holds.
fn add(message: &MessageDescriptor, schemas: &mut BTreeMap<String, Node>) {
    if schemas.contains_key(message.full_name()) {
        return;
    }
    // In its place before its fields are, since they may hold the message itself.
    schemas.insert(message.full_name().to_owned(), Node::Map(Vec::new()));
    let mut entries = vec![("type", text("object"))];
    entries.extend(described(comment(message)));
    let fields: Vec<FieldDescriptor> = message.fields().collect();
    if !fields.is_empty() {
        let properties = each(&fields, |field| {
            (field.name().to_owned(), property(field, schemas))
        });
        entries.push(("properties", properties));
    }
    schemas.insert(message.full_name().to_owned(), Node::Map(owned(entries)));
}

fn property(field: &FieldDescriptor, schemas: &mut BTreeMap<String, Node>) -> Node {
    let mut entries = match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let value = property(&entry.map_entry_value_field(), schemas);
            vec![("type", text("object")), ("additionalProperties", value)]
        }
        _ if field.cardinality() == Cardinality::Repeated => {
            let items = Node::Map(owned(single(field, schemas)));
            vec![("type", text("array")), ("items", items)]
        }
        _ => single(field, schemas),
    };
    let description = described(comment(field));
    if let ([("$ref", _)], Some(_)) = (entries.as_slice(), &description) {
        // What stands beside a `$ref` does not count.
        entries = vec![("allOf", Node::List(vec![Node::Map(owned(entries))]))];
    }
    entries.extend(description);
    Node::Map(owned(entries))
}

/// The schema of one value of a field.
fn single(
    field: &FieldDescriptor,
    schemas: &mut BTreeMap<String, Node>,
) -> Vec<(&'static str, Node)> {
    let simple = |kind: &str| vec![("type", text(kind))];
    let formatted = |kind: &str, format: &str| vec![("type", text(kind)), ("format", text(format))];
    match field.kind() {
        Kind::Bool => simple("boolean"),
        Kind::String => simple("string"),
        Kind::Bytes => vec![
            ("type", text("string")),
            ("contentEncoding", text("base64")),
        ],
        Kind::Float => formatted("number", "float"),
        Kind::Double => formatted("number", "double"),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => formatted("integer", "int32"),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => formatted("integer", "int64"),
        Kind::Uint32 | Kind::Fixed32 => formatted("integer", "uint32"),
        Kind::Uint64 | Kind::Fixed64 => formatted("integer", "uint64"),
        Kind::Message(message) if message.full_name() == TIMESTAMP => {
            formatted("string", "date-time")
        }
        Kind::Message(message) => {
            add(&message, schemas);
            vec![(
                "$ref",
                text(format!("#/components/schemas/{}", message.full_name())),
            )]
        }
        Kind::Enum(values) => {
            add_enum(&values, schemas);
            vec![(
                "$ref",
                text(format!("#/components/schemas/{}", values.full_name())),
            )]
        }
    }
}

fn add_enum(descriptor: &EnumDescriptor, schemas: &mut BTreeMap<String, Node>) {
    let values = descriptor.values();
    let mut entries = vec![("type", text("string"))];
    entries.extend(described(comment(descriptor)));
    entries.push((
        "enum",
        Node::List(values.map(|value| text(value.name())).collect()),
    ));
    schemas.insert(descriptor.full_name().to_owned(), Node::Map(owned(entries)));
}

fn described(comment: String) -> Option<(&'static str, Node)> {
    (!comment.is_empty()).then(|| ("description", text(comment)))
}

fn text(text: impl Into<String>) -> Node {
    Node::Text(text.into())
}

fn map<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Node::Map(owned(entries.into()))
}

fn each<T>(items: impl IntoIterator<Item = T>, entry: impl FnMut(T) -> (String, Node)) -> Node {
    Node::Map(items.into_iter().map(entry).collect())
}

fn owned(entries: Vec<(&str, Node)>) -> Vec<(String, Node)> {
    let entry = |(key, node): (&str, Node)| (key.to_owned(), node);
    entries.into_iter().map(entry).collect()
}

fn reference(kind: &str, name: &str) -> Node {
    pointer(&format!("/components/{kind}/{name}"))
}

fn pointer(path: &str) -> Node {
    map([("$ref", text(format!("#{path}")))])
}
