//! The read model. Versions decide: whoever writes, an event or a rebuild, never replaces what is
//! newer. What is of the same version is replaced, so that a rebuild puts right what is wrong.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{Offer, OfferId, Tally};

/// Says whether anything changed.
pub(crate) async fn put_offer(conn: &mut PgConnection, offer: &Offer) -> sqlx::Result<bool> {
    let put = sqlx::query!(
        "INSERT INTO offers (id, area, published, version)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE
        SET area = coalesce(excluded.area, offers.area),
            published = excluded.published,
            version = excluded.version
        WHERE offers.version <= excluded.version
            AND (offers.area, offers.published, offers.version)
                IS DISTINCT FROM (coalesce(excluded.area, offers.area), excluded.published, excluded.version)",
        offer.id.0,
        offer.area,
        offer.published,
        offer.version,
    )
    .execute(conn)
    .await?;
    Ok(put.rows_affected() > 0)
}

/// Says whether anything changed.
pub(crate) async fn put_tally(conn: &mut PgConnection, tally: &Tally) -> sqlx::Result<bool> {
    let put = sqlx::query!(
        "INSERT INTO tallies (offer_id, up, down, version)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (offer_id) DO UPDATE
        SET up = excluded.up, down = excluded.down, version = excluded.version
        WHERE tallies.version <= excluded.version
            AND (tallies.up, tallies.down, tallies.version)
                IS DISTINCT FROM (excluded.up, excluded.down, excluded.version)",
        tally.offer_id.0,
        tally.up,
        tally.down,
        tally.version,
    )
    .execute(conn)
    .await?;
    Ok(put.rows_affected() > 0)
}

/// At most `limit` published offers behind `after`, in the order of their ids.
pub(crate) async fn published(
    conn: &mut PgConnection,
    after: Option<OfferId>,
    limit: i64,
) -> sqlx::Result<Vec<OfferId>> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: OfferId"
        FROM offers
        WHERE published AND ($1::uuid IS NULL OR id > $1)
        ORDER BY id
        LIMIT $2"#,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Says that the model has been brought in line with what the owner lists.
pub(crate) async fn rebuilt(conn: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO rebuilds (finished_at) VALUES ($1) ON CONFLICT DO NOTHING",
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether that was ever done.
pub(crate) async fn is_built(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM rebuilds) AS "built!""#)
        .fetch_one(conn)
        .await
}
