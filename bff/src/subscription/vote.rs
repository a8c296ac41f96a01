use api::homeward::catalog::v1 as proto;
use async_graphql::{Context, ID, SimpleObject, Subscription};
use futures_util::{Stream, StreamExt};
use platform_events::broadcast::Received;
use platform_graphql::Turn;
use platform_graphql::feed::{Follow, Message};
use platform_graphql::hot::Hot;
use tonic::Status;
use uuid::Uuid;

use super::Feeds;
use crate::clients::Owned;
use crate::ids::{self, Kind};
use crate::model::Votes;

#[derive(Default)]
pub(crate) struct VoteSubscription;

#[Subscription]
impl VoteSubscription {
    /// The votes on an offer: as they are, then after each change, with no version left out.
    async fn offer_votes(
        &self,
        ctx: &Context<'_>,
        offer_id: ID,
        #[graphql(
            desc = "The last `cursor` received: what came since is sent, and nothing if nothing did."
        )]
        after: Option<String>,
    ) -> Result<impl Stream<Item = Option<Result<OfferVotes, Status>>> + use<>, Status> {
        let services = Owned::of(ctx);
        let offer = ids::argument("offerId", &offer_id, Kind::Offer)?;
        let user = services.caller()?.user().ok().map(|user| user.id);
        let votes = OneOffer {
            services,
            offer: offer.to_string(),
            user,
            mine: 0,
        };
        let feeds: &Feeds = ctx.data_unchecked();
        let messages = feeds.votes.follow(votes, after, Turn::of(ctx));
        Ok(messages.map(|message| Some(message.map(OfferVotes::from))))
    }
}

/// The votes on an offer at one moment.
#[derive(SimpleObject)]
struct OfferVotes {
    votes: Hot<Votes>,
    /// Pass it as `after` to go on from here, at any time and on any connection.
    cursor: String,
    /// What came since `after` is no longer known: these are the votes as they are now.
    reset: bool,
}

impl From<Message<proto::Votes>> for OfferVotes {
    fn from(message: Message<proto::Votes>) -> OfferVotes {
        OfferVotes {
            votes: Hot::of(&message.content),
            cursor: message.cursor,
            reset: message.reset,
        }
    }
}

/// One offer, as one user or nobody sees its votes.
struct OneOffer {
    services: Owned,
    offer: String,
    user: Option<Uuid>,
    /// The user's own vote.
    mine: i32,
}

impl Follow for OneOffer {
    type Item = proto::Votes;
    type State = i32;

    fn name(&self) -> String {
        format!("offerVotes {} {:?}", self.offer, self.user)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.offer)
    }

    async fn snapshot(&mut self) -> Result<(i64, proto::Votes), Status> {
        let request = proto::GetVotesRequest {
            offer_id: self.offer.clone(),
        };
        let mut catalog = self.services.services().catalog();
        let answer = catalog.get_votes(request).await?.into_inner();
        let votes = answer
            .votes
            .ok_or_else(|| platform::error::internal("catalog answered no votes"))?;
        self.mine = votes.mine;
        Ok((votes.version, votes))
    }

    fn change(&mut self, event: &Received) -> Result<Option<proto::Votes>, Status> {
        let (user, mine, up, down) = if let Some(cast) = read::<proto::VoteCast>(event)? {
            (cast.user_id, cast.value, cast.up, cast.down)
        } else if let Some(gone) = read::<proto::VoteRetracted>(event)? {
            (gone.user_id, 0, gone.up, gone.down)
        } else {
            return Ok(None);
        };
        if self.user.is_some_and(|own| own.to_string() == user) {
            self.mine = mine;
        }
        Ok(Some(proto::Votes {
            up,
            down,
            mine: self.mine,
            version: event.meta.version,
        }))
    }

    fn state(&self) -> i32 {
        self.mine
    }

    fn restore(&mut self, mine: i32) {
        self.mine = mine;
    }
}

/// The event, if it is an `E`.
pub(super) fn read<E: platform_contract::Event>(event: &Received) -> Result<Option<E>, Status> {
    event.event().map_err(platform::error::internal)
}
