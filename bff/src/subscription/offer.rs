use api::homeward::catalog::v1 as proto;
use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, SimpleObject, Subscription};
use futures_util::{Stream, StreamExt};
use platform_events::broadcast::Received;
use platform_graphql::Long;
use platform_graphql::Turn;
use platform_graphql::feed::{Follow, Message};
use platform_graphql::hot::Hot;
use tonic::Status;

use super::Feeds;
use super::vote::read;
use crate::clients::{Owned, Services};
use crate::ids::{self, Kind};
use crate::model::{Offer, OfferKind};

#[derive(Default)]
pub(crate) struct OfferSubscription;

#[Subscription]
impl OfferSubscription {
    /// What happens to offers from now on, as far as the caller may see them: drafts only of the
    /// organisation acted for. The first message has no change: it is where the feed begins, since
    /// how all offers are would be without bounds; read `offers` after it.
    async fn offer_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only these; compared with the offer as it is after the change.")]
        filter: Option<OfferEventFilter>,
        #[graphql(
            desc = "The last `cursor` received: what happened since is sent, and nothing if nothing did."
        )]
        after: Option<String>,
    ) -> Result<impl Stream<Item = Option<Result<OfferEvent, Status>>> + use<>, Status> {
        let services = Owned::of(ctx);
        let own = match services.caller()?.user() {
            Ok(user) => user.organisation.map(|(id, _)| id.to_string()),
            Err(_) => None,
        };
        let filter = filter.unwrap_or_default();
        let organisation = filter
            .organisation_id
            .map(|id| ids::argument("filter.organisationId", &id, Kind::Organisation));
        let offers = Offers {
            own,
            organisation: organisation.transpose()?.map(|id| id.to_string()),
            area: filter.area,
            kinds: filter
                .kinds
                .map(|kinds| kinds.into_iter().map(OfferKind::row).collect()),
        };
        let feeds: &Feeds = ctx.data_unchecked();
        let messages = feeds.offers.follow(offers, after, Turn::of(ctx));
        Ok(messages.map(|message| Some(message.map(OfferEvent::from))))
    }
}

/// All parts that are given must hold.
#[derive(Default, InputObject)]
struct OfferEventFilter {
    area: Option<String>,
    /// One of these; all without it.
    kinds: Option<Vec<OfferKind>>,
    organisation_id: Option<ID>,
}

/// Something that happened to an offer, or the place where the feed begins.
#[derive(SimpleObject)]
struct OfferEvent {
    /// Null in the first message, and after a reset.
    change: Option<OfferChange>,
    /// Pass it as `after` to go on from here, at any time and on any connection.
    cursor: String,
    /// What came since `after` is no longer known: read `offers` again.
    reset: bool,
}

impl From<Message<Option<OfferChange>>> for OfferEvent {
    fn from(message: Message<Option<OfferChange>>) -> OfferEvent {
        OfferEvent {
            change: message.content,
            cursor: message.cursor,
            reset: message.reset,
        }
    }
}

/// What happened to an offer.
#[derive(Debug, SimpleObject)]
#[graphql(complex)]
struct OfferChange {
    kind: OfferChangeKind,
    offer_id: ID,
    /// The offer's, after the change; what is not newer than what is known can be passed over.
    version: Long,
    #[graphql(skip)]
    id: String,
}

#[ComplexObject]
impl OfferChange {
    /// The offer as it is now, which may be newer; null if there is none that the caller may see.
    async fn offer(&self, ctx: &Context<'_>) -> Option<Result<Hot<Offer>, Status>> {
        let id = self.id.clone();
        Offer::get(Services::of(ctx), id).await.transpose()
    }
}

/// What can happen to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum OfferChangeKind {
    /// It can be found and voted on from now on.
    Published,
    /// It was changed, as a draft or in public.
    Updated,
    /// It was taken back for good.
    Retired,
}

/// The offers that a filter leaves, as one caller may see them.
struct Offers {
    /// What the caller acts for.
    own: Option<String>,
    organisation: Option<String>,
    area: Option<String>,
    kinds: Option<Vec<i32>>,
}

/// What all events of offers say.
struct Facts {
    kind: OfferChangeKind,
    organisation: String,
    area: String,
    offer_kind: i32,
    /// Everybody may know of the offer.
    public: bool,
}

impl Facts {
    fn of(event: &Received) -> Result<Option<Facts>, Status> {
        if let Some(event) = read::<proto::OfferPublished>(event)? {
            return Ok(Some(Facts {
                kind: OfferChangeKind::Published,
                organisation: event.organisation_id,
                area: event.area,
                offer_kind: event.kind,
                public: true,
            }));
        }
        if let Some(event) = read::<proto::OfferUpdated>(event)? {
            return Ok(Some(Facts {
                kind: OfferChangeKind::Updated,
                public: event.state() != proto::OfferState::Draft,
                organisation: event.organisation_id,
                area: event.area,
                offer_kind: event.kind,
            }));
        }
        Ok(read::<proto::OfferRetired>(event)?.map(|event| Facts {
            kind: OfferChangeKind::Retired,
            organisation: event.organisation_id,
            area: event.area,
            offer_kind: event.kind,
            public: event.was_published,
        }))
    }
}

impl Offers {
    fn holds(&self, facts: &Facts) -> bool {
        let own = self.own.as_ref() == Some(&facts.organisation);
        let organisation = self.organisation.as_ref();
        let area = self.area.as_ref();
        let kinds = self.kinds.as_ref();
        (facts.public || own)
            && organisation.is_none_or(|organisation| *organisation == facts.organisation)
            && area.is_none_or(|area| *area == facts.area)
            && kinds.is_none_or(|kinds| kinds.contains(&facts.offer_kind))
    }
}

impl Follow for Offers {
    type Item = Option<OfferChange>;
    type State = ();

    fn name(&self) -> String {
        // Rights are looked at with each event, so the cursor is good for anybody.
        let Offers {
            organisation,
            area,
            kinds,
            ..
        } = self;
        format!("offerEvents {organisation:?} {area:?} {kinds:?}")
    }

    fn key(&self) -> Option<&str> {
        None
    }

    async fn snapshot(&mut self) -> Result<(i64, Option<OfferChange>), Status> {
        Ok((0, None))
    }

    fn change(&mut self, event: &Received) -> Result<Option<Option<OfferChange>>, Status> {
        let Some(facts) = Facts::of(event)?.filter(|facts| self.holds(facts)) else {
            return Ok(None);
        };
        let id = event.meta.key.clone();
        Ok(Some(Some(OfferChange {
            kind: facts.kind,
            offer_id: ids::encode(Kind::Offer, &id)?,
            version: Long(event.meta.version),
            id,
        })))
    }

    fn state(&self) {}

    fn restore(&mut self, (): ()) {}
}
