use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{Error, Kind, User, UserId};

/// An account that can prove itself by a password.
pub(crate) struct Known {
    pub(crate) id: UserId,
    pub(crate) hash: String,
    /// Since when this is the password, however it is hashed.
    pub(crate) changed_at: DateTime<Utc>,
}

pub(crate) struct New<'a> {
    pub(crate) id: UserId,
    pub(crate) email: &'a str,
    pub(crate) email_key: &'a str,
    pub(crate) display_name: &'a str,
    pub(crate) kind: Kind,
    pub(crate) password_hash: &'a str,
    pub(crate) created_at: DateTime<Utc>,
}

pub(crate) async fn insert(conn: &mut PgConnection, user: &New<'_>) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO users (id, email, email_key, display_name, kind, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)",
        user.id.0,
        user.email,
        user.email_key,
        user.display_name,
        user.kind.as_str(),
        user.created_at,
    )
    .execute(&mut *conn)
    .await
    .map_err(|error| match super::constraint(&error) {
        Some("users_email_key_key") => Error::EmailTaken,
        _ => error.into(),
    })?;
    sqlx::query!(
        "INSERT INTO passwords (user_id, hash, changed_at)
        VALUES ($1, $2, $3)",
        user.id.0,
        user.password_hash,
        user.created_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn get(conn: &mut PgConnection, id: UserId) -> Result<User, Error> {
    let user = sqlx::query_as!(
        User,
        r#"SELECT id AS "id: UserId", email, display_name, kind AS "kind: Kind", created_at, version,
            access_version,
            ARRAY(SELECT role FROM user_roles WHERE user_id = users.id ORDER BY role) AS "granted!"
        FROM users
        WHERE id = $1"#,
        id.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}

/// Those of `ids` that `caller` may see, in that order: themselves, and who shares an organisation with them.
pub(crate) async fn list_visible(
    conn: &mut PgConnection,
    caller: UserId,
    ids: &[uuid::Uuid],
) -> Result<Vec<User>, Error> {
    let users = sqlx::query_as!(
        User,
        r#"SELECT id AS "id: UserId", email, display_name, kind AS "kind: Kind", created_at, version,
            access_version,
            ARRAY(SELECT role FROM user_roles WHERE user_id = users.id ORDER BY role) AS "granted!"
        FROM users
        WHERE id = ANY($2)
            AND (
                id = $1
                OR EXISTS (
                    SELECT FROM memberships AS own
                    JOIN memberships AS theirs USING (organisation_id)
                    WHERE own.user_id = $1 AND theirs.user_id = users.id
                )
            )
        ORDER BY array_position($2, id)"#,
        caller.0,
        ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(users)
}

pub(crate) async fn find(
    conn: &mut PgConnection,
    email_key: &str,
) -> Result<Option<UserId>, Error> {
    let id = sqlx::query_scalar!(
        r#"SELECT id AS "id: UserId"
        FROM users
        WHERE email_key = $1"#,
        email_key,
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

pub(crate) async fn find_known(
    conn: &mut PgConnection,
    email_key: &str,
) -> Result<Option<Known>, Error> {
    let known = sqlx::query_as!(
        Known,
        r#"SELECT users.id AS "id: UserId", passwords.hash, passwords.changed_at
        FROM users
        JOIN passwords ON passwords.user_id = users.id
        WHERE users.email_key = $1"#,
        email_key,
    )
    .fetch_optional(conn)
    .await?;
    Ok(known)
}

pub(crate) async fn password_hash(
    conn: &mut PgConnection,
    id: UserId,
) -> Result<Option<String>, Error> {
    let hash = sqlx::query_scalar!("SELECT hash FROM passwords WHERE user_id = $1", id.0)
        .fetch_optional(conn)
        .await?;
    Ok(hash)
}

/// Whether the user's password still is that of `changed_at`; if so, until the end of the transaction.
pub(crate) async fn keep_password(
    conn: &mut PgConnection,
    id: UserId,
    changed_at: DateTime<Utc>,
) -> Result<bool, Error> {
    let kept = sqlx::query!(
        "SELECT user_id
        FROM passwords
        WHERE user_id = $1 AND changed_at = $2
        FOR SHARE",
        id.0,
        changed_at,
    )
    .fetch_optional(conn)
    .await?;
    Ok(kept.is_some())
}

/// Stores another hash of the same password; false when the password is not that of `changed_at` any more.
pub(crate) async fn renew_hash(
    conn: &mut PgConnection,
    id: UserId,
    changed_at: DateTime<Utc>,
    hash: &str,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "UPDATE passwords
        SET hash = $3
        WHERE user_id = $1 AND changed_at = $2",
        id.0,
        changed_at,
        hash,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Replaces `before`; false when it is not the user's hash any more.
pub(crate) async fn replace_password(
    conn: &mut PgConnection,
    id: UserId,
    before: &str,
    after: &str,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "UPDATE passwords
        SET hash = $3, changed_at = $4
        WHERE user_id = $1 AND hash = $2",
        id.0,
        before,
        after,
        now,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Counts an event of the user, and answers its version.
pub(crate) async fn raise_version(conn: &mut PgConnection, id: UserId) -> Result<i64, Error> {
    let version = sqlx::query_scalar!(
        "UPDATE users
        SET version = version + 1
        WHERE id = $1
        RETURNING version",
        id.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(version)
}

/// Of an event that lessens a user's rights.
pub(crate) struct Versions {
    pub(crate) version: i64,
    /// The new claim `ver`.
    pub(crate) access_version: i64,
}

/// Counts an event that lessens the user's rights.
pub(crate) async fn raise_access_version(
    conn: &mut PgConnection,
    id: UserId,
) -> Result<Versions, Error> {
    let versions = sqlx::query_as!(
        Versions,
        "UPDATE users
        SET version = version + 1, access_version = access_version + 1
        WHERE id = $1
        RETURNING version, access_version",
        id.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(versions)
}
