use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use crate::domain::Error;

/// Chosen once; the lock exists in each service's own database.
const LOCK: i64 = 0x6964_656e_7469_7479;
/// Retired keys that are told; one a month makes eight years.
const RETIRED_TOLD: i64 = 100;

/// What becomes of a key, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub(crate) enum State {
    /// In the key set, so that everybody knows it before it signs.
    Published,
    Signing,
    /// In the key set for as long as its tokens may live.
    Replaced,
    /// Gone from the key set, its private part deleted.
    Retired,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// RFC 7638 thumbprint of the public key.
    pub(crate) kid: String,
    pub(crate) state: State,
    /// Sealed; empty for a retired key.
    pub(crate) private_key: String,
    pub(crate) public_jwk: Value,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) signing_at: Option<DateTime<Utc>>,
    pub(crate) replaced_at: Option<DateTime<Utc>>,
    pub(crate) retired_at: Option<DateTime<Utc>>,
}

/// Until the end of the transaction nobody else changes keys. Replicas that want to do the same
/// thing then find it done.
pub(crate) async fn lock(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", LOCK)
        .execute(conn)
        .await?;
    Ok(())
}

/// The key set: every key whose tokens may be valid, the oldest first.
pub(crate) async fn list(conn: &mut PgConnection) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT kid, state AS "state: State", private_key, public_jwk,
            created_at, signing_at, replaced_at, retired_at
        FROM signing_keys
        WHERE state <> 'retired'
        ORDER BY created_at, kid"#,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The latest retired keys.
pub(crate) async fn list_retired(conn: &mut PgConnection) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT kid, state AS "state: State", private_key, public_jwk,
            created_at, signing_at, replaced_at, retired_at
        FROM signing_keys
        WHERE state = 'retired'
        ORDER BY retired_at DESC, kid
        LIMIT $1"#,
        RETIRED_TOLD,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

pub(crate) async fn insert(conn: &mut PgConnection, row: &Row) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO signing_keys (kid, algorithm, state, private_key, public_jwk, created_at, signing_at)
        VALUES ($1, 'RS256', $2, $3, $4, $5, $6)",
        row.kid,
        row.state as State,
        row.private_key,
        row.public_jwk,
        row.created_at,
        row.signing_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Stops the key that signs, if there is one, and answers which that was.
pub(crate) async fn replace(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Option<String>, Error> {
    let kid = sqlx::query_scalar!(
        "UPDATE signing_keys
        SET state = 'replaced', replaced_at = $1
        WHERE state = 'signing'
        RETURNING kid",
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(kid)
}

/// Makes a published key sign.
pub(crate) async fn sign(
    conn: &mut PgConnection,
    kid: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE signing_keys
        SET state = 'signing', signing_at = $2
        WHERE kid = $1 AND state = 'published'",
        kid,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a key that does not sign out of the key set, and deletes its private part.
pub(crate) async fn retire(
    conn: &mut PgConnection,
    kid: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE signing_keys
        SET state = 'retired', retired_at = $2, private_key = ''
        WHERE kid = $1 AND state <> 'signing'",
        kid,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}
