use sqlx::PgConnection;

use crate::domain::{Error, Organisation, OrganisationId};

pub(crate) async fn insert(
    conn: &mut PgConnection,
    organisation: &Organisation,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO organisations (id, name, created_at, version)
        VALUES ($1, $2, $3, $4)",
        organisation.id.0,
        organisation.name,
        organisation.created_at,
        organisation.version,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Those of `ids` that exist, in that order.
pub(crate) async fn list(
    conn: &mut PgConnection,
    ids: &[uuid::Uuid],
) -> Result<Vec<Organisation>, Error> {
    let organisations = sqlx::query_as!(
        Organisation,
        r#"SELECT id AS "id: OrganisationId", name, created_at, version
        FROM organisations
        WHERE id = ANY($1)
        ORDER BY array_position($1, id)"#,
        ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(organisations)
}

/// Makes changes of an organisation's members wait for each other: rules about who is left
/// (the last owner) hold only when nobody else is changing them.
pub(crate) async fn lock(conn: &mut PgConnection, id: OrganisationId) -> Result<(), Error> {
    sqlx::query!(
        "SELECT id
        FROM organisations
        WHERE id = $1
        FOR NO KEY UPDATE",
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}
