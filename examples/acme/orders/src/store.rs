//! All SQL of the service, as functions over a connection.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) async fn insert(
    conn: &mut PgConnection,
    id: Uuid,
    customer_id: Uuid,
    item: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO orders (id, customer_id, item, placed_at)
        VALUES ($1, $2, $3, $4)",
        id,
        customer_id,
        item,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn count(conn: &mut PgConnection, item: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO items (item, orders)
        VALUES ($1, 1)
        ON CONFLICT (item) DO UPDATE
        SET orders = items.orders + 1",
        item,
    )
    .execute(conn)
    .await?;
    Ok(())
}
