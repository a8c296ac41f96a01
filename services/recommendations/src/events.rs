//! What is heard of offers and votes.

use std::sync::Arc;

use anyhow::Context;
use api::homeward::catalog::v1::{
    OfferPublished, OfferRetired, OfferState, OfferUpdated, VoteCast, VoteRetracted,
};
use platform_db::Db;
use platform_events::{Consumer, Handle, Kafka, Meta};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::domain::{Offer, OfferId, Tally};
use crate::rebuild::{self, Catalog};
use crate::store::model;

/// Names the consumer's group and its rows in the inbox; never changes.
pub(crate) const CONSUMER: &str = "recommendations";

struct Model;

/// Not [`Consumer::complete`]: the owner lists no drafts, so that a rebuild does not know how many
/// events they have had. Nothing rests on it, because each event has all that we keep of its key.
pub(crate) fn consumer() -> Consumer {
    let model = Arc::new(Model);
    Consumer::new(CONSUMER, api::EVENTS)
        .on::<OfferPublished>(&model)
        .on::<OfferUpdated>(&model)
        .on::<OfferRetired>(&model)
        .on::<VoteCast>(&model)
        .on::<VoteRetracted>(&model)
}

/// Hears events until `stop`, once the model was built from what the owner lists.
pub(crate) async fn consume(
    db: Db,
    kafka: Kafka,
    catalog: Catalog,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        () = rebuild::until_built(&db, &kafka, &catalog) => {}
        () = stop.cancelled() => return Ok(()),
    }
    consumer().run(db, kafka, stop).await
}

impl Handle<OfferPublished> for Model {
    async fn handle(
        &self,
        conn: &mut PgConnection,
        event: OfferPublished,
        _: &Meta,
    ) -> anyhow::Result<()> {
        let offer = Offer {
            id: offer_id(&event.offer_id)?,
            area: Some(event.area),
            published: true,
            version: event.version,
        };
        model::put_offer(conn, &offer).await?;
        Ok(())
    }
}

impl Handle<OfferUpdated> for Model {
    async fn handle(
        &self,
        conn: &mut PgConnection,
        event: OfferUpdated,
        _: &Meta,
    ) -> anyhow::Result<()> {
        let offer = Offer {
            id: offer_id(&event.offer_id)?,
            published: event.state() == OfferState::Published,
            area: Some(event.area),
            version: event.version,
        };
        model::put_offer(conn, &offer).await?;
        Ok(())
    }
}

impl Handle<OfferRetired> for Model {
    async fn handle(
        &self,
        conn: &mut PgConnection,
        event: OfferRetired,
        _: &Meta,
    ) -> anyhow::Result<()> {
        // Also if nothing was heard of it before: a rebuild that read an older list must find it.
        let offer = Offer {
            id: offer_id(&event.offer_id)?,
            area: None,
            published: false,
            version: event.version,
        };
        model::put_offer(conn, &offer).await?;
        Ok(())
    }
}

impl Handle<VoteCast> for Model {
    async fn handle(
        &self,
        conn: &mut PgConnection,
        event: VoteCast,
        _: &Meta,
    ) -> anyhow::Result<()> {
        let tally = Tally {
            offer_id: offer_id(&event.offer_id)?,
            up: event.up,
            down: event.down,
            version: event.version,
        };
        model::put_tally(conn, &tally).await?;
        Ok(())
    }
}

impl Handle<VoteRetracted> for Model {
    async fn handle(
        &self,
        conn: &mut PgConnection,
        event: VoteRetracted,
        _: &Meta,
    ) -> anyhow::Result<()> {
        let tally = Tally {
            offer_id: offer_id(&event.offer_id)?,
            up: event.up,
            down: event.down,
            version: event.version,
        };
        model::put_tally(conn, &tally).await?;
        Ok(())
    }
}

pub(crate) fn offer_id(id: &str) -> anyhow::Result<OfferId> {
    let id = id.parse().with_context(|| format!("{id:?} is no id"))?;
    Ok(OfferId(id))
}
