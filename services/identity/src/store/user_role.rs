//! Global roles beside those of the kinds.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{Error, UserId};

/// Gives a global role; false when the user holds it already.
pub(crate) async fn grant(
    conn: &mut PgConnection,
    id: UserId,
    role: &str,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "INSERT INTO user_roles (user_id, role, granted_at)
        VALUES ($1, $2, $3)
        ON CONFLICT ON CONSTRAINT user_roles_pkey DO NOTHING",
        id.0,
        role,
        now,
    )
    .execute(conn)
    .await
    .map_err(|error| match super::constraint(&error) {
        Some("user_roles_user_id_fkey") => Error::UserNotFound,
        _ => error.into(),
    })?;
    Ok(done.rows_affected() == 1)
}

/// Makes takings of a role wait for each other: whether somebody is left to hold it can be told
/// only when nobody else is taking it.
pub(crate) async fn lock_holders(conn: &mut PgConnection, role: &str) -> Result<(), Error> {
    sqlx::query!(
        "SELECT user_id
        FROM user_roles
        WHERE role = $1
        ORDER BY user_id
        FOR UPDATE",
        role,
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// Takes a global role; false when the user does not hold it.
pub(crate) async fn revoke(conn: &mut PgConnection, id: UserId, role: &str) -> Result<bool, Error> {
    let done = sqlx::query!(
        "DELETE FROM user_roles
        WHERE user_id = $1 AND role = $2",
        id.0,
        role,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn has_holder(conn: &mut PgConnection, role: &str) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM user_roles WHERE role = $1) AS "exists!""#,
        role,
    )
    .fetch_one(conn)
    .await?;
    Ok(exists)
}
