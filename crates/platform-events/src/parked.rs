//! Events that did not take effect: kept with the reason until an operator decides.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::inbox;

/// Why an event is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Handling it failed, as often as it is tried.
    Failed,
    /// An earlier one of its key is parked.
    Behind,
    /// Events before it are missing.
    Hole,
    /// Its content is not what its headers say.
    Undecodable,
    /// It is the owner's, but not in our contract.
    UnknownType,
    /// It does not come from the owner of its topic.
    WrongSource,
    /// It is not one of our events at all.
    Malformed,
}

impl Cause {
    /// The word for it in tables and for operators.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Failed => "failed",
            Cause::Behind => "behind",
            Cause::Hole => "hole",
            Cause::Undecodable => "undecodable",
            Cause::UnknownType => "unknown_type",
            Cause::WrongSource => "wrong_source",
            Cause::Malformed => "malformed",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The word is not a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of failed, behind, hole, undecodable, unknown_type, wrong_source, malformed")]
pub struct NoCause;

impl std::str::FromStr for Cause {
    type Err = NoCause;

    fn from_str(word: &str) -> Result<Cause, NoCause> {
        [
            Cause::Failed,
            Cause::Behind,
            Cause::Hole,
            Cause::Undecodable,
            Cause::UnknownType,
            Cause::WrongSource,
            Cause::Malformed,
        ]
        .into_iter()
        .find(|cause| cause.word() == word)
        .ok_or(NoCause)
    }
}

impl TryFrom<String> for Cause {
    type Error = NoCause;

    fn try_from(word: String) -> Result<Cause, NoCause> {
        word.parse()
    }
}

/// A parked event.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Parked {
    /// Names it for [`Filter`].
    pub id: Uuid,
    /// Whose it is.
    pub consumer: String,
    /// Its topic in the contract.
    pub topic: String,
    /// Empty if it has none that can be read.
    pub key: String,
    /// `None` if it has no place in the order of its key; then nothing waits behind it.
    pub version: Option<i64>,
    /// Its name, as in `offer.published`.
    #[sqlx(rename = "type")]
    pub name: Option<String>,
    /// Where it lies in the log.
    pub partition: i32,
    /// Where it lies in its partition.
    pub offset: i64,
    /// As they came.
    #[sqlx(json)]
    pub headers: BTreeMap<String, String>,
    /// As it came.
    pub payload: Vec<u8>,
    /// Why it is here.
    #[sqlx(try_from = "String")]
    pub cause: Cause,
    /// The same in detail.
    pub detail: String,
    /// Given up, but not the first of its key.
    pub dropped: bool,
    /// Since when.
    pub parked_at: DateTime<Utc>,
}

/// Which parked events; without anything, all of a service.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One event.
    pub id: Option<Uuid>,
    /// Those of one consumer.
    pub consumer: Option<String>,
    /// Those of one topic.
    pub topic: Option<String>,
    /// Those of one key.
    pub key: Option<String>,
    /// Those of one name.
    pub name: Option<String>,
    /// Those with one cause.
    pub cause: Option<Cause>,
}

impl Filter {
    /// Adds the conditions, each with AND before it.
    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        if let Some(id) = self.id {
            query.push(" AND id = ").push_bind(id);
        }
        for (column, value) in [
            (" AND consumer = ", &self.consumer),
            (" AND topic = ", &self.topic),
            (" AND key = ", &self.key),
            (" AND type = ", &self.name),
        ] {
            if let Some(value) = value {
                query.push(column).push_bind(value.clone());
            }
        }
        if let Some(cause) = self.cause {
            query.push(" AND cause = ").push_bind(cause.word());
        }
    }
}

/// Parked events in the order in which they would be handled, at most `limit`.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    limit: i64,
) -> sqlx::Result<Vec<Parked>> {
    let mut query = QueryBuilder::new("SELECT * FROM platform.parked WHERE NOT dropped");
    filter.push(&mut query);
    query
        .push(" ORDER BY consumer, topic, key, version, partition, \"offset\" LIMIT ")
        .push_bind(limit);
    query.build_query_as().fetch_all(conn).await
}

