use std::collections::HashSet;

use api::homeward::catalog::v1::{
    ListOffersRequest, ListOffersResponse, OfferFilter, OfferKind, OfferOrder, OfferState,
    VoteValue,
};
use sqlx::{PgConnection, QueryBuilder};

use super::*;
use crate::domain::{Listing, Order, Place, Viewer};
use crate::store;

impl World {
    async fn list(
        &self,
        person: Option<&Person>,
        request: ListOffersRequest,
    ) -> Result<ListOffersResponse, Status> {
        let request = match person {
            Some(person) => person.ask(request),
            None => Request::new(request),
        };
        Ok(self.client().list_offers(request).await?.into_inner())
    }

    async fn filtered(&self, person: Option<&Person>, filter: OfferFilter) -> Vec<Offer> {
        let request = ListOffersRequest {
            filter: Some(filter),
            page_size: 100,
            ..Default::default()
        };
        self.list(person, request).await.unwrap().offers
    }
}

/// Published offers without the way through the service, newest last.
async fn fill(conn: &mut PgConnection, offers: std::ops::RangeInclusive<i32>) {
    sqlx::query(
        "WITH made AS (
            INSERT INTO offers
            SELECT
                gen_random_uuid(), gen_random_uuid(), 'Storage room ' || n, 'Dry and heated, number ' || n,
                (ARRAY['crew', 'storage', 'broadband', 'cleaning'])[n % 4 + 1], 'area-' || n % 40,
                n % 50 * 100, (ARRAY['EUR', 'CHF'])[n % 2 + 1],
                'published', t, t, t, 1
            FROM generate_series($1, $2) AS n, LATERAL (SELECT now() - interval '1 day' + n * interval '1 ms' AS t) AS t
            RETURNING id
        )
        INSERT INTO tallies
        SELECT id
        FROM made",
    )
    .bind(offers.start())
    .bind(offers.end())
    .execute(conn)
    .await
    .unwrap();
}

#[tokio::test]
async fn every_order_pages_through_all_without_repeat_or_hole_while_offers_come_in() {
    let world = World::start().await;
    let mut conn = world.db.connect().await;
    fill(&mut conn, 1..=230).await;
    let before: HashSet<Uuid> = sqlx::query_scalar("SELECT id FROM offers")
        .fetch_all(&mut conn)
        .await
        .unwrap()
        .into_iter()
        .collect();

    let mut fresh = 1000..;
    for (order, search) in [
        (OfferOrder::Unspecified, ""),
        (OfferOrder::Newest, ""),
        (OfferOrder::Price, ""),
        (OfferOrder::Relevance, "storage room"),
        (OfferOrder::Newest, "storage"),
    ] {
        let mut request = ListOffersRequest {
            page_size: 17,
            order: order.into(),
            search: search.to_owned(),
            ..Default::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = world.list(None, request.clone()).await.unwrap();
            assert!(page.offers.len() == 17 || page.next_page_token.is_empty());
            seen.extend(page.offers);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            let n = fresh.next().unwrap();
            fill(&mut conn, n..=n).await;
        }
        let ids: HashSet<Uuid> = seen.iter().map(|offer| offer.id.parse().unwrap()).collect();
        assert_eq!(ids.len(), seen.len(), "{order:?} repeats");
        assert!(before.is_subset(&ids), "{order:?} leaves a hole");
        match order {
            OfferOrder::Price => assert!(seen.is_sorted_by_key(|offer| {
                let price = offer.price.clone().unwrap();
                (price.currency_code, price.amount_minor, offer.id.clone())
            })),
            OfferOrder::Newest | OfferOrder::Unspecified => {
                assert!(seen.is_sorted_by(|one, two| {
                    let at =
                        |offer: &Offer| offer.publish_time.map(|time| (time.seconds, time.nanos));
                    at(one) >= at(two)
                }))
            }
            OfferOrder::Relevance => {}
        }
    }
}

#[tokio::test]
async fn a_page_has_20_offers_by_default_and_never_more_than_100() {
    let world = World::start().await;
    fill(&mut world.db.connect().await, 1..=130).await;
    for (page_size, length) in [(0, 20), (1, 1), (100, 100), (101, 100), (i32::MAX, 100)] {
        let request = ListOffersRequest {
            page_size,
            ..Default::default()
        };
        assert_eq!(
            world.list(None, request).await.unwrap().offers.len(),
            length
        );
    }
    let request = ListOffersRequest {
        page_size: -1,
        ..Default::default()
    };
    assert_eq!(refused(world.list(None, request).await), "FIELD_INVALID");
}

