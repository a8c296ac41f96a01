//! Who belongs to what. Changes come after `organisation::lock`, and their statements hold the rules
//! on who may: no row means that the caller may not, or that there is nothing.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Acting, Error, Membership, OrganisationId, Role, UserId};

pub(crate) async fn insert(conn: &mut PgConnection, member: &Membership) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO memberships (organisation_id, user_id, role, created_at)
        VALUES ($1, $2, $3, $4)",
        member.organisation_id.0,
        member.user_id.0,
        member.role.as_str(),
        member.created_at,
    )
    .execute(conn)
    .await
    .map_err(|error| match super::constraint(&error) {
        Some("memberships_pkey") => Error::MemberExists,
        _ => error.into(),
    })?;
    Ok(())
}

/// The organisation that `user` may act for: the one asked for, else the one joined first.
/// It cannot be left before the end of the transaction.
pub(crate) async fn acting(
    conn: &mut PgConnection,
    user: UserId,
    asked: Option<OrganisationId>,
) -> Result<Option<Acting>, Error> {
    let acting = sqlx::query_as!(
        Acting,
        r#"SELECT organisation_id AS "organisation_id: OrganisationId", role AS "role: Role"
        FROM memberships
        WHERE user_id = $1 AND ($2::uuid IS NULL OR organisation_id = $2)
        ORDER BY created_at, organisation_id
        LIMIT 1
        FOR SHARE"#,
        user.0,
        asked.map(|id| id.0),
    )
    .fetch_optional(conn)
    .await?;
    Ok(acting)
}

pub(crate) async fn exists(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    user: UserId,
) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (
            SELECT FROM memberships WHERE organisation_id = $1 AND user_id = $2
        ) AS "exists!""#,
        organisation.0,
        user.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(exists)
}

/// Whether the user owns or manages the organisation.
pub(crate) async fn manages(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    user: UserId,
) -> Result<bool, Error> {
    let manages = sqlx::query_scalar!(
        r#"SELECT EXISTS (
            SELECT FROM memberships
            WHERE organisation_id = $1 AND user_id = $2 AND role IN ('owner', 'manager')
        ) AS "manages!""#,
        organisation.0,
        user.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(manages)
}

pub(crate) async fn list_of_user(
    conn: &mut PgConnection,
    user: UserId,
    limit: i64,
) -> Result<Vec<Membership>, Error> {
    let memberships = sqlx::query_as!(
        Membership,
        r#"SELECT organisation_id AS "organisation_id: OrganisationId", user_id AS "user_id: UserId",
            role AS "role: Role", created_at
        FROM memberships
        WHERE user_id = $1
        ORDER BY created_at, organisation_id
        LIMIT $2"#,
        user.0,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(memberships)
}

/// Members behind `after`, eldest first; none unless `caller` is one of them.
pub(crate) async fn list(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    caller: UserId,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Membership>, Error> {
    let memberships = sqlx::query_as!(
        Membership,
        r#"SELECT member.organisation_id AS "organisation_id: OrganisationId",
            member.user_id AS "user_id: UserId", member.role AS "role: Role", member.created_at
        FROM memberships AS member
        JOIN memberships AS caller ON caller.organisation_id = $1 AND caller.user_id = $2
        WHERE member.organisation_id = $1
            AND (member.created_at, member.user_id) > (
                COALESCE($3::timestamptz, '-infinity'),
                COALESCE($4::uuid, '00000000-0000-0000-0000-000000000000')
            )
        ORDER BY member.created_at, member.user_id
        LIMIT $5"#,
        organisation.0,
        caller.0,
        after.map(|(created_at, _)| created_at),
        after.map(|(_, user_id)| user_id),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(memberships)
}

/// What came of `add`.
pub(crate) struct Added {
    /// The caller may give this role in this organisation.
    pub(crate) allowed: bool,
    /// Who has the address.
    pub(crate) user_id: Option<UserId>,
}

/// Owners add anybody, managers add members. Strangers do not learn who has an account.
pub(crate) async fn add(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    caller: UserId,
    email_key: &str,
    role: Role,
    now: DateTime<Utc>,
) -> Result<Added, Error> {
    sqlx::query_as!(
        Added,
        r#"WITH caller AS (
            SELECT organisation_id
            FROM memberships
            WHERE organisation_id = $1
                AND user_id = $2
                AND (role = 'owner' OR (role = 'manager' AND $4::text = 'member'))
        ), person AS (
            SELECT id FROM users WHERE email_key = $3
        ), added AS (
            INSERT INTO memberships (organisation_id, user_id, role, created_at)
            SELECT caller.organisation_id, person.id, $4, $5
            FROM caller, person
        )
        SELECT EXISTS (SELECT FROM caller) AS "allowed!", (SELECT id FROM person) AS "user_id: UserId""#,
        organisation.0,
        caller.0,
        email_key,
        role.as_str(),
        now,
    )
    .fetch_one(conn)
    .await
    .map_err(|error| match super::constraint(&error) {
        Some("memberships_pkey") => Error::MemberExists,
        _ => error.into(),
    })
}

/// A member before and after a change.
pub(crate) struct Updated {
    pub(crate) role_before: Role,
    pub(crate) created_at: DateTime<Utc>,
}

/// Owners only.
pub(crate) async fn update(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    caller: UserId,
    user: UserId,
    role: Role,
) -> Result<Option<Updated>, Error> {
    let updated = sqlx::query_as!(
        Updated,
        r#"UPDATE memberships AS member
        SET role = $4
        FROM memberships AS before, memberships AS caller
        WHERE member.organisation_id = $1 AND member.user_id = $3
            AND before.organisation_id = $1 AND before.user_id = $3
            AND caller.organisation_id = $1 AND caller.user_id = $2 AND caller.role = 'owner'
        RETURNING before.role AS "role_before: Role", member.created_at"#,
        organisation.0,
        caller.0,
        user.0,
        role.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(updated)
}

/// Owners remove anybody, managers remove members, everybody may leave. Answers the role that is gone.
pub(crate) async fn remove(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    caller: UserId,
    user: UserId,
) -> Result<Option<Role>, Error> {
    let role = sqlx::query_scalar!(
        r#"DELETE FROM memberships AS member
        USING memberships AS caller
        WHERE member.organisation_id = $1 AND member.user_id = $3
            AND caller.organisation_id = $1 AND caller.user_id = $2
            AND (
                caller.user_id = member.user_id
                OR caller.role = 'owner'
                OR (caller.role = 'manager' AND member.role = 'member')
            )
        RETURNING member.role AS "role: Role""#,
        organisation.0,
        caller.0,
        user.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(role)
}

pub(crate) async fn has_owner(
    conn: &mut PgConnection,
    organisation: OrganisationId,
) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (
            SELECT FROM memberships WHERE organisation_id = $1 AND role = 'owner'
        ) AS "exists!""#,
        organisation.0,
    )
    .fetch_one(conn)
    .await?;
    Ok(exists)
}
