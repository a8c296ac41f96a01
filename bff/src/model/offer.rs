use std::sync::Arc;

use api::homeward::catalog::v1 as proto;
use api::homeward::r#type::v1 as types;
use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, SimpleObject};
use platform_graphql::{Currency, DateTime, Long};
use tonic::Status;

use super::{Organisation, Organisations, missing, time};
use crate::clients::Services;
use crate::ids::{self, Kind};

/// What a business offers to people who move.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Offer {
    pub(crate) id: ID,
    title: String,
    description: String,
    kind: OfferKind,
    /// A slug: `berlin-mitte`.
    area: String,
    price: Money,
    state: OfferState,
    created_at: DateTime,
    updated_at: DateTime,
    /// Null until the offer is published.
    published_at: Option<DateTime>,
    /// Raised by each change; pass it as `expectedVersion` to change only what you have seen.
    version: Long,
    votes: Votes,
    #[graphql(skip)]
    organisation_id: String,
    #[graphql(skip)]
    organisations: Arc<Organisations>,
}

#[ComplexObject]
impl Offer {
    /// Who offers it.
    async fn organisation(&self, ctx: &Context<'_>) -> Option<Result<Organisation, Status>> {
        self.organisations
            .get(Services::of(ctx), &self.organisation_id)
            .await
            .transpose()
    }
}

impl Offer {
    /// One offer.
    pub(crate) fn one(row: proto::Offer) -> Result<Offer, Status> {
        let organisations = Organisations::new([row.organisation_id.clone()]);
        Offer::new(row, Arc::new(organisations))
    }

    /// The offers of a page.
    pub(crate) fn page(rows: Vec<proto::Offer>) -> impl Iterator<Item = Result<Offer, Status>> {
        let organisations = Organisations::new(rows.iter().map(|row| row.organisation_id.clone()));
        let organisations = Arc::new(organisations);
        rows.into_iter()
            .map(move |row| Offer::new(row, organisations.clone()))
    }

    /// The offer as the caller may see it; `None` if there is none.
    pub(crate) async fn get(services: Services<'_>, id: String) -> Result<Option<Offer>, Status> {
        let request = proto::BatchGetOffersRequest { ids: vec![id] };
        let answer = services
            .catalog()
            .batch_get_offers(request)
            .await?
            .into_inner();
        answer.offers.into_iter().next().map(Offer::one).transpose()
    }

    fn new(row: proto::Offer, organisations: Arc<Organisations>) -> Result<Offer, Status> {
        Ok(Offer {
            id: ids::encode(Kind::Offer, &row.id)?,
            kind: OfferKind::of(row.kind())?,
            state: OfferState::of(row.state())?,
            title: row.title,
            description: row.description,
            area: row.area,
            price: Money::of(row.price)?,
            created_at: time(row.create_time)?,
            updated_at: time(row.update_time)?,
            published_at: row.publish_time.map(|at| time(Some(at))).transpose()?,
            version: Long(row.version),
            votes: Votes::of(row.votes)?,
            organisation_id: row.organisation_id,
            organisations,
        })
    }
}

/// The votes on an offer.
#[derive(SimpleObject)]
pub(crate) struct Votes {
    up: Long,
    down: Long,
    /// The vote of who asks; null without one.
    mine: Option<VoteValue>,
    /// Raised by each change.
    version: Long,
}

impl Votes {
    pub(crate) fn of(row: Option<proto::Votes>) -> Result<Votes, Status> {
        let row = row.ok_or_else(|| missing("tally"))?;
        Ok(Votes {
            up: Long(row.up),
            down: Long(row.down),
            mine: match row.mine() {
                proto::VoteValue::Unspecified => None,
                proto::VoteValue::Up => Some(VoteValue::Up),
                proto::VoteValue::Down => Some(VoteValue::Down),
            },
            version: Long(row.version),
        })
    }
}

/// An amount in one currency.
#[derive(SimpleObject)]
pub(crate) struct Money {
    /// In the currency's smallest unit: 12.34 EUR is 1234.
    amount_minor: Long,
    currency: Currency,
}

impl Money {
    fn of(row: Option<types::Money>) -> Result<Money, Status> {
        let row = row.ok_or_else(|| missing("price"))?;
        Ok(Money {
            amount_minor: Long(row.amount_minor),
            currency: Currency(row.currency_code),
        })
    }
}

/// An amount in one currency.
#[derive(InputObject)]
pub(crate) struct MoneyInput {
    /// In the currency's smallest unit: 12.34 EUR is 1234.
    amount_minor: Long,
    currency: Currency,
}

impl From<MoneyInput> for types::Money {
    fn from(input: MoneyInput) -> types::Money {
        types::Money {
            amount_minor: input.amount_minor.0,
            currency_code: input.currency.0,
        }
    }
}

/// What is offered.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum OfferKind {
    /// A crew with a van.
    Crew,
    /// Storage space.
    Storage,
    /// An internet connection.
    Broadband,
    /// Cleaning of the old or the new home.
    Cleaning,
}

impl OfferKind {
    fn of(row: proto::OfferKind) -> Result<OfferKind, Status> {
        match row {
            proto::OfferKind::Unspecified => Err(missing("kind")),
            proto::OfferKind::Crew => Ok(OfferKind::Crew),
            proto::OfferKind::Storage => Ok(OfferKind::Storage),
            proto::OfferKind::Broadband => Ok(OfferKind::Broadband),
            proto::OfferKind::Cleaning => Ok(OfferKind::Cleaning),
        }
    }

    pub(crate) fn row(self) -> i32 {
        let row = match self {
            OfferKind::Crew => proto::OfferKind::Crew,
            OfferKind::Storage => proto::OfferKind::Storage,
            OfferKind::Broadband => proto::OfferKind::Broadband,
            OfferKind::Cleaning => proto::OfferKind::Cleaning,
        };
        row.into()
    }
}

/// Where an offer stands; it only ever moves down this list.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum OfferState {
    /// Seen by members of its organisation only.
    Draft,
    /// Seen, found and voted on by everybody.
    Published,
    /// Seen by id, no longer found, no longer changed.
    Retired,
}

impl OfferState {
    fn of(row: proto::OfferState) -> Result<OfferState, Status> {
        match row {
            proto::OfferState::Unspecified => Err(missing("state")),
            proto::OfferState::Draft => Ok(OfferState::Draft),
            proto::OfferState::Published => Ok(OfferState::Published),
            proto::OfferState::Retired => Ok(OfferState::Retired),
        }
    }

    pub(crate) fn row(self) -> i32 {
        let row = match self {
            OfferState::Draft => proto::OfferState::Draft,
            OfferState::Published => proto::OfferState::Published,
            OfferState::Retired => proto::OfferState::Retired,
        };
        row.into()
    }
}

/// In what order offers are listed.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum OfferOrder {
    /// Newest first.
    Newest,
    /// Cheapest first.
    Price,
    /// Best of search first; refused without a search.
    Relevance,
}

impl OfferOrder {
    pub(crate) fn row(self) -> i32 {
        let row = match self {
            OfferOrder::Newest => proto::OfferOrder::Newest,
            OfferOrder::Price => proto::OfferOrder::Price,
            OfferOrder::Relevance => proto::OfferOrder::Relevance,
        };
        row.into()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum VoteValue {
    Up,
    Down,
}

impl VoteValue {
    pub(crate) fn row(self) -> i32 {
        let row = match self {
            VoteValue::Up => proto::VoteValue::Up,
            VoteValue::Down => proto::VoteValue::Down,
        };
        row.into()
    }
}
