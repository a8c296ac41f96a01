//! What is said of offers and votes, and what is not.

use std::collections::HashMap;
use std::sync::Arc;

use api::homeward::catalog::v1::{
    OfferKind, OfferPatch, OfferPublished, OfferRetired, OfferState, OfferUpdated,
    UpdateOfferRequest, UpdateOfferResponse, VoteCast, VoteRetracted, VoteValue,
};
use platform_contract::Event;
use platform_testkit::{Said, kafka};
use prost_types::FieldMask;
use tokio::task::JoinSet;

use super::*;

impl World {
    async fn retitle(
        &self,
        seller: &Person,
        offer: &Offer,
        title: &str,
        expected_version: Option<i64>,
    ) -> Result<UpdateOfferResponse, Status> {
        let request = UpdateOfferRequest {
            request_id: id(),
            offer_id: offer.id.clone(),
            patch: Some(OfferPatch {
                title: title.to_owned(),
                ..OfferPatch::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["title".to_owned()],
            }),
            expected_version,
        };
        let response = self.client().update_offer(seller.ask(request)).await;
        response.map(tonic::Response::into_inner)
    }
}

/// Names and versions in the order of the log.
fn order(said: &[Said]) -> Vec<(&str, i64)> {
    said.iter()
        .map(|said| (said.name.as_str(), said.version))
        .collect()
}

