//! What clients see, made from what services answer.

mod node;
mod offer;
mod organisation;
mod user;

pub(crate) use node::Node;
pub(crate) use offer::{MoneyInput, Offer, OfferKind, OfferOrder, OfferState, VoteValue, Votes};
pub(crate) use organisation::Organisation;
pub(crate) use user::{Session, SessionTokens, User, UserKind};

use platform_graphql::DateTime;
use prost_types::Timestamp;
use tonic::Status;

fn time(time: Option<Timestamp>) -> Result<DateTime, Status> {
    let time = time.and_then(|time| DateTime::from_parts(time.seconds, time.nanos));
    time.ok_or_else(|| missing("time"))
}

/// A service answered something that this schema has no place for.
fn missing(what: &str) -> Status {
    platform::error::internal(format!("a service answered no {what} that is known here"))
}
