//! The outbox as the relay sees it: all SQL of sending.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::envelope::Envelope;
use crate::outbox::RELATED;

/// Memory is bounded by bytes as well as by events.
const BATCH_BYTES_MAX: i64 = 4 * 1024 * 1024;

/// What the outbox and the table of held events have in common.
const COLUMNS: &str = "sequence, lane, id, topic, key, version, type, source, schema, \
                       actor_id, actor_kind, actor_organisation, traceparent, created_at, payload";

/// The first event of a lane. By the index, whatever the planner thinks of an `EXISTS`: what was
/// sent since the last vacuum still lies in the table, before all that waits.
const FIRST: &str = "(
    SELECT sequence FROM platform.outbox
    WHERE outbox.lane = lanes.lane
    ORDER BY sequence
    LIMIT 1
)";

/// One event that waits.
#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) lane: i16,
    pub(crate) sequence: i64,
    pub(crate) topic: String,
    #[sqlx(flatten)]
    pub(crate) event: Envelope,
    pub(crate) payload: Vec<u8>,
    /// An earlier event of its key is held.
    pub(crate) behind: bool,
}

/// Whether there is anything to do, for the price of one statement.
pub(super) async fn any(conn: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<bool> {
    let statement = format!(
        "SELECT EXISTS (SELECT FROM platform.outbox_lanes AS lanes WHERE {FIRST} IS NOT NULL)
             OR EXISTS (SELECT FROM platform.outbox_held WHERE retry_at <= $1)"
    );
    sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(now)
        .fetch_one(conn)
        .await
}

/// Takes a lane that has something to send and that nobody has, until the transaction ends.
/// With it comes whether held events of the lane are to be tried again.
pub(super) async fn take(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<(i16, bool)>> {
    let statement = format!(
        "SELECT lane,
                EXISTS (
                    SELECT FROM platform.outbox_held AS held
                    WHERE held.lane = lanes.lane AND retry_at <= $1
                ) AS due
         FROM platform.outbox_lanes AS lanes
         WHERE {FIRST} IS NOT NULL
            OR EXISTS (
                   SELECT FROM platform.outbox_held AS held
                   WHERE held.lane = lanes.lane AND retry_at <= $1
               )
         ORDER BY random()
         LIMIT 1
         FOR UPDATE OF lanes SKIP LOCKED"
    );
    sqlx::query_as(AssertSqlSafe(statement))
        .bind(now)
        .fetch_optional(tx)
        .await
}

/// Takes more lanes beside one that has much to send: those whose keys lie in the same partitions,
/// so that more events go in as many requests.
pub(super) async fn take_related(tx: &mut PgConnection, lane: i16) -> sqlx::Result<Vec<i16>> {
    let statement = format!(
        "SELECT lane
         FROM platform.outbox_lanes AS lanes
         WHERE lane % $2 = $1 % $2 AND lane <> $1 AND {FIRST} IS NOT NULL
         FOR UPDATE OF lanes SKIP LOCKED"
    );
    sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(lane)
        .bind(RELATED)
        .fetch_all(tx)
        .await
}

/// The next events of a lane, in order. In a statement of its own after the one that took the
/// lane: that one looked at the outbox before it had the lock.
pub(super) async fn read(
    tx: &mut PgConnection,
    lane: i16,
    rows_max: usize,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as(
        "SELECT lane, sequence, id, topic, key, version, type, source, schema,
                actor_id, actor_kind, actor_organisation, traceparent, created_at, payload,
                EXISTS (
                    SELECT FROM platform.outbox_held AS held
                    WHERE held.topic = head.topic AND held.key = head.key
                ) AS behind
         FROM (
             SELECT *,
                    sum(octet_length(payload)) OVER (ORDER BY sequence)
                        - octet_length(payload) AS bytes_before
             FROM (
                 SELECT *
                 FROM platform.outbox
                 WHERE lane = $1
                 ORDER BY sequence
                 LIMIT $2
             ) AS first
         ) AS head
         WHERE bytes_before < $3
         ORDER BY sequence",
    )
    .bind(lane)
    .bind(i64::try_from(rows_max).unwrap_or(i64::MAX))
    .bind(BATCH_BYTES_MAX)
    .fetch_all(tx)
    .await
}

/// Exactly the events that were read: lower sequences may have been committed since.
pub(super) async fn delete(tx: &mut PgConnection, rows: &[&Row]) -> sqlx::Result<()> {
    for (lane, sequences) in by_lane(rows) {
        sqlx::query("DELETE FROM platform.outbox WHERE lane = $1 AND sequence = ANY ($2)")
            .bind(lane)
            .bind(sequences)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

fn by_lane(rows: &[&Row]) -> BTreeMap<i16, Vec<i64>> {
    let mut lanes: BTreeMap<i16, Vec<i64>> = BTreeMap::new();
    for row in rows {
        lanes.entry(row.lane).or_default().push(row.sequence);
    }
    lanes
}

/// Why events are held, and until when; nothing for those that only wait behind others.
pub(super) struct Refusal {
    pub(super) cause: String,
    pub(super) retry_at: DateTime<Utc>,
}

/// Puts events aside, so that the others of their lane go on.
pub(super) async fn hold(
    tx: &mut PgConnection,
    rows: &[&Row],
    refusal: Option<&Refusal>,
) -> sqlx::Result<()> {
    let statement = format!(
        "WITH moved AS (
             DELETE FROM platform.outbox
             WHERE lane = $1 AND sequence = ANY ($2)
             RETURNING {COLUMNS}
         )
         INSERT INTO platform.outbox_held ({COLUMNS}, cause, retry_at, held_at)
         SELECT {COLUMNS}, $3, $4, $5
         FROM moved"
    );
    for (lane, sequences) in by_lane(rows) {
        sqlx::query(AssertSqlSafe(statement.clone()))
            .bind(lane)
            .bind(sequences)
            .bind(refusal.map(|refusal| refusal.cause.as_str()))
            .bind(refusal.map(|refusal| refusal.retry_at))
            .bind(platform::time::now())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// Puts held events back where they were, by their sequence before all later ones of their keys,
/// which all lie in this lane.
pub(super) async fn release(
    tx: &mut PgConnection,
    lane: i16,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let statement = format!(
        "WITH due AS (
             SELECT DISTINCT topic, key
             FROM platform.outbox_held
             WHERE lane = $1 AND retry_at <= $2
         ),
         moved AS (
             DELETE FROM platform.outbox_held
             WHERE lane = $1 AND (topic, key) IN (SELECT topic, key FROM due)
             RETURNING {COLUMNS}
         )
         INSERT INTO platform.outbox ({COLUMNS})
         SELECT {COLUMNS}
         FROM moved"
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(lane)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// How much waits, how long the oldest of it, and how much is held.
pub(super) async fn measure(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
) -> sqlx::Result<(i64, Duration, i64)> {
    let (waiting, oldest, held): (i64, Option<DateTime<Utc>>, i64) = sqlx::query_as(
        "SELECT count(*), min(created_at), (SELECT count(*) FROM platform.outbox_held)
         FROM (SELECT created_at FROM platform.outbox LIMIT 100000) AS waiting",
    )
    .fetch_one(conn)
    .await?;
    let age = oldest.and_then(|oldest| (now - oldest).to_std().ok());
    Ok((waiting, age.unwrap_or_default(), held))
}
