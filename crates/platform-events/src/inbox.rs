//! How far a consumer is with each key: what makes an event take effect once.

use sqlx::PgConnection;

/// Where an event stands in the order of its key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is the next one. From now on it counts as handled, if the transaction commits.
    Next,
    /// It has taken effect before.
    Repeated,
    /// An earlier one of its key is parked.
    Behind,
    /// Versions between the last one and this are missing.
    Hole {
        /// The last that took effect; 0 for none.
        last: i64,
    },
}

/// Raises the version of a key by one. The row stays locked until the transaction ends, so that a
/// twin of this event on another replica waits for what becomes of it.
///
/// With `complete`, a key that is not known begins with 1; else with any version.
pub(crate) async fn claim(
    tx: &mut PgConnection,
    consumer: &str,
    topic: &str,
    key: &str,
    version: i64,
    complete: bool,
) -> sqlx::Result<Claim> {
    let statement = if version == 1 || !complete {
        "INSERT INTO platform.inbox AS inbox (consumer, topic, key, version)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (consumer, topic, key) DO UPDATE
         SET version = excluded.version
         WHERE inbox.version = excluded.version - 1 AND NOT inbox.parked"
    } else {
        "UPDATE platform.inbox
         SET version = $4
         WHERE consumer = $1 AND topic = $2 AND key = $3
           AND version = $4 - 1 AND NOT parked"
    };
    let raised = sqlx::query(statement)
        .bind(consumer)
        .bind(topic)
        .bind(key)
        .bind(version)
        .execute(&mut *tx)
        .await?;
    if raised.rows_affected() == 1 {
        return Ok(Claim::Next);
    }
    Ok(match lock(tx, consumer, topic, key).await? {
        Some((last, _)) if last >= version => Claim::Repeated,
        Some((_, true)) => Claim::Behind,
        Some((last, false)) => Claim::Hole { last },
        None => Claim::Hole { last: 0 },
    })
}

/// The last version of a key and whether events of it are parked; locked until the transaction
/// ends.
pub(crate) async fn lock(
    tx: &mut PgConnection,
    consumer: &str,
    topic: &str,
    key: &str,
) -> sqlx::Result<Option<(i64, bool)>> {
    sqlx::query_as(
        "SELECT version, parked
         FROM platform.inbox
         WHERE consumer = $1 AND topic = $2 AND key = $3
         FOR UPDATE",
    )
    .bind(consumer)
    .bind(topic)
    .bind(key)
    .fetch_optional(tx)
    .await
}

/// Says that the consumer is at `version` of a key by other means than its events, in the
/// transaction that makes it so: rebuilding a read model from the owner's `List` does this for
/// every entity, also for those that it skips. False if the consumer is as far or farther; then
/// what was listed is older than what is known.
///
/// Events of the key that were parked and are covered by this are gone.
pub async fn raise(
    conn: &mut PgConnection,
    consumer: &str,
    topic: &str,
    key: &str,
    version: i64,
) -> sqlx::Result<bool> {
    let parked: Option<bool> = sqlx::query_scalar(
        "INSERT INTO platform.inbox AS inbox (consumer, topic, key, version)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (consumer, topic, key) DO UPDATE
         SET version = excluded.version
         WHERE inbox.version < excluded.version
         RETURNING parked",
    )
    .bind(consumer)
    .bind(topic)
    .bind(key)
    .bind(version)
    .fetch_optional(&mut *conn)
    .await?;
    if parked == Some(true) {
        sqlx::query(
            "DELETE FROM platform.parked
             WHERE consumer = $1 AND topic = $2 AND key = $3 AND version <= $4",
        )
        .bind(consumer)
        .bind(topic)
        .bind(key)
        .bind(version)
        .execute(&mut *conn)
        .await?;
        settle(conn, consumer, topic, key, version).await?;
    }
    Ok(parked.is_some())
}

/// Sets the version of a key whose row is locked, and whether anything of it is still parked.
pub(crate) async fn settle(
    tx: &mut PgConnection,
    consumer: &str,
    topic: &str,
    key: &str,
    version: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE platform.inbox
         SET version = greatest(version, $4),
             parked = EXISTS (
                 SELECT FROM platform.parked
                 WHERE parked.consumer = $1 AND parked.topic = $2 AND parked.key = $3
                   AND parked.version IS NOT NULL
             )
         WHERE consumer = $1 AND topic = $2 AND key = $3",
    )
    .bind(consumer)
    .bind(topic)
    .bind(key)
    .bind(version)
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes back what [`claim`] has done in the same transaction.
pub(crate) async fn unclaim(
    tx: &mut PgConnection,
    consumer: &str,
    topic: &str,
    key: &str,
    version: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE platform.inbox
         SET version = $4 - 1
         WHERE consumer = $1 AND topic = $2 AND key = $3",
    )
    .bind(consumer)
    .bind(topic)
    .bind(key)
    .bind(version)
    .execute(tx)
    .await?;
    Ok(())
}
