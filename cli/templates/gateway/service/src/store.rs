//! All SQL of the service, as functions over a connection.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{@Entity@, @Entity@Id, Error, UserId};

pub(crate) async fn insert(conn: &mut PgConnection, @entity@: &@Entity@) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO @entities@ (id, owner_id, name, created_at, version)
        VALUES ($1, $2, $3, $4, $5)",
        @entity@.id.0,
        @entity@.owner_id.0,
        @entity@.name,
        @entity@.created_at,
        @entity@.version,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks one of the owner's for a change; anybody else's is not found.
pub(crate) async fn lock(conn: &mut PgConnection, id: @Entity@Id, owner: UserId) -> Result<@Entity@, Error> {
    let found = sqlx::query_as!(
        @Entity@,
        r#"SELECT id AS "id: @Entity@Id", owner_id AS "owner_id: UserId", name, created_at, version
        FROM @entities@
        WHERE id = $1 AND owner_id = $2
        FOR NO KEY UPDATE"#,
        id.0,
        owner.0,
    )
    .fetch_optional(conn)
    .await?;
    found.ok_or(Error::NotFound)
}

/// Writes what was locked and changed, and raises its version.
pub(crate) async fn save(conn: &mut PgConnection, @entity@: &mut @Entity@) -> Result<(), Error> {
    @entity@.version = sqlx::query_scalar!(
        "UPDATE @entities@
        SET name = $3, version = version + 1
        WHERE id = $1 AND owner_id = $2
        RETURNING version",
        @entity@.id.0,
        @entity@.owner_id.0,
        @entity@.name,
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Those of the owner's that have one of these ids, in the order asked.
pub(crate) async fn batch(conn: &mut PgConnection, ids: &[@Entity@Id], owner: UserId) -> Result<Vec<@Entity@>, Error> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let found = sqlx::query_as!(
        @Entity@,
        r#"SELECT kept.id AS "id: @Entity@Id", owner_id AS "owner_id: UserId", name, created_at, version
        FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, place)
        JOIN @entities@ kept ON kept.id = asked.id
        WHERE owner_id = $2
        ORDER BY asked.place"#,
        &ids,
        owner.0,
    )
    .fetch_all(conn)
    .await?;
    Ok(found)
}

/// At most `limit` of the owner's, newest first, behind `after`.
pub(crate) async fn page(
    conn: &mut PgConnection,
    owner: UserId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<@Entity@>, Error> {
    let found = sqlx::query_as!(
        @Entity@,
        r#"SELECT id AS "id: @Entity@Id", owner_id AS "owner_id: UserId", name, created_at, version
        FROM @entities@
        WHERE owner_id = $1 AND ($2::uuid IS NULL OR id < $2)
        ORDER BY id DESC
        LIMIT $3"#,
        owner.0,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(found)
}
