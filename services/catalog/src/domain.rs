//! Offers and votes, and what may happen to them.

use chrono::{DateTime, Utc};
pub(crate) use platform::text::Money;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct OfferId(pub(crate) Uuid);

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct OrganisationId(pub(crate) Uuid);

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct UserId(pub(crate) Uuid);

/// An offer as one viewer sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    pub(crate) id: OfferId,
    pub(crate) organisation_id: OrganisationId,
    pub(crate) content: Content,
    pub(crate) state: State,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) published_at: Option<DateTime<Utc>>,
    pub(crate) version: i64,
    pub(crate) votes: Votes,
}

/// What its organisation writes about an offer; valid once made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) kind: Kind,
    pub(crate) area: String,
    pub(crate) price: Money,
}

/// New values of those parts of a content that change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) kind: Option<Kind>,
    pub(crate) area: Option<String>,
    pub(crate) price: Option<Money>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub(crate) enum Kind {
    #[default]
    Crew,
    Storage,
    Broadband,
    Cleaning,
}

/// Only ever moves down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub(crate) enum State {
    #[default]
    Draft,
    Published,
    Retired,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub(crate) enum Vote {
    #[default]
    Up,
    Down,
}

/// The tally of an offer, and the viewer's own vote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Votes {
    pub(crate) up: i64,
    pub(crate) down: i64,
    pub(crate) mine: Option<Vote>,
    pub(crate) version: i64,
}

/// Who looks: decides which drafts are seen and whose vote is `mine`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Viewer {
    pub(crate) user: Option<UserId>,
    pub(crate) organisation: Option<OrganisationId>,
}

/// What a list asks for; all parts that are set must hold.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// The offers of this organisation in any state, instead of the published ones of all.
    pub(crate) own: Option<OrganisationId>,
    pub(crate) organisation_id: Option<OrganisationId>,
    pub(crate) area: Option<String>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) states: Vec<State>,
    pub(crate) price_max: Option<Money>,
    pub(crate) search: Option<String>,
    pub(crate) order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Newest,
    Price,
    /// Only with a search.
    Relevance,
}

/// Where an offer stands in a list, one variant per order; travels in page tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Place {
    Newest(DateTime<Utc>, OfferId),
    Price(String, i64, OfferId),
    Relevance(i64, OfferId),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no such offer")]
    OfferNotFound,
    #[error("the offer is not published")]
    OfferNotPublished,
    #[error("the offer is retired")]
    OfferRetired,
    #[error("the offer is at version {0}")]
    VersionMismatch(i64),
    #[error("the caller acts for no organisation as its owner or manager")]
    OrganisationRequired,
    #[error(transparent)]
    Db(#[from] sqlx::Error),
}

impl Offer {
    pub(crate) fn draft(
        organisation_id: OrganisationId,
        content: Content,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id: OfferId(Uuid::now_v7()),
            organisation_id,
            content,
            state: State::Draft,
            created_at: now,
            updated_at: now,
            published_at: None,
            version: 0,
            votes: Votes::default(),
        }
    }

    pub(crate) fn expect_version(&self, expected: Option<i64>) -> Result<(), Error> {
        match expected {
            Some(expected) if expected != self.version => Err(Error::VersionMismatch(self.version)),
            _ => Ok(()),
        }
    }

    /// Says whether anything changed.
    pub(crate) fn change(&mut self, patch: Patch) -> Result<bool, Error> {
        if self.state == State::Retired {
            return Err(Error::OfferRetired);
        }
        let before = self.content.clone();
        let content = &mut self.content;
        content.title = patch.title.unwrap_or_else(|| before.title.clone());
        content.description = patch
            .description
            .unwrap_or_else(|| before.description.clone());
        content.kind = patch.kind.unwrap_or(before.kind);
        content.area = patch.area.unwrap_or_else(|| before.area.clone());
        content.price = patch.price.unwrap_or_else(|| before.price.clone());
        Ok(*content != before)
    }

    /// Says whether anything changed.
    pub(crate) fn publish(&mut self, now: DateTime<Utc>) -> Result<bool, Error> {
        match self.state {
            State::Draft => {
                self.state = State::Published;
                self.published_at = Some(now);
                Ok(true)
            }
            State::Published => Ok(false),
            State::Retired => Err(Error::OfferRetired),
        }
    }

    /// Says whether anything changed.
    pub(crate) fn retire(&mut self) -> bool {
        let changed = self.state != State::Retired;
        self.state = State::Retired;
        changed
    }
}
