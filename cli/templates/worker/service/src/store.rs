//! All SQL of the service, as functions over a connection.

use sqlx::PgConnection;

use crate::domain::Tally;

/// Keeps the tally, unless a newer one is kept.
pub(crate) async fn put(conn: &mut PgConnection, tally: &Tally) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO tallies (offer_id, up, down, version)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (offer_id) DO UPDATE
        SET up = excluded.up, down = excluded.down, version = excluded.version
        WHERE tallies.version < excluded.version",
        tally.offer_id.0,
        tally.up,
        tally.down,
        tally.version,
    )
    .execute(conn)
    .await?;
    Ok(())
}
