//! Against the real catalog, with its own events or with a log that has none of them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use api::homeward::catalog::v1::{
    CastVoteRequest, CreateOfferRequest, PublishOfferRequest, RetireOfferRequest,
    RetractVoteRequest, VoteValue, catalog_service_client::CatalogServiceClient,
};
use api::homeward::r#type::v1::Money;
use futures_util::future::join_all;
use platform_testkit::Stack;
use tonic::Request;

use super::*;

struct Shop {
    stack: Stack,
    issuer: Issuer,
    client: CatalogServiceClient<Channel>,
    seller: String,
}

impl Shop {
    async fn start(kafka: Vars) -> Shop {
        let issuer = Issuer::start().await;
        let mut vars = issuer.vars();
        vars.extend(kafka);
        let stack = Stack::of(["catalog"]).vars("catalog", vars).start().await;
        let channel = Endpoint::from_shared(stack.grpc("catalog")).unwrap();
        let seller = issuer
            .user("user-business")
            .organisation(Uuid::now_v7(), "owner");
        Shop {
            client: CatalogServiceClient::new(channel.connect_lazy()),
            seller: seller.sign(),
            stack,
            issuer,
        }
    }

    async fn draft(&self, area: &str) -> Uuid {
        let request = CreateOfferRequest {
            request_id: Uuid::now_v7().to_string(),
            title: "Two movers with a van".to_owned(),
            kind: OfferKind::Crew.into(),
            area: area.to_owned(),
            price: Some(Money {
                amount_minor: 18900,
                currency_code: "EUR".to_owned(),
            }),
            ..Default::default()
        };
        let mut client = self.client.clone();
        let answer = client.create_offer(as_user(&self.seller, request)).await;
        let offer = answer.unwrap().into_inner().offer.unwrap();
        offer.id.parse().unwrap()
    }

    async fn offer(&self, area: &str) -> Uuid {
        let id = self.draft(area).await;
        let request = PublishOfferRequest {
            request_id: Uuid::now_v7().to_string(),
            offer_id: id.to_string(),
            expected_version: None,
        };
        let mut client = self.client.clone();
        let answer = client.publish_offer(as_user(&self.seller, request)).await;
        answer.unwrap();
        id
    }

    async fn retire(&self, id: Uuid) {
        let request = RetireOfferRequest {
            request_id: Uuid::now_v7().to_string(),
            offer_id: id.to_string(),
            expected_version: None,
        };
        let mut client = self.client.clone();
        let answer = client.retire_offer(as_user(&self.seller, request)).await;
        answer.unwrap();
    }

    fn voter(&self) -> String {
        self.issuer.user("user-mover").sign()
    }

    /// Up, down, or none.
    async fn vote(&self, voter: &str, id: Uuid, value: VoteValue) {
        let (request_id, offer_id) = (Uuid::now_v7().to_string(), id.to_string());
        let mut client = self.client.clone();
        if value == VoteValue::Unspecified {
            let request = RetractVoteRequest {
                request_id,
                offer_id,
            };
            let answer = client.retract_vote(as_user(voter, request)).await;
            unless_retired(answer.map(drop));
        } else {
            let request = CastVoteRequest {
                request_id,
                offer_id,
                value: value.into(),
            };
            let answer = client.cast_vote(as_user(voter, request)).await;
            unless_retired(answer.map(drop));
        }
    }

    /// The votes of published offers, counted one by one.
    async fn count(&self) -> Vec<(Uuid, i64, i64)> {
        let mut conn = self.stack.db("catalog").connect().await;
        sqlx::query_as(
            "SELECT id, count(*) FILTER (WHERE value = 'up'), count(*) FILTER (WHERE value = 'down')
            FROM offers
            LEFT JOIN votes ON offer_id = id
            WHERE state = 'published'
            GROUP BY id
            ORDER BY id",
        )
        .fetch_all(&mut conn)
        .await
        .unwrap()
    }
}

fn unless_retired(answer: Result<(), Status>) {
    if let Err(status) = answer {
        assert_eq!(reason(&status), "OFFER_NOT_PUBLISHED");
    }
}

