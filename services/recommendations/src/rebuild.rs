//! Brings the read model in line with what the owner of the offers lists, while events come in and
//! questions are answered.
//!
//! Versions decide between the list and the events, so that neither waits for the other. Several
//! rebuilds at once do no harm. What the owner changes after it was listed comes as an event.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context;
use api::homeward::catalog::v1::catalog_service_client::CatalogServiceClient;
use api::homeward::catalog::v1::{
    self as proto, BatchGetOffersRequest, ListOffersRequest, OfferOrder, OfferPublished,
    OfferState, VoteCast,
};
use platform::client::Channel;
use platform::time::now;
use platform_contract::Event;
use platform_db::Db;
use platform_events::broadcast::Positions;
use platform_events::{Kafka, inbox};
use sqlx::{Connection, PgConnection};
use tracing::{info, warn};

use crate::domain::{Offer, OfferId, Tally};
use crate::events::{CONSUMER, consumer, offer_id};
use crate::store::model;

/// The most that `catalog` answers at once.
const PAGE_SIZE: i32 = 100;
/// How far a list may be behind the log: it may come from a read replica.
const LIST_DELAY_MAX: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) type Catalog = CatalogServiceClient<Channel>;

/// What a rebuild has come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Offers that the owner has told of.
    pub(crate) read: u64,
    /// Those among them that were otherwise here.
    pub(crate) changed: u64,
}

/// Builds the model if that was never done; tries for as long as it takes.
pub(crate) async fn until_built(db: &Db, kafka: &Kafka, catalog: &Catalog) {
    let mut pause = PAUSE_MIN;
    while let Err(error) = build(db, kafka, catalog).await {
        warn!("the read model is not built yet, the next try is in {pause:?}: {error:#}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn build(db: &Db, kafka: &Kafka, catalog: &Catalog) -> anyhow::Result<()> {
    let mut conn = db.pool().acquire().await?;
    if !model::is_built(&mut conn).await? {
        rebuild(&mut conn, kafka, catalog).await?;
    }
    Ok(())
}

/// Rebuilds the model from the owner's list. The log goes on from where it was before that.
pub(crate) async fn rebuild(
    conn: &mut PgConnection,
    kafka: &Kafka,
    catalog: &Catalog,
) -> anyhow::Result<Report> {
    let mut catalog = catalog.clone();
    let begin = consumer().positions(kafka, now() - LIST_DELAY_MAX).await?;
    let mut report = Report::default();
    let mut listed = HashSet::new();

    // In an order in which no offer ever moves.
    let mut request = ListOffersRequest {
        page_size: PAGE_SIZE,
        order: OfferOrder::Newest.into(),
        ..Default::default()
    };
    loop {
        let page = catalog.list_offers(request.clone()).await;
        let page = page.context("cannot list the offers")?.into_inner();
        for offer in page.offers {
            listed.insert(offer_id(&offer.id)?);
            report.take(conn, offer).await?;
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }

    // What is published here and not listed there was retired without our hearing of it.
    let mut after = None;
    loop {
        let here = model::published(conn, after, PAGE_SIZE.into()).await?;
        after = here.last().copied();
        if after.is_none() {
            break;
        }
        let ids: Vec<String> = here
            .iter()
            .filter(|id| !listed.contains(*id))
            .map(|id| id.0.to_string())
            .collect();
        if ids.is_empty() {
            continue;
        }
        let found = catalog
            .batch_get_offers(BatchGetOffersRequest { ids })
            .await;
        for offer in found.context("cannot look offers up")?.into_inner().offers {
            report.take(conn, offer).await?;
        }
    }

    consumer().begin_at(kafka, begin).await?;
    model::rebuilt(conn, now()).await?;
    info!(
        "rebuilt the read model: {} offers read, {} of them were otherwise here",
        report.read, report.changed
    );
    Ok(report)
}

/// Waits until the replicas that run have handled all events up to the end of the log as it is
/// now; says whether they have within `limit`.
pub(crate) async fn follow_log(kafka: &Kafka, limit: Duration) -> anyhow::Result<bool> {
    let ends = consumer().ends(kafka).await?;
    let past = tokio::time::timeout(limit, until_past(kafka, &ends)).await;
    Ok(past.is_ok())
}

async fn until_past(kafka: &Kafka, ends: &Positions) {
    // A broker that does not answer now may do so the next time.
    while !matches!(consumer().is_past(kafka, ends).await, Ok(true)) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Report {
    async fn take(&mut self, conn: &mut PgConnection, offer: proto::Offer) -> anyhow::Result<()> {
        self.read += 1;
        self.changed += u64::from(take(conn, offer).await?);
        Ok(())
    }
}

/// Puts an offer and its tally where the events of their topics would have brought them.
///
/// In a transaction each, so that none waits for the inbox row of one key while it has that of
/// another: a consumer's batch has many, in any order.
async fn take(conn: &mut PgConnection, offer: proto::Offer) -> anyhow::Result<bool> {
    let id = offer_id(&offer.id)?;
    let votes = offer.votes.context("an offer was listed without votes")?;

    let mut tx = conn.begin().await?;
    raise::<OfferPublished>(&mut tx, id, offer.version).await?;
    let published = offer.state() == OfferState::Published;
    let offer = Offer {
        id,
        area: Some(offer.area),
        published,
        version: offer.version,
    };
    let offer_changed = model::put_offer(&mut tx, &offer).await?;
    tx.commit().await?;

    let mut tx = conn.begin().await?;
    raise::<VoteCast>(&mut tx, id, votes.version).await?;
    let tally = Tally {
        offer_id: id,
        up: votes.up,
        down: votes.down,
        version: votes.version,
    };
    let tally_changed = model::put_tally(&mut tx, &tally).await?;
    tx.commit().await?;
    Ok(offer_changed || tally_changed)
}

/// Takes all events of the topic of `E` up to this version for heard. The inbox row stays locked,
/// so that whoever handles one of them waits.
async fn raise<E: Event>(conn: &mut PgConnection, id: OfferId, version: i64) -> sqlx::Result<()> {
    let key = id.0.to_string();
    // Whether we are farther is for the model's own versions to say.
    inbox::raise(conn, CONSUMER, E::TOPIC, &key, version).await?;
    Ok(())
}
