//! The headers of an event: CloudEvents 1.0 in binary mode, and the trace.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use platform::auth::Caller;
use platform::trace::TraceContext;
use platform_contract::{Event, EventType};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use uuid::Uuid;

const CONTENT_TYPE: &str = "application/protobuf";
const SPEC_VERSION: &str = "1.0";
const TRACEPARENT: &str = "traceparent";

/// On whose behalf something happened. For attribution only: it never gives rights.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Actor {
    /// The user's id or the service's name; empty for nobody.
    #[sqlx(rename = "actor_id")]
    pub id: String,
    /// `user-<word>`, `system` or `nobody`.
    #[sqlx(rename = "actor_kind")]
    pub kind: String,
    /// The organisation that the user acted for.
    #[sqlx(rename = "actor_organisation")]
    pub organisation: Option<Uuid>,
}

impl Actor {
    /// A service, on nobody's behalf.
    pub fn service(name: &str) -> Actor {
        Actor {
            id: name.to_owned(),
            kind: "system".to_owned(),
            organisation: None,
        }
    }

    /// Nobody in particular.
    pub fn nobody() -> Actor {
        Actor {
            id: String::new(),
            kind: "nobody".to_owned(),
            organisation: None,
        }
    }
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Actor {
        match caller {
            Caller::Nobody => Actor::nobody(),
            Caller::System(system) => Actor::service(&system.name),
            Caller::User(user) => Actor {
                id: user.id.to_string(),
                kind: user.kind.clone(),
                organisation: user.organisation.map(|(id, _)| id),
            },
        }
    }
}

/// What follows from an event is attributed to whom the event is.
impl From<&Meta> for Actor {
    fn from(meta: &Meta) -> Actor {
        meta.actor.clone()
    }
}

/// What is known of an event besides its content.
#[derive(Clone, Debug)]
pub struct Meta {
    /// One per event, the same in every repeat.
    pub id: Uuid,
    /// Its entry in the contract: name, topic, source.
    pub event: &'static EventType,
    /// The entity that it is ordered by.
    pub key: String,
    /// Its place in that order.
    pub version: i64,
    /// When it was published.
    pub time: DateTime<Utc>,
    /// On whose behalf.
    pub actor: Actor,
    /// The trace in which it was published.
    pub trace: TraceContext,
    /// Where it lies in the log.
    pub partition: i32,
    /// Where it lies in its partition.
    pub offset: i64,
}

/// The content of an event, held against its headers.
pub(crate) fn decode<E: Event>(payload: &[u8], meta: &Meta) -> Result<E, String> {
    let event = E::decode(payload).map_err(|error| error.to_string())?;
    if event.key() != meta.key || event.version() != meta.version {
        return Err(format!(
            "the content is version {} of {:?}",
            event.version(),
            event.key()
        ));
    }
    Ok(event)
}

/// The headers of one event; columns of the outbox on one side, read strictly on the other.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub(crate) struct Envelope {
    pub(crate) id: Uuid,
    pub(crate) source: String,
    #[sqlx(rename = "type")]
    pub(crate) name: String,
    pub(crate) schema: String,
    #[sqlx(rename = "created_at")]
    pub(crate) time: DateTime<Utc>,
    pub(crate) key: String,
    pub(crate) version: i64,
    #[sqlx(flatten)]
    pub(crate) actor: Actor,
    pub(crate) traceparent: String,
}

/// Headers as text by name; what an operator sees of a parked event.
pub(crate) type Texts = BTreeMap<String, String>;

/// Why an event is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not an event of ours at all.
    Malformed(String),
    /// Not from the service that owns the topic.
    WrongSource(String),
    /// The owner's, but of a type that we do not know.
    UnknownType(String),
}

/// Headers as they came; a name that comes twice is `Err`, since nobody can say which one holds.
pub(crate) fn texts(headers: Option<&impl Headers>) -> Result<Texts, (String, Texts)> {
    let mut texts = Texts::new();
    let mut twice = None;
    for header in headers.iter().flat_map(|headers| headers.iter()) {
        let value = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
        if texts.insert(header.key.to_owned(), value).is_some() {
            twice = Some(header.key.to_owned());
        }
    }
    match twice {
        None => Ok(texts),
        Some(name) => Err((format!("the header {name} comes twice"), texts)),
    }
}

