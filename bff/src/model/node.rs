use async_graphql::{ID, Interface};

use super::{Offer, Organisation, User};

/// Anything with a global id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "&ID", desc = "Names the object among all types."))]
pub(crate) enum Node {
    User(User),
    Organisation(Organisation),
    Offer(Offer),
}
