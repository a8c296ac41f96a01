use std::collections::BTreeSet;
use std::sync::Arc;

use api::homeward::catalog::v1::{
    CastVoteRequest, GetOfferRequest, GetVotesRequest, RetractVoteRequest, VoteValue, Votes,
};
use platform_contract::PlatformReason;
use platform_testkit::until;
use tokio::task::JoinSet;
use tonic::Code;

use super::*;

impl World {
    pub(super) async fn cast(
        &self,
        voter: &Person,
        offer: &Offer,
        value: VoteValue,
    ) -> Result<Votes, Status> {
        let request = CastVoteRequest {
            request_id: id(),
            offer_id: offer.id.clone(),
            value: value.into(),
        };
        Ok(self
            .client()
            .cast_vote(voter.ask(request))
            .await?
            .into_inner()
            .votes
            .unwrap())
    }

    pub(super) async fn retract(&self, voter: &Person, offer: &Offer) -> Result<Votes, Status> {
        let request = RetractVoteRequest {
            request_id: id(),
            offer_id: offer.id.clone(),
        };
        Ok(self
            .client()
            .retract_vote(voter.ask(request))
            .await?
            .into_inner()
            .votes
            .unwrap())
    }

    /// The tally as this person sees it, or anybody.
    async fn votes(&self, viewer: Option<&Person>, offer: &Offer) -> Result<Votes, Status> {
        let request = GetVotesRequest {
            offer_id: offer.id.clone(),
        };
        let request = match viewer {
            Some(viewer) => viewer.ask(request),
            None => Request::new(request),
        };
        let response = self.client().get_votes(request).await?;
        Ok(response.into_inner().votes.unwrap())
    }

    /// Votes, or takes the vote back, and repeats what was shed as a good client does.
    pub(super) async fn insist(
        &self,
        voter: &Person,
        offer: &Offer,
        value: Option<VoteValue>,
    ) -> Votes {
        loop {
            let answer = match value {
                Some(value) => self.cast(voter, offer, value).await,
                None => self.retract(voter, offer).await,
            };
            match answer {
                Ok(votes) => return votes,
                Err(status) if Details::of(&status).retryable == Some(true) => {}
                Err(status) => panic!("{status:?}"),
            }
        }
    }

    /// The tally, and the count of the vote rows that it stands for.
    pub(super) async fn tally(&self, offer: &Offer) -> ((i64, i64, i64), (i64, i64)) {
        let mut conn = self.db.connect().await;
        let offer_id: Uuid = offer.id.parse().unwrap();
        let tally = sqlx::query_as("SELECT up, down, version FROM tallies WHERE offer_id = $1")
            .bind(offer_id)
            .fetch_one(&mut conn)
            .await
            .unwrap();
        let counted = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE value = 'up'), count(*) FILTER (WHERE value = 'down')
            FROM votes
            WHERE offer_id = $1",
        )
        .bind(offer_id)
        .fetch_one(&mut conn)
        .await
        .unwrap();
        (tally, counted)
    }
}

fn votes(up: i64, down: i64, mine: VoteValue, version: i64) -> Votes {
    Votes {
        up,
        down,
        mine: mine.into(),
        version,
    }
}

#[tokio::test]
async fn voting_twice_counts_once() {
    let world = World::start().await;
    let offer = world.published(&world.seller()).await;
    let voter = world.voter();
    let once = world.cast(&voter, &offer, VoteValue::Up).await.unwrap();
    assert_eq!(once, votes(1, 0, VoteValue::Up, 1));
    assert_eq!(
        world.cast(&voter, &offer, VoteValue::Up).await.unwrap(),
        once
    );
    assert_eq!(world.tally(&offer).await, ((1, 0, 1), (1, 0)));
}

#[tokio::test]
async fn a_vote_can_be_changed_and_taken_back_and_cast_again() {
    let world = World::start().await;
    let offer = world.published(&world.seller()).await;
    let (voter, other) = (world.voter(), world.voter());
    world.cast(&other, &offer, VoteValue::Up).await.unwrap();
    assert_eq!(
        world.cast(&voter, &offer, VoteValue::Up).await.unwrap(),
        votes(2, 0, VoteValue::Up, 2)
    );
    assert_eq!(
        world.cast(&voter, &offer, VoteValue::Down).await.unwrap(),
        votes(1, 1, VoteValue::Down, 3)
    );
    let without = votes(1, 0, VoteValue::Unspecified, 4);
    assert_eq!(world.retract(&voter, &offer).await.unwrap(), without);
    assert_eq!(world.retract(&voter, &offer).await.unwrap(), without);
    assert_eq!(
        world.cast(&voter, &offer, VoteValue::Down).await.unwrap(),
        votes(1, 1, VoteValue::Down, 5)
    );
    assert_eq!(world.tally(&offer).await, ((1, 1, 5), (1, 1)));
}

