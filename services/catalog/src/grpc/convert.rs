//! Between the messages of the contract and the types of the domain.

use api::homeward::catalog::v1 as proto;
use api::homeward::r#type::v1::Money as ProtoMoney;
use chrono::{DateTime, Utc};
use prost_types::Timestamp;

use crate::domain::{Kind, Money, Offer, State, Vote, Votes};

impl From<Offer> for proto::Offer {
    fn from(offer: Offer) -> Self {
        let content = offer.content;
        Self {
            id: offer.id.0.to_string(),
            organisation_id: offer.organisation_id.0.to_string(),
            title: content.title,
            description: content.description,
            kind: proto::OfferKind::from(content.kind).into(),
            area: content.area,
            price: Some(price(content.price)),
            state: proto::OfferState::from(offer.state).into(),
            create_time: Some(timestamp(offer.created_at)),
            update_time: Some(timestamp(offer.updated_at)),
            publish_time: offer.published_at.map(timestamp),
            version: offer.version,
            votes: Some(offer.votes.into()),
        }
    }
}

impl From<&Offer> for proto::OfferPublished {
    fn from(offer: &Offer) -> Self {
        Self {
            offer_id: offer.id.0.to_string(),
            version: offer.version,
            organisation_id: offer.organisation_id.0.to_string(),
            kind: proto::OfferKind::from(offer.content.kind).into(),
            area: offer.content.area.clone(),
            price: Some(price(offer.content.price.clone())),
        }
    }
}

impl From<&Offer> for proto::OfferUpdated {
    fn from(offer: &Offer) -> Self {
        Self {
            offer_id: offer.id.0.to_string(),
            version: offer.version,
            organisation_id: offer.organisation_id.0.to_string(),
            kind: proto::OfferKind::from(offer.content.kind).into(),
            area: offer.content.area.clone(),
            price: Some(price(offer.content.price.clone())),
            state: proto::OfferState::from(offer.state).into(),
        }
    }
}

impl From<&Offer> for proto::OfferRetired {
    fn from(offer: &Offer) -> Self {
        Self {
            offer_id: offer.id.0.to_string(),
            version: offer.version,
            organisation_id: offer.organisation_id.0.to_string(),
            kind: proto::OfferKind::from(offer.content.kind).into(),
            area: offer.content.area.clone(),
            price: Some(price(offer.content.price.clone())),
            was_published: offer.published_at.is_some(),
        }
    }
}

impl From<Votes> for proto::Votes {
    fn from(votes: Votes) -> Self {
        let mine = votes.mine.map(proto::VoteValue::from);
        Self {
            up: votes.up,
            down: votes.down,
            mine: mine.unwrap_or_default().into(),
            version: votes.version,
        }
    }
}

impl From<Vote> for proto::VoteValue {
    fn from(vote: Vote) -> Self {
        match vote {
            Vote::Up => Self::Up,
            Vote::Down => Self::Down,
        }
    }
}

impl From<Kind> for proto::OfferKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Crew => Self::Crew,
            Kind::Storage => Self::Storage,
            Kind::Broadband => Self::Broadband,
            Kind::Cleaning => Self::Cleaning,
        }
    }
}

impl From<State> for proto::OfferState {
    fn from(state: State) -> Self {
        match state {
            State::Draft => Self::Draft,
            State::Published => Self::Published,
            State::Retired => Self::Retired,
        }
    }
}

/// A number that stands for no value of the domain.
pub(crate) struct NoSuchValue;

impl TryFrom<i32> for Kind {
    type Error = NoSuchValue;

    fn try_from(value: i32) -> Result<Self, NoSuchValue> {
        match proto::OfferKind::try_from(value) {
            Ok(proto::OfferKind::Crew) => Ok(Self::Crew),
            Ok(proto::OfferKind::Storage) => Ok(Self::Storage),
            Ok(proto::OfferKind::Broadband) => Ok(Self::Broadband),
            Ok(proto::OfferKind::Cleaning) => Ok(Self::Cleaning),
            Ok(proto::OfferKind::Unspecified) | Err(_) => Err(NoSuchValue),
        }
    }
}

impl TryFrom<i32> for State {
    type Error = NoSuchValue;

    fn try_from(value: i32) -> Result<Self, NoSuchValue> {
        match proto::OfferState::try_from(value) {
            Ok(proto::OfferState::Draft) => Ok(Self::Draft),
            Ok(proto::OfferState::Published) => Ok(Self::Published),
            Ok(proto::OfferState::Retired) => Ok(Self::Retired),
            Ok(proto::OfferState::Unspecified) | Err(_) => Err(NoSuchValue),
        }
    }
}

impl TryFrom<i32> for Vote {
    type Error = NoSuchValue;

    fn try_from(value: i32) -> Result<Self, NoSuchValue> {
        match proto::VoteValue::try_from(value) {
            Ok(proto::VoteValue::Up) => Ok(Self::Up),
            Ok(proto::VoteValue::Down) => Ok(Self::Down),
            Ok(proto::VoteValue::Unspecified) | Err(_) => Err(NoSuchValue),
        }
    }
}

fn price(money: Money) -> ProtoMoney {
    ProtoMoney {
        amount_minor: money.amount_minor,
        currency_code: money.currency,
    }
}

fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().cast_signed(),
    }
}
