//! What is heard of orders.

use std::sync::Arc;

use acme_api::acme::orders::v1::OrderPlaced;
use platform_events::{Consumer, Handle, Meta};
use sqlx::PgConnection;

use crate::store;

struct Items;

pub(crate) fn consumer() -> Consumer {
    Consumer::new("orders", acme_api::EVENTS).on::<OrderPlaced>(&Arc::new(Items))
}

impl Handle<OrderPlaced> for Items {
    async fn handle(
        &self,
        conn: &mut PgConnection,
        event: OrderPlaced,
        _: &Meta,
    ) -> anyhow::Result<()> {
        store::count(conn, &event.item).await?;
        Ok(())
    }
}