#[tokio::test]
async fn everybody_sees_the_tally_and_their_own_vote() {
    let world = World::start().await;
    let offer = world.published(&world.seller()).await;
    let (up, down, nobody) = (world.voter(), world.voter(), world.voter());
    world.cast(&up, &offer, VoteValue::Up).await.unwrap();
    world.cast(&down, &offer, VoteValue::Down).await.unwrap();

    let request = || GetOfferRequest {
        offer_id: offer.id.clone(),
    };
    for (request, mine) in [
        (up.ask(request()), VoteValue::Up),
        (down.ask(request()), VoteValue::Down),
        (nobody.ask(request()), VoteValue::Unspecified),
        (Request::new(request()), VoteValue::Unspecified),
    ] {
        let seen = world
            .client()
            .get_offer(request)
            .await
            .unwrap()
            .into_inner()
            .offer
            .unwrap();
        assert_eq!(seen.votes.unwrap(), votes(1, 1, mine, 2));
    }
}

#[tokio::test]
async fn the_tally_alone_is_what_it_is_now_and_never_from_the_cache() {
    let world = World::start().await;
    let offer = world.published(&world.seller()).await;
    let (voter, other) = (world.voter(), world.voter());
    world.cast(&voter, &offer, VoteValue::Up).await.unwrap();
    let read = async || {
        let request = GetOfferRequest {
            offer_id: offer.id.clone(),
        };
        let response = world.clients[0].clone().get_offer(request).await.unwrap();
        response.into_inner().offer.unwrap().votes.unwrap()
    };
    // Behind the back of the cache, which may still hear of the vote and forget the offer.
    let mut version = 1;
    let mut conn = world.db.connect().await;
    let version = until("the offer to be cached", async || {
        read().await;
        version += 1;
        let changed = "UPDATE tallies SET down = 5, version = $2 WHERE offer_id = $1::uuid";
        let changed = sqlx::query(changed).bind(&offer.id).bind(version);
        changed.execute(&mut conn).await.unwrap();
        (read().await.version < version).then_some(version)
    })
    .await;
    for (viewer, mine) in [
        (Some(&voter), VoteValue::Up),
        (Some(&other), VoteValue::Unspecified),
        (None, VoteValue::Unspecified),
    ] {
        let seen = world.votes(viewer, &offer).await.unwrap();
        assert_eq!(seen, votes(1, 5, mine, version));
    }
}

#[tokio::test]
async fn the_tally_alone_is_not_asked_of_a_read_replica() {
    let nowhere = Vars::from([(
        "DATABASE_READER_URL".to_owned(),
        "postgres://nobody@127.0.0.1:1/nowhere".to_owned(),
    )]);
    let world = World::start_with(nowhere).await;
    let offer = world.published(&world.seller()).await;
    let seen = world.votes(None, &offer).await.unwrap();
    assert_eq!(seen, votes(0, 0, VoteValue::Unspecified, 0));
}

#[tokio::test]
async fn the_tally_alone_is_seen_by_whoever_sees_the_offer() {
    let world = World::start().await;
    let seller = world.seller();
    let offer = world.draft(&seller).await;
    let (rival, voter) = (world.seller(), world.voter());
    let unseen = [Some(&rival), Some(&voter), None];
    assert!(world.votes(Some(&seller), &offer).await.is_ok());
    for viewer in unseen {
        assert_eq!(
            refused(world.votes(viewer, &offer).await),
            "OFFER_NOT_FOUND"
        );
    }
    world.publish(&seller, &offer).await;
    world.cast(&voter, &offer, VoteValue::Up).await.unwrap();
    world.retire(&seller, &offer).await;
    for viewer in unseen {
        assert_eq!(world.votes(viewer, &offer).await.unwrap().up, 1);
    }
}

#[tokio::test]
async fn only_published_offers_are_voted_on() {
    let world = World::start().await;
    let seller = world.seller();
    let voter = world.voter();
    let draft = world.draft(&seller).await;
    assert_eq!(
        refused(world.cast(&voter, &draft, VoteValue::Up).await),
        "OFFER_NOT_FOUND"
    );
    assert_eq!(
        refused(world.cast(&seller, &draft, VoteValue::Up).await),
        "OFFER_NOT_PUBLISHED"
    );
    assert_eq!(
        refused(world.retract(&voter, &draft).await),
        "OFFER_NOT_FOUND"
    );

    let offer = world.publish(&seller, &draft).await;
    world.cast(&voter, &offer, VoteValue::Up).await.unwrap();
    world.retire(&seller, &offer).await;
    assert_eq!(
        refused(world.cast(&voter, &offer, VoteValue::Down).await),
        "OFFER_NOT_PUBLISHED"
    );
    assert_eq!(
        refused(world.retract(&voter, &offer).await),
        "OFFER_NOT_PUBLISHED"
    );
    assert_eq!(world.tally(&offer).await, ((1, 0, 1), (1, 0)));

    let nowhere = Offer { id: id(), ..offer };
    assert_eq!(
        refused(world.cast(&voter, &nowhere, VoteValue::Up).await),
        "OFFER_NOT_FOUND"
    );
    assert_eq!(
        refused(world.cast(&voter, &nowhere, VoteValue::Unspecified).await),
        "FIELD_INVALID"
    );
}

