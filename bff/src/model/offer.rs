use api::homeward::catalog::v1 as proto;
use api::homeward::r#type::v1 as types;
use async_graphql::{Enum, InputObject, OutputType};
use platform_graphql::hot::{Field, Hot, Kind, Model, Null, Type, Words};
use platform_graphql::{Currency, Long};
use tonic::Status;

use super::organisation::ORGANISATIONS;
use crate::clients::Services;
use crate::ids;

/// What a business offers to people who move.
pub(crate) struct Offer;

impl Model for Offer {
    const TYPE: &'static Type = &OFFER;
}

impl Offer {
    /// The offer as the caller may see it; `None` if there is none.
    pub(crate) async fn get(
        services: Services<'_>,
        id: String,
    ) -> Result<Option<Hot<Offer>>, Status> {
        Ok(Offer::batch(services, vec![id]).await?.into_iter().next())
    }

    /// Those of the offers that the caller may see.
    pub(crate) async fn batch(
        services: Services<'_>,
        ids: Vec<String>,
    ) -> Result<Vec<Hot<Offer>>, Status> {
        let request = proto::BatchGetOffersRequest { ids };
        Hot::rows(&services.raw_catalog("BatchGetOffers", request).await?)
    }
}

static OFFER: Type = Type {
    name: "Offer",
    message: "homeward.catalog.v1.Offer",
    about: "What a business offers to people who move.",
    interfaces: &["Node"],
    fields: &[
        Field::new("id", 1, Kind::Id(ids::Kind::Offer as u8)),
        Field::new("title", 3, Kind::TEXT),
        Field::new("description", 4, Kind::TEXT),
        Field::new("kind", 5, Kind::Enum(&OFFER_KIND)),
        Field::new("area", 6, Kind::TEXT).about("A slug: `berlin-mitte`."),
        Field::new("price", 7, Kind::Object(&MONEY)),
        Field::new("state", 8, Kind::Enum(&OFFER_STATE)),
        Field::new("createdAt", 9, Kind::Time),
        Field::new("updatedAt", 10, Kind::Time),
        Field::new("publishedAt", 11, Kind::Time)
            .null(Null::Unset)
            .about("Null until the offer is published."),
        Field::new("version", 12, Kind::Long).about(
            "Raised by each change; pass it as `expectedVersion` to change only what you have seen.",
        ),
        Field::new("votes", 13, Kind::Object(&VOTES)),
        Field::new("organisation", 2, Kind::Join(&ORGANISATIONS)).about("Who offers it."),
    ],
};

/// The votes on an offer.
pub(crate) struct Votes;

impl Model for Votes {
    const TYPE: &'static Type = &VOTES;
}

static VOTES: Type = Type {
    name: "Votes",
    message: "homeward.catalog.v1.Votes",
    about: "The votes on an offer.",
    interfaces: &[],
    fields: &[
        Field::new("up", 1, Kind::Long),
        Field::new("down", 2, Kind::Long),
        Field::new("mine", 3, Kind::Enum(&VOTE_VALUE))
            .null(Null::Default)
            .about("The vote of who asks; null without one."),
        Field::new("version", 4, Kind::Long).about("Raised by each change."),
    ],
};

static MONEY: Type = Type {
    name: "Money",
    message: "homeward.type.v1.Money",
    about: "An amount in one currency.",
    interfaces: &[],
    fields: &[
        Field::new("amountMinor", 1, Kind::Long)
            .about("In the currency's smallest unit: 12.34 EUR is 1234."),
        Field::new("currency", 2, CURRENCY),
    ],
};

const CURRENCY: Kind = Kind::Text(<Currency as OutputType>::create_type_info);

static OFFER_KIND: Words = Words {
    register: <OfferKind as OutputType>::create_type_info,
    word: |number| {
        word(
            proto::OfferKind::try_from(number).ok()?.as_str_name(),
            "OFFER_KIND_",
        )
    },
};

static OFFER_STATE: Words = Words {
    register: <OfferState as OutputType>::create_type_info,
    word: |number| {
        word(
            proto::OfferState::try_from(number).ok()?.as_str_name(),
            "OFFER_STATE_",
        )
    },
};

static VOTE_VALUE: Words = Words {
    register: <VoteValue as OutputType>::create_type_info,
    word: |number| {
        word(
            proto::VoteValue::try_from(number).ok()?.as_str_name(),
            "VOTE_VALUE_",
        )
    },
};

fn word(name: &'static str, prefix: &str) -> Option<&'static str> {
    name.strip_prefix(prefix)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_say_what_the_contracts_say() {
        let offers = OFFER.mismatches(
            &[
                "homeward.catalog.v1.ListOffersResponse",
                "homeward.catalog.v1.BatchGetOffersResponse",
            ],
            api::DESCRIPTORS,
        );
        let organisations = ORGANISATIONS.to.mismatches(
            &["homeward.identity.v1.BatchGetOrganisationsResponse"],
            api::DESCRIPTORS,
        );
        assert_eq!([offers, organisations].concat(), [""; 0]);
    }
}
