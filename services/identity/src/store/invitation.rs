//! Open invitations. As in `store::member`, the statements hold the rules on who may.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Error, Invitation, InvitationId, OrganisationId, Role, UserId};

/// False when the inviter may not: owners invite as anything, managers as members.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    invitation: &Invitation,
    email_key: &str,
    token_hash: &[u8],
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "INSERT INTO invitations (
            id, organisation_id, email, email_key, role, token_hash, invited_by, created_at, expires_at
        )
        SELECT $1, organisation_id, $3, $4, $5, $6, user_id, $8, $9
        FROM memberships
        WHERE organisation_id = $2
            AND user_id = $7
            AND (role = 'owner' OR (role = 'manager' AND $5::text = 'member'))",
        invitation.id.0,
        invitation.organisation_id.0,
        invitation.email,
        email_key,
        invitation.role.as_str(),
        token_hash,
        invitation.invited_by.0,
        invitation.created_at,
        invitation.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How many invitations of the organisation can be accepted.
pub(crate) async fn count_open(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!"
        FROM invitations
        WHERE organisation_id = $1 AND expires_at > $2"#,
        organisation.0,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// As `organisation::lock`, for the organisation that the token invites into.
pub(crate) async fn lock_organisation(
    conn: &mut PgConnection,
    token_hash: &[u8],
) -> Result<(), Error> {
    sqlx::query!(
        "SELECT organisations.id
        FROM organisations
        JOIN invitations ON invitations.organisation_id = organisations.id
        WHERE invitations.token_hash = $1
        FOR NO KEY UPDATE OF organisations",
        token_hash,
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

/// An invitation that is used up.
pub(crate) struct Taken {
    pub(crate) id: InvitationId,
    pub(crate) organisation_id: OrganisationId,
    pub(crate) role: Role,
    /// It is for the address of the user.
    pub(crate) matches: bool,
}

/// Takes the open invitation with this token, as long as who sent it may still give the role.
pub(crate) async fn take(
    conn: &mut PgConnection,
    token_hash: &[u8],
    user: UserId,
    now: DateTime<Utc>,
) -> Result<Option<Taken>, Error> {
    let taken = sqlx::query_as!(
        Taken,
        r#"DELETE FROM invitations
        USING memberships AS inviter, users
        WHERE invitations.token_hash = $1
            AND invitations.expires_at > $3
            AND inviter.organisation_id = invitations.organisation_id
            AND inviter.user_id = invitations.invited_by
            AND (inviter.role = 'owner' OR (inviter.role = 'manager' AND invitations.role = 'member'))
            AND users.id = $2
        RETURNING invitations.id AS "id: InvitationId",
            invitations.organisation_id AS "organisation_id: OrganisationId",
            invitations.role AS "role: Role",
            users.email_key = invitations.email_key AS "matches!""#,
        token_hash,
        user.0,
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(taken)
}

/// Owners revoke any, managers those that they could make. Answers the role it was for.
pub(crate) async fn revoke(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    caller: UserId,
    id: InvitationId,
) -> Result<Option<Role>, Error> {
    let role = sqlx::query_scalar!(
        r#"DELETE FROM invitations
        USING memberships AS caller
        WHERE invitations.id = $3
            AND invitations.organisation_id = $1
            AND caller.organisation_id = $1
            AND caller.user_id = $2
            AND (caller.role = 'owner' OR (caller.role = 'manager' AND invitations.role = 'member'))
        RETURNING invitations.role AS "role: Role""#,
        organisation.0,
        caller.0,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(role)
}

/// Open invitations behind `after`, eldest first; none unless `caller` owns or manages the organisation.
pub(crate) async fn list(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    caller: UserId,
    now: DateTime<Utc>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Invitation>, Error> {
    let invitations = sqlx::query_as!(
        Invitation,
        r#"SELECT invitations.id AS "id: InvitationId",
            invitations.organisation_id AS "organisation_id: OrganisationId",
            invitations.email, invitations.role AS "role: Role",
            invitations.invited_by AS "invited_by: UserId",
            invitations.created_at, invitations.expires_at
        FROM invitations
        JOIN memberships AS caller ON caller.organisation_id = $1 AND caller.user_id = $2
        WHERE invitations.organisation_id = $1
            AND caller.role IN ('owner', 'manager')
            AND invitations.expires_at > $3
            AND (invitations.created_at, invitations.id) > (
                COALESCE($4::timestamptz, '-infinity'),
                COALESCE($5::uuid, '00000000-0000-0000-0000-000000000000')
            )
        ORDER BY invitations.created_at, invitations.id
        LIMIT $6"#,
        organisation.0,
        caller.0,
        now,
        after.map(|(created_at, _)| created_at),
        after.map(|(_, id)| id),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(invitations)
}

/// Forgets some invitations that expired before `before`; answers how many.
pub(crate) async fn delete_expired(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "DELETE FROM invitations
        WHERE id IN (
            SELECT id
            FROM invitations
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