#[tokio::test]
async fn filters_narrow_the_list() {
    let world = World::start().await;
    let (one, two) = (world.seller(), world.seller());
    let crew = world.published(&one).await;
    let storage = CreateOfferRequest {
        kind: OfferKind::Storage.into(),
        area: "hamburg-altona".to_owned(),
        price: Some(Money {
            amount_minor: 100,
            currency_code: "CHF".to_owned(),
        }),
        ..new_offer()
    };
    let storage = world.create(&two, storage).await;
    let storage = world.publish(&two, &storage).await;
    let cheap = world
        .create(
            &two,
            CreateOfferRequest {
                price: eur(0),
                ..new_offer()
            },
        )
        .await;
    let cheap = world.publish(&two, &cheap).await;
    world.draft(&one).await;
    let retired = world.published(&one).await;
    world.retire(&one, &retired).await;

    let none = OfferFilter::default;
    assert_eq!(
        world.filtered(None, none()).await,
        [&cheap, &storage, &crew].map(Offer::clone)
    );
    for (filter, expected) in [
        (
            OfferFilter {
                area: "hamburg-altona".to_owned(),
                ..none()
            },
            vec![&storage],
        ),
        (
            OfferFilter {
                kinds: vec![OfferKind::Crew.into()],
                ..none()
            },
            vec![&cheap, &crew],
        ),
        (
            OfferFilter {
                kinds: vec![OfferKind::Crew.into(), OfferKind::Storage.into()],
                area: "xx".into(),
                ..none()
            },
            vec![],
        ),
        (
            OfferFilter {
                organisation_id: two.organisation.unwrap().to_string(),
                ..none()
            },
            vec![&cheap, &storage],
        ),
        (
            OfferFilter {
                price_max: eur(18899),
                ..none()
            },
            vec![&cheap],
        ),
        (
            OfferFilter {
                price_max: eur(18900),
                ..none()
            },
            vec![&cheap, &crew],
        ),
        (
            OfferFilter {
                states: vec![OfferState::Retired.into()],
                ..none()
            },
            vec![],
        ),
    ] {
        let seen = world.filtered(None, filter.clone()).await;
        assert_eq!(seen.iter().collect::<Vec<_>>(), expected, "{filter:?}");
    }
    for filter in [
        OfferFilter {
            area: "Berlin!".to_owned(),
            ..none()
        },
        OfferFilter {
            kinds: vec![0],
            ..none()
        },
        OfferFilter {
            kinds: vec![1; 1000],
            ..none()
        },
        OfferFilter {
            states: vec![77],
            ..none()
        },
        OfferFilter {
            organisation_id: "x".to_owned(),
            ..none()
        },
        OfferFilter {
            price_max: Some(Money::default()),
            ..none()
        },
    ] {
        let request = ListOffersRequest {
            filter: Some(filter.clone()),
            ..Default::default()
        };
        assert_eq!(
            refused(world.list(None, request).await),
            "FIELD_INVALID",
            "{filter:?}"
        );
    }
}

#[tokio::test]
async fn own_offers_are_seen_in_every_state_by_members_only() {
    let world = World::start().await;
    let seller = world.seller();
    let member = world.colleague(seller.organisation.unwrap(), "member");
    let rival = world.seller();
    world.published(&rival).await;
    let retired = world.published(&seller).await;
    let retired = world.retire(&seller, &retired).await;
    let draft = world.draft(&seller).await;
    let published = world.published(&seller).await;

    let own = OfferFilter {
        own: true,
        ..Default::default()
    };
    let all = [published, draft.clone(), retired];
    assert_eq!(world.filtered(Some(&seller), own.clone()).await, all);
    assert_eq!(world.filtered(Some(&member), own.clone()).await, all);
    let drafts = OfferFilter {
        states: vec![OfferState::Draft.into()],
        ..own.clone()
    };
    assert_eq!(world.filtered(Some(&member), drafts).await, [draft]);
    let theirs = OfferFilter {
        organisation_id: seller.organisation.unwrap().to_string(),
        ..own.clone()
    };
    assert!(world.filtered(Some(&rival), theirs).await.is_empty());

    let request = ListOffersRequest {
        filter: Some(own),
        ..Default::default()
    };
    assert_eq!(
        refused(world.list(None, request.clone()).await),
        "TOKEN_MISSING"
    );
    assert_eq!(
        refused(world.list(Some(&world.voter()), request).await),
        "ORGANISATION_REQUIRED"
    );
}

#[tokio::test]
async fn a_list_shows_the_tally_and_the_callers_vote() {
    let world = World::start().await;
    let offer = world.published(&world.seller()).await;
    let voter = world.voter();
    let vote = api::homeward::catalog::v1::CastVoteRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        value: VoteValue::Down.into(),
    };
    world.client().cast_vote(voter.ask(vote)).await.unwrap();
    for (person, mine) in [
        (Some(&voter), VoteValue::Down),
        (None, VoteValue::Unspecified),
    ] {
        let seen = world
            .filtered(person, OfferFilter::default())
            .await
            .remove(0)
            .votes
            .unwrap();
        assert_eq!(
            (seen.up, seen.down, seen.mine(), seen.version),
            (0, 1, mine, 1)
        );
    }
}