/// Keys and versions in the outbox.
async fn waiting(world: &World) -> Vec<(String, i64)> {
    sqlx::query_as("SELECT key, version FROM platform.outbox ORDER BY lane, sequence")
        .fetch_all(&mut world.db.connect().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_offer_says_each_of_its_changes_once_and_nothing_else() {
    let kafka = kafka();
    let world = World::start_on(&kafka).await;
    let (seller, other) = (world.seller(), world.seller());
    let offer = world.draft(&seller).await;
    world
        .retitle(&seller, &offer, "Secret plans", None)
        .await
        .unwrap();
    let publish = PublishOfferRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        expected_version: None,
    };
    for _ in 0..2 {
        let request = seller.ask(publish.clone());
        world.client().publish_offer(request).await.unwrap();
    }
    world.publish(&seller, &offer).await;
    for _ in 0..2 {
        world
            .retitle(&seller, &offer, "Cheaper", None)
            .await
            .unwrap();
    }
    for (seller, expected) in [(&seller, Some(1)), (&other, None)] {
        let refused = world.retitle(seller, &offer, "Refused", expected).await;
        refused.unwrap_err();
    }
    for _ in 0..2 {
        world.retire(&seller, &offer).await;
    }
    world
        .retitle(&seller, &offer, "Too late", None)
        .await
        .unwrap_err();

    let said = kafka.said::<OfferPublished>(&world.db).await;
    assert_eq!(
        order(&said),
        [
            (OfferUpdated::NAME, 1),
            (OfferPublished::NAME, 2),
            (OfferUpdated::NAME, 3),
            (OfferRetired::NAME, 4),
        ]
    );
    let organisation = seller.organisation.unwrap().to_string();
    let draft = said[0].event::<OfferUpdated>();
    let updated = OfferUpdated {
        offer_id: offer.id.clone(),
        version: 1,
        organisation_id: organisation.clone(),
        kind: OfferKind::Crew.into(),
        area: "berlin-mitte".to_owned(),
        price: eur(18900),
        state: OfferState::Draft.into(),
    };
    assert_eq!(draft, updated);
    let published = said[1].event::<OfferPublished>();
    assert_eq!(
        (
            published.organisation_id,
            published.kind,
            published.area,
            published.price
        ),
        (
            organisation.clone(),
            updated.kind,
            updated.area,
            updated.price
        )
    );
    let changed = said[2].event::<OfferUpdated>();
    assert_eq!(changed.state(), OfferState::Published);
    let retired = said[3].event::<OfferRetired>();
    let expected = OfferRetired {
        offer_id: offer.id.clone(),
        version: 4,
        organisation_id: organisation.clone(),
        kind: updated.kind,
        area: "berlin-mitte".to_owned(),
        price: eur(18900),
        was_published: true,
    };
    assert_eq!(retired, expected);
    for event in &said {
        assert_eq!(event.key, offer.id);
        assert_eq!(event.headers["ce_source"], "/homeward/catalog");
        assert_eq!(event.headers["ce_actorkind"], "user-business");
        assert_eq!(event.headers["ce_actororg"], organisation);
    }
}

#[tokio::test]
async fn a_draft_that_is_retired_is_told_from_what_everybody_has_seen() {
    let kafka = kafka();
    let world = World::start_on(&kafka).await;
    let seller = world.seller();
    let draft = world.draft(&seller).await;
    world.retire(&seller, &draft).await;
    let said = kafka.said::<OfferRetired>(&world.db).await;
    assert!(!said[0].event::<OfferRetired>().was_published);
}

#[tokio::test]
async fn a_vote_says_its_change_with_the_tally_and_a_vote_that_changes_nothing_says_nothing() {
    let kafka = kafka();
    let world = World::start_on(&kafka).await;
    let offer = world.published(&world.seller()).await;
    let voter = world.voter();
    for value in [VoteValue::Up, VoteValue::Up, VoteValue::Down] {
        world.cast(&voter, &offer, value).await.unwrap();
    }
    for _ in 0..2 {
        world.retract(&voter, &offer).await.unwrap();
    }
    let draft = world.draft(&world.seller()).await;
    world.cast(&voter, &draft, VoteValue::Up).await.unwrap_err();

    let said = kafka.said::<VoteCast>(&world.db).await;
    assert_eq!(
        order(&said),
        [
            (VoteCast::NAME, 1),
            (VoteCast::NAME, 2),
            (VoteRetracted::NAME, 3)
        ]
    );
    let [up, down] = [0, 1].map(|n: usize| said[n].event::<VoteCast>());
    assert_eq!((up.value(), up.up, up.down), (VoteValue::Up, 1, 0));
    assert_eq!((down.value(), down.up, down.down), (VoteValue::Down, 0, 1));
    let gone = said[2].event::<VoteRetracted>();
    assert_eq!((gone.up, gone.down), (0, 0));
    assert_eq!(gone.user_id, up.user_id);
    for event in &said {
        assert_eq!(event.key, offer.id);
        assert_eq!(event.headers["ce_actorid"], up.user_id);
    }
}

#[tokio::test]
async fn votes_that_race_on_two_replicas_say_a_tally_that_anybody_can_follow() {
    let kafka = kafka();
    let world = Arc::new(World::start_on(&kafka).await);
    let offer = world.published(&world.seller()).await;
    let voters: Vec<_> = (0..10).map(|_| Arc::new(world.voter())).collect();
    let mut calls = JoinSet::new();
    for number in 0..120 {
        let (world, offer, voter) = (world.clone(), offer.clone(), voters[number % 10].clone());
        let step = [Some(VoteValue::Up), Some(VoteValue::Down), None][number / 10 % 3];
        calls.spawn(async move { world.insist(&voter, &offer, step).await.version });
    }
    let last = calls.join_all().await.into_iter().max().unwrap();

    let said = kafka.said::<VoteCast>(&world.db).await;
    let mut votes = HashMap::new();
    for (event, version) in said.iter().zip(1..) {
        assert_eq!(event.version, version);
        let tally = if event.name == VoteCast::NAME {
            let cast = event.event::<VoteCast>();
            let before = votes.insert(cast.user_id, cast.value);
            assert_ne!(before, Some(cast.value), "a change");
            (cast.up, cast.down)
        } else {
            let gone = event.event::<VoteRetracted>();
            assert!(votes.remove(&gone.user_id).is_some(), "there was one");
            (gone.up, gone.down)
        };
        let count = |value: VoteValue| {
            let of = votes.values().filter(|held| **held == i32::from(value));
            i64::try_from(of.count()).unwrap()
        };
        assert_eq!(tally, (count(VoteValue::Up), count(VoteValue::Down)));
    }
    assert_eq!(said.last().unwrap().version, last);
}

#[tokio::test]
async fn an_event_and_what_it_says_commit_together_or_not_at_all() {
    let world = World::start().await;
    let seller = world.seller();
    let (offer, voter) = (world.published(&seller).await, world.voter());
    let mut conn = world.db.connect().await;
    let published = [(offer.id.clone(), 1)];
    assert_eq!(waiting(&world).await, published);
    sqlx::raw_sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'planted'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON platform.outbox FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let refused = world.cast(&voter, &offer, VoteValue::Up).await;
    assert_eq!(super::refused(refused), "INTERNAL_FAULT");
    assert_eq!(world.tally(&offer).await, ((0, 0, 0), (0, 0)));

    sqlx::raw_sql(
        "DROP TRIGGER fail ON platform.outbox;
        CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON votes DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    world.cast(&voter, &offer, VoteValue::Up).await.unwrap_err();
    assert_eq!(
        waiting(&world).await,
        published,
        "no event without its vote"
    );
}

#[tokio::test]
async fn requests_go_on_without_a_broker_and_what_they_said_is_sent_later() {
    let world = World::start().await;
    let offer = world.published(&world.seller()).await;
    let voter = world.voter();
    for value in [VoteValue::Up, VoteValue::Down] {
        world.cast(&voter, &offer, value).await.unwrap();
    }
    assert_eq!(waiting(&world).await.len(), 3);

    let kafka = kafka();
    let mut vars = vars(&world.db, &world.issuer);
    vars.extend(kafka.vars());
    let _late = replica(vars).await;
    let votes = kafka.said::<VoteCast>(&world.db).await;
    assert_eq!(order(&votes), [(VoteCast::NAME, 1), (VoteCast::NAME, 2)]);
    let offers = kafka.said::<OfferPublished>(&world.db).await;
    assert_eq!(order(&offers), [(OfferPublished::NAME, 1)]);
}
