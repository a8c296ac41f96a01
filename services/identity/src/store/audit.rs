//! The audit log. Entries are inserted and read; only their age takes them away.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

use crate::{
    audit::{self, Action, Entry},
    domain::{Error, OrganisationId, UserId},
};

pub(crate) async fn insert(
    conn: &mut PgConnection,
    entry: &Entry,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO audit_entries (
            id, created_at, action, actor_id, actor_kind, client_id,
            user_id, organisation_id, role, object_id, trace_id
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        entry.id,
        now,
        audit::word(entry.action),
        entry.by.actor.id,
        entry.by.actor.kind,
        entry.by.client_id,
        entry.user_id.map(|id| id.0),
        entry.organisation_id.map(|id| id.0),
        entry.role,
        entry.object_id,
        entry.trace_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which entries; `None` means any.
#[derive(Default)]
pub(crate) struct Filter {
    pub(crate) actor_id: Option<String>,
    pub(crate) user_id: Option<UserId>,
    pub(crate) action: Option<Action>,
    /// From this moment on.
    pub(crate) start: Option<DateTime<Utc>>,
    /// Before this moment.
    pub(crate) end: Option<DateTime<Utc>>,
}

/// An entry as it is stored.
#[derive(sqlx::FromRow)]
pub(crate) struct Found {
    pub(crate) id: Uuid,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) action: String,
    pub(crate) actor_id: String,
    pub(crate) actor_kind: String,
    pub(crate) client_id: String,
    pub(crate) user_id: Option<UserId>,
    pub(crate) organisation_id: Option<OrganisationId>,
    pub(crate) role: Option<String>,
    pub(crate) object_id: Option<String>,
    pub(crate) trace_id: Option<String>,
}

/// At most `limit` entries behind `after`, the latest first.
pub(crate) async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Found>, Error> {
    let mut sql = QueryBuilder::new(
        "SELECT id, created_at, action, actor_id, actor_kind, client_id,
            user_id, organisation_id, role, object_id, trace_id
        FROM audit_entries
        WHERE true",
    );
    if let Some(actor_id) = &filter.actor_id {
        sql.push(" AND actor_id = ").push_bind(actor_id);
    }
    if let Some(user_id) = filter.user_id {
        sql.push(" AND user_id = ").push_bind(user_id);
    }
    if let Some(action) = filter.action {
        sql.push(" AND action = ").push_bind(audit::word(action));
    }
    if let Some(start) = filter.start {
        sql.push(" AND created_at >= ").push_bind(start);
    }
    if let Some(end) = filter.end {
        sql.push(" AND created_at < ").push_bind(end);
    }
    if let Some((created_at, id)) = after {
        sql.push(" AND (created_at, id) < (")
            .push_bind(created_at)
            .push(", ")
            .push_bind(id)
            .push(")");
    }
    sql.push(" ORDER BY created_at DESC, id DESC LIMIT ")
        .push_bind(limit);
    Ok(sql.build_query_as().fetch_all(conn).await?)
}

/// Deletes some entries from before `before`, by the one function that may; answers how many.
pub(crate) async fn delete_old(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT delete_audit_entries($1, $2) AS "count!""#,
        before,
        limit,
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}