#[tokio::test]
async fn a_page_token_opens_for_its_own_query_only() {
    let world = World::start().await;
    fill(&mut world.db.connect().await, 1..=9).await;
    let request = ListOffersRequest {
        page_size: 2,
        ..Default::default()
    };
    let token = world
        .list(None, request.clone())
        .await
        .unwrap()
        .next_page_token;

    let next = ListOffersRequest {
        page_token: token.clone(),
        ..request.clone()
    };
    assert_eq!(
        world.list(None, next.clone()).await.unwrap().offers.len(),
        2
    );
    let larger = ListOffersRequest {
        page_size: 3,
        ..next.clone()
    };
    assert_eq!(world.list(None, larger).await.unwrap().offers.len(), 3);

    let area = Some(OfferFilter {
        area: "area-1".to_owned(),
        ..Default::default()
    });
    let mut bad = vec![
        ListOffersRequest {
            order: OfferOrder::Price.into(),
            ..next.clone()
        },
        ListOffersRequest {
            filter: area,
            ..next.clone()
        },
        ListOffersRequest {
            search: "storage".to_owned(),
            ..next.clone()
        },
        ListOffersRequest {
            page_token: "x".to_owned(),
            ..next.clone()
        },
        ListOffersRequest {
            page_token: "é".repeat(5000),
            ..next.clone()
        },
        ListOffersRequest {
            page_token: token[1..].to_owned(),
            ..next.clone()
        },
    ];
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        bad.push(ListOffersRequest {
            page_token: String::from_utf8(bytes).unwrap(),
            ..next.clone()
        });
    }
    for request in bad {
        assert_eq!(
            refused(world.list(None, request).await),
            "PAGE_TOKEN_INVALID"
        );
    }
}

#[tokio::test]
async fn lists_and_search_walk_their_indexes_at_100_000_offers() {
    let db = platform_testkit::db(crate::MIGRATORS).await;
    let (mut one, mut two) = (db.connect().await, db.connect().await);
    tokio::join!(fill(&mut one, 1..=50_000), fill(&mut two, 50_001..=100_000));
    sqlx::raw_sql("ANALYZE").execute(&mut one).await.unwrap();

    let all = |order| Listing {
        own: None,
        organisation_id: None,
        area: None,
        kinds: vec![],
        states: vec![],
        price_max: None,
        search: None,
        order,
    };
    let area = Some("area-7".to_owned());
    let search = Some("storage room 4711".to_owned());
    let offer = crate::domain::OfferId(Uuid::now_v7());
    let newest = Place::Newest(platform::time::now(), offer);
    let price = Place::Price("CHF".to_owned(), 2000, offer);
    let ranked = Place::Relevance(900_000, offer);
    for (listing, after, index) in [
        (all(Order::Newest), None, "offers_newest"),
        (all(Order::Newest), Some(newest.clone()), "offers_newest"),
        (all(Order::Price), Some(price.clone()), "offers_price"),
        (
            Listing {
                area: area.clone(),
                ..all(Order::Newest)
            },
            Some(newest.clone()),
            "offers_area_newest",
        ),
        (
            Listing {
                area,
                ..all(Order::Price)
            },
            Some(price),
            "offers_area_price",
        ),
        (
            Listing {
                own: Some(crate::domain::OrganisationId(offer.0)),
                ..all(Order::Newest)
            },
            None,
            "offers_organisation",
        ),
        (
            Listing {
                search: search.clone(),
                ..all(Order::Relevance)
            },
            None,
            "offers_search",
        ),
        (
            Listing {
                search: search.clone(),
                ..all(Order::Relevance)
            },
            Some(ranked),
            "offers_search",
        ),
        (
            Listing {
                search,
                ..all(Order::Newest)
            },
            Some(newest),
            "offers_search",
        ),
    ] {
        // Postgres plans with the values at first, and may plan without them later.
        for mode in ["force_custom_plan", "force_generic_plan"] {
            sqlx::query("SELECT set_config('plan_cache_mode', $1, false)")
                .bind(mode)
                .execute(&mut one)
                .await
                .unwrap();
            let explain = QueryBuilder::new("EXPLAIN ");
            let plan: Vec<String> = store::offer::select_page(
                explain,
                &listing,
                &Viewer::default(),
                after.as_ref(),
                21,
            )
            .build_query_scalar()
            .fetch_all(&mut one)
            .await
            .unwrap();
            let plan = plan.join("\n");
            assert!(
                plan.contains(&format!(" {index} ")),
                "{listing:?} {mode}\n{plan}"
            );
            assert!(
                !plan.contains("Seq Scan on offers"),
                "{listing:?} {mode}\n{plan}"
            );
        }
    }
}
