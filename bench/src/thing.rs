//! The contract of this service: one event, with everything that a real one has.

use platform_contract::{Event, EventType};
use platform_events::{Actor, PublishError, publish};
use prost::Message;
use sqlx::PgConnection;

/// A thing was counted once more.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ThingCounted {
    #[prost(string, tag = "1")]
    pub(crate) thing_id: String,
    #[prost(int64, tag = "2")]
    pub(crate) version: i64,
    #[prost(string, tag = "3")]
    pub(crate) note: String,
}

impl Event for ThingCounted {
    const NAME: &'static str = "thing.counted";
    const TOPIC: &'static str = "events.thing";
    const SOURCE: &'static str = "/homeward/bench";
    const SCHEMA: &'static str = "homeward.bench.v1.ThingCounted";

    fn key(&self) -> &str {
        &self.thing_id
    }

    fn version(&self) -> i64 {
        self.version
    }
}

pub(crate) static EVENTS: &[EventType] = &[EventType {
    name: ThingCounted::NAME,
    topic: ThingCounted::TOPIC,
    source: ThingCounted::SOURCE,
    key: "thing_id",
    schema: ThingCounted::SCHEMA,
    voids: None,
}];

/// Size of an event's content.
pub(crate) const EVENT_BYTES: usize = 200;

/// An event of [`EVENT_BYTES`].
fn counted(thing_id: &str, version: i64) -> ThingCounted {
    let mut event = ThingCounted {
        thing_id: thing_id.to_owned(),
        version,
        note: " ".to_owned(),
    };
    // Beyond 127 bytes the length of the text itself takes a byte more.
    let missing = EVENT_BYTES.saturating_sub(event.encoded_len() + 1);
    let digits = format!("{thing_id} has the number {version}, ");
    event.note = digits.chars().cycle().take(missing + 1).collect();
    event
}

/// The id of the n-th thing.
pub(crate) fn id(number: u64) -> String {
    format!("thing-{number}")
}

/// Makes things with version 0 where there are none.
pub(crate) async fn make(conn: &mut PgConnection, count: u64) -> sqlx::Result<()> {
    let ids: Vec<String> = (0..count).map(id).collect();
    sqlx::query(
        "INSERT INTO things (thing_id, version)
         SELECT unnest($1), 0
         ON CONFLICT DO NOTHING",
    )
    .bind(ids)
    .execute(conn)
    .await?;
    Ok(())
}

/// Raises the version of a thing, without saying so.
pub(crate) async fn raise(conn: &mut PgConnection, thing_id: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "UPDATE things
         SET version = version + 1
         WHERE thing_id = $1
         RETURNING version",
    )
    .bind(thing_id)
    .fetch_one(conn)
    .await
}

/// Raises the version of a thing and says so, as services do it.
pub(crate) async fn count(conn: &mut PgConnection, thing_id: &str) -> Result<i64, PublishError> {
    let version = raise(conn, thing_id).await?;
    publish(conn, &counted(thing_id, version), Actor::service("bench")).await?;
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_as_large_as_is_said() {
        for (thing_id, version) in [("thing-1", 1), ("thing-999", 128), ("thing-12", 1_000_000)] {
            assert_eq!(counted(thing_id, version).encoded_len(), EVENT_BYTES);
        }
    }
}
