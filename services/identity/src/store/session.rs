use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{Acting, Error, OrganisationId, Role, Session, SessionId, UserId};

/// Why a session is over.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Logout,
    Reuse,
    Password,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Reuse => "reuse",
            Self::Password => "password",
        }
    }
}

pub(crate) async fn insert(
    conn: &mut PgConnection,
    session: &Session,
    organisation: Option<OrganisationId>,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO sessions (id, user_id, organisation_id, counter, rotated_at, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $5, $6)",
        session.id.0,
        session.user_id.0,
        organisation.map(|id| id.0),
        session.counter,
        session.rotated_at,
        session.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The session, which nobody else can change before the end of the transaction.
pub(crate) async fn lock(conn: &mut PgConnection, id: SessionId) -> Result<Option<Session>, Error> {
    let session = sqlx::query_as!(
        Session,
        r#"SELECT id AS "id: SessionId", user_id AS "user_id: UserId", counter, rotated_at, expires_at, ended_at
        FROM sessions
        WHERE id = $1
        FOR UPDATE"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(session)
}

/// The organisation that the session acts for, with the role as it is now.
pub(crate) async fn acting(
    conn: &mut PgConnection,
    id: SessionId,
) -> Result<Option<Acting>, Error> {
    let acting = sqlx::query_as!(
        Acting,
        r#"SELECT organisation_id AS "organisation_id: OrganisationId", role AS "role: Role"
        FROM memberships
        JOIN sessions USING (organisation_id, user_id)
        WHERE sessions.id = $1"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(acting)
}

/// Makes the session's next refresh token the current one.
pub(crate) async fn rotate(conn: &mut PgConnection, session: &Session) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE sessions
        SET counter = $2, rotated_at = $3, expires_at = $4
        WHERE id = $1",
        session.id.0,
        session.counter,
        session.rotated_at,
        session.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// False when the session is not the user's, or over.
pub(crate) async fn act_for(
    conn: &mut PgConnection,
    id: SessionId,
    user: UserId,
    organisation: Option<OrganisationId>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "UPDATE sessions
        SET organisation_id = $3
        WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $4",
        id.0,
        user.0,
        organisation.map(|id| id.0),
        now,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// False when the session is not the user's, or has ended already.
pub(crate) async fn end(
    conn: &mut PgConnection,
    id: SessionId,
    user: UserId,
    why: End,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "UPDATE sessions
        SET ended_at = $3, end_reason = $4
        WHERE id = $1 AND user_id = $2 AND ended_at IS NULL",
        id.0,
        user.0,
        now,
        why.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends all sessions of the user but the one kept.
pub(crate) async fn end_others(
    conn: &mut PgConnection,
    kept: SessionId,
    user: UserId,
    why: End,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE sessions
        SET ended_at = $3, end_reason = $4
        WHERE id <> $1 AND user_id = $2 AND ended_at IS NULL",
        kept.0,
        user.0,
        now,
        why.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets some sessions that expired before `before`; answers how many.
pub(crate) async fn delete_expired(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "DELETE FROM sessions
        WHERE id IN (
            SELECT id
            FROM sessions
            WHERE expires_at < $1
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
