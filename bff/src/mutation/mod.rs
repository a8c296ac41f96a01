//! What can be changed. Each mutation takes one `input` and answers a payload, in which
//! `userErrors` says what the person can put right.

mod account;
mod offer;
mod session;
mod vote;

use async_graphql::MergedObject;

#[derive(MergedObject, Default)]
pub(crate) struct Mutation(
    account::AccountMutation,
    session::SessionMutation,
    offer::OfferMutation,
    vote::VoteMutation,
);