fn as_user<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let token = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    request
}

/// The same of the read model.
async fn count_here(conn: &mut PgConnection) -> Vec<(Uuid, i64, i64)> {
    sqlx::query_as(
        "SELECT id, coalesce(up, 0), coalesce(down, 0)
        FROM offers
        LEFT JOIN tallies ON offer_id = id
        WHERE published
        ORDER BY id",
    )
    .fetch_all(conn)
    .await
    .unwrap()
}

async fn until_counted(world: &World, shop: &Shop) {
    let mut conn = world.db.connect().await;
    until("the model to hold a fresh count of the votes", async || {
        (count_here(&mut conn).await == shop.count().await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_never_ran_begins_with_what_the_owner_lists() {
    // The events of this catalog are never sent, as if the log had lost them.
    let shop = Shop::start(Vars::new()).await;
    let best = shop.offer("leipzig").await;
    for _ in 0..3 {
        shop.vote(&shop.voter(), best, VoteValue::Up).await;
    }
    shop.vote(&shop.voter(), best, VoteValue::Down).await;
    let gone = shop.offer("leipzig").await;
    shop.retire(gone).await;
    shop.draft("leipzig").await;
    // More than a page.
    for _ in 0..120 {
        shop.offer("berlin-mitte").await;
    }

    let kafka = platform_testkit::kafka();
    let world = World::with(false, &shop.stack.grpc("catalog"), kafka).await;
    until_counted(&world, &shop).await;
    until("the choice", async || {
        (world.ask("leipzig").await == Ok(best)).then_some(())
    })
    .await;
    let mut conn = world.db.connect().await;
    assert_eq!(count_here(&mut conn).await.len(), 121);

    // Events go on where the list ends, and what is older has no effect.
    world
        .hear([
            published(best, 1, "nowhere"),
            cast(best, 3, 0, 3),
            cast(best, 5, 7, 7),
        ])
        .await;
    let tally = tallies(&mut conn).await;
    assert!(tally.contains(&(best, 5, 7, 7)), "{tally:?}");
    assert_eq!(world.ask("leipzig").await, Ok(best));
    assert_eq!(parked(&mut conn).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_puts_right_what_is_wrong_and_keeps_what_is_newer() {
    let shop = Shop::start(Vars::new()).await;
    let [right, wrong, lost, ahead, gone, torn] = {
        let mut ids = [Uuid::nil(); 6];
        for id in &mut ids {
            *id = shop.offer("leipzig").await;
            shop.vote(&shop.voter(), *id, VoteValue::Up).await;
        }
        ids
    };
    let world = World::with(true, &shop.stack.grpc("catalog"), platform_testkit::kafka()).await;
    let all = [right, wrong, lost, ahead, gone, torn];
    world
        .hear(
            all.into_iter()
                .flat_map(|id| [published(id, 1, "leipzig"), cast(id, 1, 1, 0)]),
        )
        .await;
    // What was said of these was lost on the way, and later ones are parked.
    shop.retire(gone).await;
    world.hear([cast(torn, 3, 5, 5)]).await;
    // This one is newer than what the list will say.
    world.hear([cast(ahead, 2, 2, 0)]).await;
    let mut conn = world.db.connect().await;
    assert_eq!(parked(&mut conn).await, 1);
    for statement in [
        "UPDATE tallies SET up = 77 WHERE offer_id = $1",
        "UPDATE offers SET area = 'nowhere' WHERE id = $1",
    ] {
        let spoilt = sqlx::query(statement).bind(wrong).execute(&mut conn);
        spoilt.await.unwrap();
    }
    for statement in [
        "DELETE FROM tallies WHERE offer_id = $1",
        "DELETE FROM offers WHERE id = $1",
    ] {
        let spoilt = sqlx::query(statement).bind(lost).execute(&mut conn);
        spoilt.await.unwrap();
    }
    for _ in 0..2 {
        shop.vote(&shop.voter(), torn, VoteValue::Up).await;
    }

    let wait = Duration::from_secs(20);
    crate::rebuild(world.config(), RebuildArgs { wait })
        .await
        .unwrap();

    let here = offers(&mut conn).await;
    let (gone_here, published_here): (Vec<_>, Vec<_>) =
        here.into_iter().partition(|(id, ..)| *id == gone);
    assert_eq!(gone_here, [(gone, 2, Some("leipzig".to_owned()), false)]);
    assert!(
        published_here
            .iter()
            .all(|(_, version, area, published)| *published
                && *version == 1
                && area.as_deref() == Some("leipzig")),
        "{published_here:?}"
    );
    let expected = [
        (right, 1, 1, 0),
        (wrong, 1, 1, 0),
        (lost, 1, 1, 0),
        (ahead, 2, 2, 0),
        (gone, 1, 1, 0),
        (torn, 3, 3, 0),
    ];
    assert_eq!(tallies(&mut conn).await, expected);
    // What was parked is covered by the list.
    assert_eq!(parked(&mut conn).await, 0);

    // A second one finds nothing to do, and what is retired it need not ask for again.
    let report = crate::rebuild::rebuild(
        &mut conn,
        &world.kafka(),
        &catalog(&world.config(), &mut Registry::default()),
    )
    .await
    .unwrap();
    assert_eq!((report.read, report.changed), (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_under_load_ends_equal_to_a_fresh_count_of_the_votes() {
    let kafka = platform_testkit::kafka();
    let shop = Arc::new(Shop::start(kafka.vars()).await);
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(shop.offer(["leipzig", "berlin-mitte"][number % 2]).await);
    }
    let world = World::with(false, &shop.stack.grpc("catalog"), kafka).await;
    until_counted(&world, &shop).await;

    let stop = Arc::new(AtomicBool::new(false));
    let load = (0..6_usize).map(|number| {
        let (shop, stop, mut ids) = (shop.clone(), stop.clone(), ids.clone());
        tokio::spawn(async move {
            let voters: Vec<String> = (0..4).map(|_| shop.voter()).collect();
            let mut votes = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                let id = ids[(votes * 7 + number) % ids.len()];
                let value = [VoteValue::Up, VoteValue::Down, VoteValue::Unspecified];
                let value = value[(votes / 3 + number) % 3];
                shop.vote(&voters[votes % 4], id, value).await;
                votes += 1;
                if number == 0 && votes.is_multiple_of(20) {
                    ids.push(shop.offer("leipzig").await);
                }
                if number == 1 && votes.is_multiple_of(50) {
                    shop.retire(ids[votes / 50 % 5]).await;
                }
            }
            votes
        })
    });
    let load: Vec<_> = load.collect();

    // Spoilt under the hands of the consumers, and rebuilt, again and again.
    let mut conn = world.db.connect().await;
    for _ in 0..3 {
        for statement in [
            "DELETE FROM tallies WHERE offer_id IN (SELECT offer_id FROM tallies LIMIT 15)",
            "UPDATE tallies SET up = up + 1000, down = down + 7",
            "DELETE FROM offers WHERE id IN (SELECT id FROM offers LIMIT 15)",
            "UPDATE offers SET area = 'nowhere'",
        ] {
            // The consumers may have some of these rows, and want others.
            while sqlx::query(statement).execute(&mut conn).await.is_err() {}
        }
        let wait = Duration::from_secs(30);
        crate::rebuild(world.config(), RebuildArgs { wait })
            .await
            .unwrap();
        // It answers meanwhile, and afterwards.
        assert!(world.ask("leipzig").await.is_ok());
    }
    stop.store(true, Ordering::Relaxed);
    let votes: Vec<usize> = join_all(load)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(votes.iter().all(|votes| *votes > 10), "{votes:?}");

    until_counted(&world, &shop).await;
    assert_eq!(parked(&mut conn).await, 0);
    let astray: i64 =
        sqlx::query_scalar("SELECT count(*) FROM offers WHERE published AND area = 'nowhere'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!(astray, 0);
}