/// Gives parked events up: they will never take effect here, and later ones of their keys go on
/// without them. Answers how many there were.
pub async fn drop(conn: &mut PgConnection, filter: &Filter) -> sqlx::Result<u64> {
    let mut tx = conn.begin().await?;
    let mut query =
        QueryBuilder::new("DELETE FROM platform.parked WHERE version IS NULL AND NOT dropped");
    filter.push(&mut query);
    let placeless = query.build().execute(&mut *tx).await?.rows_affected();

    // One that is not the first of its key keeps its place, or its version would be missed when
    // the ones before it are handled.
    let mut query = QueryBuilder::new(
        "UPDATE platform.parked SET dropped = true, payload = '' WHERE NOT dropped",
    );
    filter.push(&mut query);
    query.push(" RETURNING consumer, topic, key");
    let dropped: Vec<(String, String, String)> = query.build_query_as().fetch_all(&mut *tx).await?;
    let count = placeless + u64::try_from(dropped.len()).unwrap_or_default();
    tx.commit().await?;

    let mut keys = dropped;
    keys.sort_unstable();
    keys.dedup();
    for (consumer, topic, key) in keys {
        let mut tx = conn.begin().await?;
        inbox::lock(&mut tx, &consumer, &topic, &key).await?;
        while let Some(first) = first(&mut tx, &consumer, &topic, &key).await? {
            if !first.dropped {
                break;
            }
            done(&mut tx, &first).await?;
        }
        tx.commit().await?;
    }
    Ok(count)
}

/// The keys of a consumer with parked events that the filter is about.
pub(crate) async fn keys(
    conn: &mut PgConnection,
    consumer: &str,
    filter: &Filter,
) -> sqlx::Result<Vec<(String, String)>> {
    let mut query = QueryBuilder::new(
        "SELECT DISTINCT topic, key FROM platform.parked WHERE version IS NOT NULL",
    );
    query
        .push(" AND consumer = ")
        .push_bind(consumer.to_owned());
    filter.push(&mut query);
    query.push(" ORDER BY topic, key");
    query.build_query_as().fetch_all(conn).await
}

/// The first parked event of a key.
pub(crate) async fn first(
    tx: &mut PgConnection,
    consumer: &str,
    topic: &str,
    key: &str,
) -> sqlx::Result<Option<Parked>> {
    sqlx::query_as(
        "SELECT *
         FROM platform.parked
         WHERE consumer = $1 AND topic = $2 AND key = $3 AND version IS NOT NULL
         ORDER BY version
         LIMIT 1",
    )
    .bind(consumer)
    .bind(topic)
    .bind(key)
    .fetch_optional(tx)
    .await
}

/// The first parked event of a key, whose inbox row is locked, is done with.
pub(crate) async fn done(tx: &mut PgConnection, first: &Parked) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM platform.parked WHERE id = $1")
        .bind(first.id)
        .execute(&mut *tx)
        .await?;
    let version = first.version.unwrap_or_default();
    inbox::settle(tx, &first.consumer, &first.topic, &first.key, version).await
}

/// It could not be handled again, maybe for another cause.
pub(crate) async fn failed(
    conn: &mut PgConnection,
    id: Uuid,
    cause: Cause,
    detail: &str,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE platform.parked SET cause = $2, detail = $3 WHERE id = $1")
        .bind(id)
        .bind(cause.word())
        .bind(detail)
        .execute(conn)
        .await?;
    Ok(())
}

/// How many a consumer has.
pub(crate) async fn count(conn: &mut PgConnection, consumer: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM platform.parked WHERE consumer = $1 AND NOT dropped")
        .bind(consumer)
        .fetch_one(conn)
        .await
}

/// Parks an event; one that is there already stays as it is. False if the event has a place in
/// the order of its key, and that place was passed long ago: a repeat.
///
/// In a transaction, since later events must find the key parked as soon as this one is.
pub(crate) async fn park(tx: &mut PgConnection, event: &Parked) -> sqlx::Result<bool> {
    if let Some(version) = event.version {
        let blocked = sqlx::query(
            "INSERT INTO platform.inbox AS inbox (consumer, topic, key, version, parked)
             VALUES ($1, $2, $3, 0, true)
             ON CONFLICT (consumer, topic, key) DO UPDATE
             SET parked = true
             WHERE inbox.version < $4",
        )
        .bind(&event.consumer)
        .bind(&event.topic)
        .bind(&event.key)
        .bind(version)
        .execute(&mut *tx)
        .await?;
        if blocked.rows_affected() == 0 {
            return Ok(false);
        }
    }
    sqlx::query(
        "INSERT INTO platform.parked (
             id, consumer, topic, key, version, type, partition, \"offset\",
             headers, payload, cause, detail, parked_at
         )
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT DO NOTHING",
    )
    .bind(event.id)
    .bind(&event.consumer)
    .bind(&event.topic)
    .bind(&event.key)
    .bind(event.version)
    .bind(&event.name)
    .bind(event.partition)
    .bind(event.offset)
    .bind(Json(&event.headers))
    .bind(&event.payload)
    .bind(event.cause.word())
    .bind(&event.detail)
    .bind(event.parked_at)
    .execute(tx)
    .await?;
    Ok(true)
}