impl Envelope {
    pub(crate) fn write(&self) -> OwnedHeaders {
        let time = self.time.to_rfc3339_opts(SecondsFormat::Micros, true);
        let (id, version) = (self.id.to_string(), self.version.to_string());
        let organisation = self.actor.organisation.map(|id| id.to_string());
        let all = [
            ("ce_id", id.as_str()),
            ("ce_source", &self.source),
            ("ce_specversion", SPEC_VERSION),
            ("ce_type", &self.name),
            ("ce_time", &time),
            ("ce_subject", &self.key),
            ("ce_sequence", &version),
            ("ce_dataschema", &self.schema),
            ("ce_actorid", &self.actor.id),
            ("ce_actorkind", &self.actor.kind),
            ("ce_actororg", organisation.as_deref().unwrap_or_default()),
            ("content-type", CONTENT_TYPE),
            (TRACEPARENT, &self.traceparent),
        ];
        let mut headers = OwnedHeaders::new_with_capacity(all.len());
        // CloudEvents knows no empty attribute.
        for (key, value) in all.into_iter().filter(|(_, value)| !value.is_empty()) {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        headers
    }

    pub(crate) fn read(texts: &Texts, key: Option<&[u8]>) -> Result<Envelope, Refused> {
        let get = |name: &str| match texts.get(name) {
            Some(value) if !value.is_empty() => Ok(value.as_str()),
            _ => Err(Refused::Malformed(format!("the header {name} is missing"))),
        };
        let expect = |name: &str, expected: &str| match get(name)? {
            value if value == expected => Ok(()),
            value => Err(Refused::Malformed(format!(
                "{name} is `{value}`, not `{expected}`"
            ))),
        };
        fn parsed<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, Refused> {
            value
                .parse()
                .map_err(|_| Refused::Malformed(format!("{name} is `{value}`")))
        }

        expect("ce_specversion", SPEC_VERSION)?;
        expect("content-type", CONTENT_TYPE)?;
        let subject = get("ce_subject")?;
        if key != Some(subject.as_bytes()) {
            return Err(Refused::Malformed(
                "ce_subject is not the key of the message".to_owned(),
            ));
        }
        let version = parsed("ce_sequence", get("ce_sequence")?)?;
        if version < 1 {
            return Err(Refused::Malformed(format!("ce_sequence is {version}")));
        }
        let time = get("ce_time")?;
        let organisation = texts
            .get("ce_actororg")
            .map(|id| parsed("ce_actororg", id))
            .transpose()?;
        Ok(Envelope {
            id: parsed("ce_id", get("ce_id")?)?,
            source: get("ce_source")?.to_owned(),
            name: get("ce_type")?.to_owned(),
            schema: get("ce_dataschema")?.to_owned(),
            time: DateTime::parse_from_rfc3339(time)
                .map_err(|_| Refused::Malformed(format!("ce_time is `{time}`")))?
                .to_utc(),
            key: subject.to_owned(),
            version,
            actor: Actor {
                id: texts.get("ce_actorid").cloned().unwrap_or_default(),
                kind: get("ce_actorkind")?.to_owned(),
                organisation,
            },
            traceparent: texts.get(TRACEPARENT).cloned().unwrap_or_default(),
        })
    }

    /// Holds the event against the contract: only the owner of a topic is believed.
    pub(crate) fn judge(
        &self,
        contract: &'static [EventType],
        topic: &str,
    ) -> Result<&'static EventType, Refused> {
        let mut of_topic = contract.iter().filter(|event| event.topic == topic);
        let owned = |event: &EventType| event.source == self.source;
        if !of_topic.clone().any(owned) {
            let source = &self.source;
            return Err(Refused::WrongSource(format!(
                "{source} does not own {topic}"
            )));
        }
        let event = of_topic.find(|event| event.name == self.name && owned(event));
        let event = event.ok_or_else(|| {
            let name = &self.name;
            Refused::UnknownType(format!("{name} is not known to be on {topic}"))
        })?;
        if event.schema != self.schema {
            return Err(Refused::UnknownType(format!(
                "{} is a {}, not a {}",
                self.name, event.schema, self.schema
            )));
        }
        Ok(event)
    }

