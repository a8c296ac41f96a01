//! What is known of the votes on offers.

use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct OfferId(pub(crate) Uuid);

/// What was last heard of the votes on an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) offer_id: OfferId,
    pub(crate) up: i64,
    pub(crate) down: i64,
    pub(crate) version: i64,
}
