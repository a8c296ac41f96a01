use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use crate::domain::Error;

/// Chosen once; the lock exists in each service's own database.
const FIRST_KEY_LOCK: i64 = 0x6964_656e_7469_7479;

pub(crate) struct Row {
    pub(crate) kid: String,
    pub(crate) signs: bool,
    pub(crate) private_key: String,
    pub(crate) public_jwk: Value,
}

/// Makes replicas that start together agree on who makes the first key.
pub(crate) async fn lock_first(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", FIRST_KEY_LOCK)
        .execute(conn)
        .await?;
    Ok(())
}

/// Every key whose tokens may still be valid, the oldest first.
pub(crate) async fn list(
    conn: &mut PgConnection,
    retired_after: DateTime<Utc>,
) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT kid, state = 'signing' AS "signs!", private_key, public_jwk
        FROM signing_keys
        WHERE state <> 'retired' OR retired_at > $1
        ORDER BY created_at, kid"#,
        retired_after,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

pub(crate) async fn insert_signing(
    conn: &mut PgConnection,
    row: &Row,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO signing_keys (kid, algorithm, state, private_key, public_jwk, created_at, signing_at)
        VALUES ($1, 'RS256', 'signing', $2, $3, $4, $4)",
        row.kid,
        row.private_key,
        row.public_jwk,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}
