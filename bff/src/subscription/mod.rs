//! What clients watch.

mod offer;
mod session;
mod vote;

use std::sync::Arc;

use api::homeward::catalog::v1::{OfferPublished, VoteCast};
use api::homeward::identity::v1::UserAuthed;
use async_graphql::MergedSubscription;
use platform::auth::Verifier;
use platform::sealed::Sealer;
use platform_contract::Event;
use platform_events::broadcast::Window;
use platform_events::{Broadcast, REVOCATIONS_AGE, revoking};
use platform_graphql::feed::Topic;

#[derive(MergedSubscription, Default)]
pub(crate) struct Subscription(
    vote::VoteSubscription,
    offer::OfferSubscription,
    session::SessionSubscription,
);

/// What this replica hears, one reader for each topic.
pub(crate) struct Readers {
    users: Broadcast,
    offers: Broadcast,
    votes: Broadcast,
}

impl Readers {
    /// Nothing is read yet. The verifier learns from the events of users which tokens are void.
    pub(crate) fn new(window: Window, verifier: Arc<Verifier>) -> Readers {
        let reader = |topic, window| Broadcast::new(api::EVENTS, &[topic], window);
        let users = Window {
            age: window.age.max(REVOCATIONS_AGE),
            ..window
        };
        Readers {
            users: reader(UserAuthed::TOPIC, users).each(revoking(verifier)),
            offers: reader(OfferPublished::TOPIC, window),
            votes: reader(VoteCast::TOPIC, window),
        }
    }

    /// For the schema.
    pub(crate) fn feeds(&self, sealer: &Sealer) -> Feeds {
        Feeds {
            users: self.users.clone(),
            offers: Topic::new(self.offers.clone(), sealer.clone()),
            votes: Topic::new(self.votes.clone(), sealer.clone()),
        }
    }

    /// To be run, under these names.
    pub(crate) fn tasks(self) -> [(&'static str, Broadcast); 3] {
        [
            ("user-reader", self.users),
            ("offer-reader", self.offers),
            ("vote-reader", self.votes),
        ]
    }
}

/// What subscriptions follow.
#[derive(Clone)]
pub(crate) struct Feeds {
    users: Broadcast,
    offers: Topic,
    votes: Topic,
}
