//! The offer of the day: chosen once, whoever is first.

use chrono::{DateTime, NaiveDate, Utc};
use futures_util::TryStreamExt;
use sqlx::PgConnection;

use crate::domain::{Candidate, OfferId};

/// What was chosen, and whether it still stands.
pub(crate) struct Chosen {
    pub(crate) id: OfferId,
    pub(crate) published: bool,
}

pub(crate) async fn find(
    conn: &mut PgConnection,
    area: &str,
    day: NaiveDate,
) -> sqlx::Result<Option<Chosen>> {
    sqlx::query_as!(
        Chosen,
        r#"SELECT chosen.offer_id AS "id: OfferId",
            coalesce(offers.published, false) AS "published!"
        FROM offers_of_the_day chosen
        LEFT JOIN offers ON offers.id = chosen.offer_id
        WHERE chosen.area = $1 AND chosen.day = $2"#,
        area,
        day,
    )
    .fetch_optional(conn)
    .await
}

/// The best published offer of an area. Reads all of them, which is done once a day.
///
/// Nothing is the best of a model that was never built in full: the choice would stand for a day.
pub(crate) async fn best(conn: &mut PgConnection, area: &str) -> sqlx::Result<Option<OfferId>> {
    let candidates = sqlx::query_as!(
        Candidate,
        r#"SELECT offers.id AS "id: OfferId",
            coalesce(tallies.up, 0) AS "up!",
            coalesce(tallies.down, 0) AS "down!"
        FROM offers
        LEFT JOIN tallies ON tallies.offer_id = offers.id
        WHERE offers.area = $1 AND offers.published AND EXISTS (SELECT FROM rebuilds)"#,
        area,
    )
    .fetch(conn);
    let best = candidates
        .try_fold(None, async |best: Option<Candidate>, candidate| {
            Ok(Some(best.map_or(candidate, |best| best.or(candidate))))
        })
        .await?;
    Ok(best.map(|best| best.id))
}

/// Chooses an offer where there is no choice yet, or in the place of `retired`. False if another
/// choice was made meanwhile, which then stands.
pub(crate) async fn choose(
    conn: &mut PgConnection,
    area: &str,
    day: NaiveDate,
    best: OfferId,
    retired: Option<OfferId>,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let chosen = sqlx::query!(
        "INSERT INTO offers_of_the_day AS chosen (area, day, offer_id, chosen_at)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (area, day) DO UPDATE
        SET offer_id = excluded.offer_id, chosen_at = excluded.chosen_at
        WHERE chosen.offer_id = $5",
        area,
        day,
        best.0,
        now,
        retired.map(|id| id.0),
    )
    .execute(conn)
    .await?;
    Ok(chosen.rows_affected() > 0)
}