#[tokio::test]
async fn two_hundred_voters_at_once_leave_an_exact_tally_and_versions_without_hole_or_repeat() {
    let world = Arc::new(World::start().await);
    let offer = world.published(&world.seller()).await;

    let mut voters = JoinSet::new();
    for number in 0..200 {
        let (world, offer, voter) = (world.clone(), offer.clone(), world.voter());
        voters.spawn(async move {
            // One third votes up and changes, one third takes it back, one third leaves it.
            let steps: &[_] = match number % 3 {
                0 => &[Some(VoteValue::Up), Some(VoteValue::Down)],
                1 => &[Some(VoteValue::Down), None],
                _ => &[Some(VoteValue::Up)],
            };
            let mut versions = Vec::new();
            for step in steps {
                versions.push(world.insist(&voter, &offer, *step).await.version);
            }
            versions
        });
    }
    let mut versions = voters.join_all().await.concat();
    versions.sort_unstable();
    // 67 voters with two steps, 67 with two, 66 with one.
    assert_eq!(versions, Vec::from_iter(1..=334));
    assert_eq!(world.tally(&offer).await, ((66, 67, 334), (66, 67)));
}

#[tokio::test]
async fn votes_of_the_same_user_may_race() {
    let world = Arc::new(World::start().await);
    let offer = world.published(&world.seller()).await;
    let voters: Vec<_> = (0..4).map(|_| Arc::new(world.voter())).collect();

    let mut calls = JoinSet::new();
    for number in 0..240 {
        let (world, offer, voter) = (world.clone(), offer.clone(), voters[number % 4].clone());
        let step = [Some(VoteValue::Up), Some(VoteValue::Down), None][number / 4 % 3];
        calls.spawn(async move { world.insist(&voter, &offer, step).await.version });
    }
    let answered = BTreeSet::from_iter(calls.join_all().await);
    let ((up, down, version), counted) = world.tally(&offer).await;
    assert_eq!((up, down), counted);
    let changes = BTreeSet::from_iter(1..=version);
    assert!(
        changes.is_subset(&answered),
        "every version of the tally was somebody's answer"
    );
    assert_eq!(answered.last(), changes.last());
}

#[tokio::test]
async fn the_same_request_at_once_on_two_replicas_has_one_effect_and_one_answer() {
    let world = World::start().await;
    let offer = world.published(&world.seller()).await;
    for round in 1..=20 {
        let voter = world.voter();
        let request = CastVoteRequest {
            request_id: id(),
            offer_id: offer.id.clone(),
            value: VoteValue::Up.into(),
        };
        let [mut one, mut two] = world.clients.clone();
        let (one, two) = tokio::join!(
            one.cast_vote(voter.ask(request.clone())),
            two.cast_vote(voter.ask(request))
        );
        let answer = one.unwrap().into_inner();
        assert_eq!(answer, two.unwrap().into_inner());
        assert_eq!(answer.votes.unwrap(), votes(round, 0, VoteValue::Up, round));
    }
    assert_eq!(world.tally(&offer).await, ((20, 0, 20), (20, 0)));

    let seller = world.seller();
    let request = new_offer();
    let [mut one, mut two] = world.clients.clone();
    let (one, two) = tokio::join!(
        one.create_offer(seller.ask(request.clone())),
        two.create_offer(seller.ask(request))
    );
    assert_eq!(one.unwrap().into_inner(), two.unwrap().into_inner());
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_another_body_is_a_conflict() {
    let world = World::start().await;
    let offer = world.published(&world.seller()).await;
    let (voter, other) = (world.voter(), world.voter());
    let request = CastVoteRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        value: VoteValue::Up.into(),
    };
    let first = world
        .client()
        .cast_vote(voter.ask(request.clone()))
        .await
        .unwrap()
        .into_inner();
    world.cast(&voter, &offer, VoteValue::Down).await.unwrap();

    let again = world
        .client()
        .cast_vote(voter.ask(request.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, first);
    let another = CastVoteRequest {
        value: VoteValue::Down.into(),
        ..request.clone()
    };
    let status = world
        .client()
        .cast_vote(voter.ask(another))
        .await
        .unwrap_err();
    assert!(Details::is(&status, PlatformReason::RequestIdReused));
    assert_eq!(status.code(), Code::FailedPrecondition);
    // The id is the caller's own: somebody else's request with it is another request.
    world.client().cast_vote(other.ask(request)).await.unwrap();
    assert_eq!(world.tally(&offer).await, ((1, 1, 3), (1, 1)));
}