    pub(crate) fn into_meta(self, event: &'static EventType, partition: i32, offset: i64) -> Meta {
        Meta {
            id: self.id,
            event,
            key: self.key,
            version: self.version,
            time: self.time,
            actor: self.actor,
            // A broken trace is no reason to lose an event.
            trace: self
                .traceparent
                .parse()
                .map_or_else(|_| TraceContext::new(), TraceContext::child),
            partition,
            offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static CONTRACT: &[EventType] = &[EventType {
        name: "offer.published",
        topic: "events.offer",
        source: "/homeward/catalog",
        key: "offer_id",
        schema: "homeward.catalog.v1.OfferPublished",
        voids: None,
    }];

    fn sample() -> Envelope {
        Envelope {
            id: Uuid::now_v7(),
            source: "/homeward/catalog".to_owned(),
            name: "offer.published".to_owned(),
            schema: "homeward.catalog.v1.OfferPublished".to_owned(),
            time: platform::time::now(),
            key: "key".to_owned(),
            version: 7,
            actor: Actor {
                id: "someone".to_owned(),
                kind: "user-mover".to_owned(),
                organisation: Some(Uuid::now_v7()),
            },
            traceparent: TraceContext::new().to_string(),
        }
    }

    fn read_with(change: impl FnOnce(&mut Texts)) -> Result<Envelope, Refused> {
        let mut texts = texts(Some(&sample().write())).unwrap();
        change(&mut texts);
        Envelope::read(&texts, Some(b"key"))
    }

    #[test]
    fn what_is_written_is_read() {
        let written = sample();
        let read = Envelope::read(&texts(Some(&written.write())).unwrap(), Some(b"key")).unwrap();
        assert_eq!(read, written);
        let event = read.judge(CONTRACT, "events.offer").unwrap();
        assert_eq!(event.name, "offer.published");
        let trace: TraceContext = written.traceparent.parse().unwrap();
        let meta = read.into_meta(event, 3, 4);
        assert_eq!(meta.trace.trace_id(), trace.trace_id());
    }

    #[test]
    fn nobody_has_no_id() {
        let mut envelope = sample();
        envelope.actor = Actor::nobody();
        let texts = texts(Some(&envelope.write())).unwrap();
        assert!(!texts.contains_key("ce_actorid"));
        assert_eq!(Envelope::read(&texts, Some(b"key")), Ok(envelope));
    }

    #[test]
    fn an_event_without_what_it_needs_is_malformed() {
        for name in [
            "ce_id",
            "ce_source",
            "ce_specversion",
            "ce_type",
            "ce_time",
            "ce_subject",
            "ce_sequence",
            "ce_dataschema",
            "ce_actorkind",
            "content-type",
        ] {
            let missing = read_with(|texts| drop(texts.remove(name)));
            assert!(matches!(missing, Err(Refused::Malformed(_))), "{name}");
            let wrong = read_with(|texts| drop(texts.insert(name.to_owned(), String::new())));
            assert!(matches!(wrong, Err(Refused::Malformed(_))), "{name}");
        }
        for (name, value) in [
            ("ce_sequence", "0"),
            ("ce_sequence", "x"),
            ("ce_specversion", "2.0"),
            ("ce_time", "now"),
            ("ce_subject", "another"),
        ] {
            let wrong = read_with(|texts| drop(texts.insert(name.to_owned(), value.to_owned())));
            assert!(matches!(wrong, Err(Refused::Malformed(_))), "{name}");
        }
    }

    #[test]
    fn a_header_that_comes_twice_is_noticed() {
        let headers = sample().write().insert(Header {
            key: "ce_sequence",
            value: Some("8"),
        });
        assert!(texts(Some(&headers)).is_err());
    }

    #[test]
    fn a_broken_trace_is_a_new_one() {
        let broken = read_with(|texts| drop(texts.insert("traceparent".into(), "x".into())));
        let meta = broken.unwrap().into_meta(&CONTRACT[0], 0, 0);
        assert_ne!(meta.trace.trace_id(), sample().traceparent[3..35]);
    }

    #[test]
    fn only_the_owner_of_a_topic_is_believed() {
        let judged = |name: &str, value: &str| {
            read_with(|texts| drop(texts.insert(name.to_owned(), value.to_owned())))
                .unwrap()
                .judge(CONTRACT, "events.offer")
        };
        assert!(matches!(
            judged("ce_source", "/homeward/identity"),
            Err(Refused::WrongSource(_))
        ));
        assert!(matches!(
            judged("ce_type", "offer.exploded"),
            Err(Refused::UnknownType(_))
        ));
        assert!(matches!(
            judged("ce_dataschema", "homeward.catalog.v1.OfferRetired"),
            Err(Refused::UnknownType(_))
        ));
    }
}
