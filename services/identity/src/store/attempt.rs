//! Tries to log in: failures, and origins that are known. All keys are keyed fingerprints.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{Error, UserId};

/// Failures counted under one key.
#[derive(Clone, Debug)]
pub(crate) struct Failures {
    pub(crate) key: Vec<u8>,
    /// The last one.
    pub(crate) failed_at: DateTime<Utc>,
    /// When none of them counts any more.
    pub(crate) forgotten_at: DateTime<Utc>,
}

/// Whether somebody has logged in from there.
pub(crate) async fn is_known(conn: &mut PgConnection, origin: &[u8]) -> Result<bool, Error> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM login_origins WHERE key = $1) AS "known!""#,
        origin,
    )
    .fetch_one(conn)
    .await?;
    Ok(known)
}

/// What is counted under the keys, which nobody else can change before the end of the transaction;
/// also where there is no row yet, or tries that come at once would not see each other.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    keys: &[Vec<u8>],
    now: DateTime<Utc>,
) -> Result<Vec<Failures>, Error> {
    let failures = sqlx::query_as!(
        Failures,
        "INSERT INTO login_failures (key, failed_at, forgotten_at)
        SELECT key, $2, $2
        FROM unnest($1::bytea[]) AS counted (key)
        ORDER BY key
        ON CONFLICT ON CONSTRAINT login_failures_pkey DO UPDATE
            SET failed_at = login_failures.failed_at
        RETURNING key, failed_at, forgotten_at",
        keys,
        now,
    )
    .fetch_all(conn)
    .await?;
    Ok(failures)
}

/// Writes failures whose rows the transaction has locked.
pub(crate) async fn update(conn: &mut PgConnection, failures: &[Failures]) -> Result<(), Error> {
    let keys: Vec<_> = failures.iter().map(|row| row.key.clone()).collect();
    let failed_at: Vec<_> = failures.iter().map(|row| row.failed_at).collect();
    let forgotten_at: Vec<_> = failures.iter().map(|row| row.forgotten_at).collect();
    sqlx::query!(
        "UPDATE login_failures
        SET failed_at = counted.failed_at, forgotten_at = counted.forgotten_at
        FROM unnest($1::bytea[], $2::timestamptz[], $3::timestamptz[])
            AS counted (key, failed_at, forgotten_at)
        WHERE login_failures.key = counted.key",
        &keys,
        &failed_at,
        &forgotten_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes one failure back under each key, where it still counts.
pub(crate) async fn refund(
    conn: &mut PgConnection,
    keys: &[Vec<u8>],
    each_s: f64,
) -> Result<(), Error> {
    sqlx::query!(
        "WITH locked AS (
            SELECT key
            FROM login_failures
            WHERE key = ANY($1)
            ORDER BY key
            FOR UPDATE
        )
        UPDATE login_failures
        SET forgotten_at = greatest(forgotten_at - make_interval(secs => $2), failed_at)
        FROM locked
        WHERE login_failures.key = locked.key",
        keys,
        each_s,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Remembers from where the user has logged in, with so many of the latest others.
pub(crate) async fn remember(
    conn: &mut PgConnection,
    origin: &[u8],
    user: UserId,
    now: DateTime<Utc>,
    others: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "WITH seen AS (
            INSERT INTO login_origins (key, user_id, seen_at)
            VALUES ($1, $2, $3)
            ON CONFLICT ON CONSTRAINT login_origins_pkey DO UPDATE
                SET user_id = excluded.user_id, seen_at = excluded.seen_at
        )
        DELETE FROM login_origins
        WHERE key IN (
            SELECT key
            FROM login_origins
            WHERE user_id = $2 AND key <> $1
            ORDER BY seen_at DESC
            OFFSET $4
        )",
        origin,
        user.0,
        now,
        others,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes some rows whose failures are all forgotten; answers how many.
pub(crate) async fn delete_forgotten(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "DELETE FROM login_failures
        WHERE key IN (
            SELECT key
            FROM login_failures
            WHERE forgotten_at <= $1
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )",
        now,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes some of what is more than `kept` rows, first what would be forgotten first anyway.
pub(crate) async fn delete_excess(
    conn: &mut PgConnection,
    kept: i64,
    limit: i64,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "DELETE FROM login_failures
        WHERE key IN (
            SELECT key
            FROM login_failures
            ORDER BY forgotten_at DESC
            OFFSET $1
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )",
        kept,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Forgets some origins that nobody has used since `before`; answers how many.
pub(crate) async fn delete_origins(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "DELETE FROM login_origins
        WHERE key IN (
            SELECT key
            FROM login_origins
            WHERE seen_at < $1
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )",
        before,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
