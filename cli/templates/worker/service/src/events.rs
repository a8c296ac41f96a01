//! What is heard of votes.

use std::sync::Arc;

use anyhow::Context;
use api::homeward::catalog::v1::{VoteCast, VoteRetracted};
use platform_events::{Consumer, Handle, Meta};
use sqlx::PgConnection;

use crate::domain::{OfferId, Tally};
use crate::store;

struct Votes;

/// It begins where the log does, and is not `complete`: what has left the log by then is unknown,
/// until the next vote on the same offer, which carries the whole tally.
pub(crate) fn consumer() -> Consumer {
    let votes = Arc::new(Votes);
    // The name is that of the group and of the rows in the inbox; it never changes.
    Consumer::new(crate::NAME, api::EVENTS)
        .on::<VoteCast>(&votes)
        .on::<VoteRetracted>(&votes)
}

impl Handle<VoteCast> for Votes {
    async fn handle(&self, conn: &mut PgConnection, event: VoteCast, _: &Meta) -> anyhow::Result<()> {
        let tally = Tally {
            offer_id: offer_id(&event.offer_id)?,
            up: event.up,
            down: event.down,
            version: event.version,
        };
        store::put(conn, &tally).await?;
        Ok(())
    }
}

impl Handle<VoteRetracted> for Votes {
    async fn handle(&self, conn: &mut PgConnection, event: VoteRetracted, _: &Meta) -> anyhow::Result<()> {
        let tally = Tally {
            offer_id: offer_id(&event.offer_id)?,
            up: event.up,
            down: event.down,
            version: event.version,
        };
        store::put(conn, &tally).await?;
        Ok(())
    }
}

fn offer_id(id: &str) -> anyhow::Result<OfferId> {
    let id = id.parse().with_context(|| format!("{id:?} is no id"))?;
    Ok(OfferId(id))
}
