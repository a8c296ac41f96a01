use api::homeward::catalog::v1::{
    BatchGetOffersRequest, GetOfferRequest, OfferKind, OfferPatch, OfferState, UpdateOfferRequest,
};
use prost_types::FieldMask;
use uuid::Uuid;

use super::*;

impl World {
    async fn get(&self, person: Option<&Person>, offer_id: &str) -> Result<Offer, Status> {
        let request = GetOfferRequest {
            offer_id: offer_id.to_owned(),
        };
        let request = match person {
            Some(person) => person.ask(request),
            None => Request::new(request),
        };
        Ok(self
            .client()
            .get_offer(request)
            .await?
            .into_inner()
            .offer
            .unwrap())
    }

    async fn update(&self, person: &Person, request: UpdateOfferRequest) -> Result<Offer, Status> {
        Ok(self
            .client()
            .update_offer(person.ask(request))
            .await?
            .into_inner()
            .offer
            .unwrap())
    }
}

fn update(offer: &Offer, paths: &[&str], patch: OfferPatch) -> UpdateOfferRequest {
    UpdateOfferRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        patch: Some(patch),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        expected_version: None,
    }
}

fn other_content() -> OfferPatch {
    OfferPatch {
        title: "Storage room".to_owned(),
        description: "Dry.".to_owned(),
        kind: OfferKind::Storage.into(),
        area: "hamburg-altona".to_owned(),
        price: eur(4900),
    }
}

#[tokio::test]
async fn an_offer_is_created_published_and_retired_and_each_change_raises_its_version_by_one() {
    let world = World::start().await;
    let seller = world.seller();

    let draft = world.draft(&seller).await;
    assert_eq!(draft.version, 0);
    assert_eq!(draft.state(), OfferState::Draft);
    assert_eq!(
        draft.organisation_id,
        seller.organisation.unwrap().to_string()
    );
    assert_eq!(draft.price, eur(18900));
    assert_eq!(draft.publish_time, None);
    assert_eq!(draft.votes, Some(Default::default()));
    assert_eq!(world.get(Some(&seller), &draft.id).await.unwrap(), draft);

    let published = world.publish(&seller, &draft).await;
    assert_eq!(
        (published.version, published.state()),
        (1, OfferState::Published)
    );
    assert!(published.publish_time.is_some());
    assert_eq!(world.publish(&seller, &draft).await, published);

    let changed = update(
        &published,
        &["title", "description", "kind", "area", "price"],
        other_content(),
    );
    let changed = world.update(&seller, changed).await.unwrap();
    assert_eq!(
        (changed.version, changed.state()),
        (2, OfferState::Published)
    );

    let retired = world.retire(&seller, &draft).await;
    assert_eq!((retired.version, retired.state()), (3, OfferState::Retired));
    assert_eq!(world.retire(&seller, &draft).await, retired);
    assert_eq!(world.get(None, &draft.id).await.unwrap(), retired);
}

#[tokio::test]
async fn only_the_fields_of_the_mask_change() {
    let world = World::start().await;
    let seller = world.seller();
    let offer = world.draft(&seller).await;

    let changed = world
        .update(&seller, update(&offer, &["area"], other_content()))
        .await
        .unwrap();
    let expected = Offer {
        area: "hamburg-altona".to_owned(),
        version: 1,
        update_time: changed.update_time,
        ..offer.clone()
    };
    assert_eq!(changed, expected);

    let price = world
        .update(
            &seller,
            update(&offer, &["price", "price"], other_content()),
        )
        .await
        .unwrap();
    assert_eq!(
        price,
        Offer {
            price: eur(4900),
            version: 2,
            update_time: price.update_time,
            ..changed
        }
    );

    let same = world
        .update(&seller, update(&offer, &["area", "price"], other_content()))
        .await
        .unwrap();
    assert_eq!(same, price, "what changes nothing raises nothing");

    for paths in [&[][..], &["state"], &["id"], &["*"], &["patch.title"]] {
        let request = update(&offer, paths, other_content());
        assert_eq!(
            refused(world.update(&seller, request).await),
            "FIELD_INVALID",
            "{paths:?}"
        );
    }
}

#[tokio::test]
async fn of_two_updates_that_expect_the_same_version_one_wins() {
    let world = World::start().await;
    let seller = world.seller();
    let offer = world.draft(&seller).await;

    let request = |title: &str| UpdateOfferRequest {
        expected_version: Some(0),
        ..update(
            &offer,
            &["title"],
            OfferPatch {
                title: title.to_owned(),
                ..OfferPatch::default()
            },
        )
    };
    let (one, two) = tokio::join!(
        world.update(&seller, request("One")),
        world.update(&seller, request("Two"))
    );
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    assert_eq!(won.unwrap().version, 1);
    let lost = lost.unwrap_err();
    assert_eq!(
        (lost.code(), reason(&lost)),
        (tonic::Code::Aborted, "VERSION_MISMATCH".to_owned())
    );

    let stale = PublishOfferRequest {
        request_id: id(),
        offer_id: offer.id,
        expected_version: Some(0),
    };
    assert_eq!(
        refused(world.client().publish_offer(seller.ask(stale)).await),
        "VERSION_MISMATCH"
    );
}

#[tokio::test]
async fn a_retired_offer_stays_as_it_is() {
    let world = World::start().await;
    let seller = world.seller();
    let offer = world.published(&seller).await;
    let retired = world.retire(&seller, &offer).await;

    let request = update(&offer, &["title"], other_content());
    assert_eq!(
        refused(world.update(&seller, request).await),
        "OFFER_RETIRED"
    );
    let request = PublishOfferRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        expected_version: None,
    };
    assert_eq!(
        refused(world.client().publish_offer(seller.ask(request)).await),
        "OFFER_RETIRED"
    );
    assert_eq!(world.get(Some(&seller), &offer.id).await.unwrap(), retired);
}

#[tokio::test]
async fn another_business_offer_is_not_found_for_a_change() {
    let world = World::start().await;
    let (seller, rival) = (world.seller(), world.seller());
    let offer = world.published(&seller).await;

    let request = update(&offer, &["title"], other_content());
    assert_eq!(
        refused(world.update(&rival, request).await),
        "OFFER_NOT_FOUND"
    );
    let request = PublishOfferRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        expected_version: None,
    };
    assert_eq!(
        refused(world.client().publish_offer(rival.ask(request)).await),
        "OFFER_NOT_FOUND"
    );
    let request = RetireOfferRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        expected_version: None,
    };
    assert_eq!(
        refused(world.client().retire_offer(rival.ask(request)).await),
        "OFFER_NOT_FOUND"
    );
    assert_eq!(world.get(None, &offer.id).await.unwrap(), offer);
}

#[tokio::test]
async fn owners_and_managers_change_offers_and_members_do_not() {
    let world = World::start().await;
    let seller = world.seller();
    let business = seller.organisation.unwrap();
    let (manager, member) = (
        world.colleague(business, "manager"),
        world.colleague(business, "member"),
    );
    let offer = world.draft(&manager).await;

    let request = || update(&offer, &["title"], other_content());
    assert_eq!(world.update(&seller, request()).await.unwrap().version, 1);
    assert_eq!(
        refused(world.update(&member, request()).await),
        "ORGANISATION_REQUIRED"
    );
    assert_eq!(
        refused(world.client().create_offer(member.ask(new_offer())).await),
        "ORGANISATION_REQUIRED"
    );

    let nobodys = world.issuer.user("user-business").sign();
    let nobodys = Person {
        token: nobodys,
        ..world.voter()
    };
    assert_eq!(
        refused(world.client().create_offer(nobodys.ask(new_offer())).await),
        "ORGANISATION_REQUIRED"
    );
}

#[tokio::test]
async fn what_was_never_published_is_seen_by_members_only() {
    let world = World::start().await;
    let seller = world.seller();
    let member = world.colleague(seller.organisation.unwrap(), "member");
    let (rival, voter) = (world.seller(), world.voter());
    let draft = world.draft(&seller).await;
    let withdrawn = world.draft(&seller).await;
    let withdrawn = world.retire(&seller, &withdrawn).await;

    for offer in [&draft, &withdrawn] {
        assert_eq!(&world.get(Some(&member), &offer.id).await.unwrap(), offer);
        for stranger in [None, Some(&rival), Some(&voter)] {
            assert_eq!(
                refused(world.get(stranger, &offer.id).await),
                "OFFER_NOT_FOUND"
            );
        }
    }
    assert_eq!(refused(world.get(None, &id()).await), "OFFER_NOT_FOUND");
}

#[tokio::test]
async fn a_batch_answers_the_visible_ones_in_the_order_asked_without_repeats() {
    let world = World::start().await;
    let seller = world.seller();
    let first = world.published(&seller).await;
    let draft = world.draft(&seller).await;
    let last = world.published(&seller).await;

    let ids = [&last.id, &id(), &draft.id, &first.id, &last.id].map(String::clone);
    let request = BatchGetOffersRequest { ids: ids.to_vec() };
    let seen = world
        .client()
        .batch_get_offers(request.clone())
        .await
        .unwrap()
        .into_inner()
        .offers;
    assert_eq!(seen, [last.clone(), first.clone()]);
    let seen = world
        .client()
        .batch_get_offers(seller.ask(request))
        .await
        .unwrap()
        .into_inner()
        .offers;
    assert_eq!(seen, [last, draft, first]);

    let none = BatchGetOffersRequest { ids: vec![] };
    assert!(
        world
            .client()
            .batch_get_offers(none)
            .await
            .unwrap()
            .into_inner()
            .offers
            .is_empty()
    );
    for ids in [
        vec![id(); 101],
        vec!["seven".to_owned()],
        vec![String::new()],
    ] {
        let request = BatchGetOffersRequest { ids };
        assert_eq!(
            refused(world.client().batch_get_offers(request).await),
            "FIELD_INVALID"
        );
    }
}

#[tokio::test]
async fn bad_fields_are_all_named_and_nothing_is_stored() {
    let world = World::start().await;
    let seller = world.seller();

    let request = CreateOfferRequest {
        request_id: id(),
        title: "\u{202e}".to_owned(),
        description: "a\0b".to_owned(),
        kind: 99,
        area: "Berlin Mitte".to_owned(),
        price: eur(-1),
    };
    let status = world
        .client()
        .create_offer(seller.ask(request))
        .await
        .unwrap_err();
    let named: Vec<_> = Details::of(&status)
        .violations
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(named, ["title", "description", "kind", "area", "price"]);

    let bad = [
        CreateOfferRequest {
            title: String::new(),
            ..new_offer()
        },
        CreateOfferRequest {
            title: "x".repeat(121),
            ..new_offer()
        },
        CreateOfferRequest {
            title: "x".repeat(900_000),
            ..new_offer()
        },
        CreateOfferRequest {
            title: "a\nb".to_owned(),
            ..new_offer()
        },
        CreateOfferRequest {
            description: "x".repeat(4001),
            ..new_offer()
        },
        CreateOfferRequest {
            description: "\u{2066}".to_owned(),
            ..new_offer()
        },
        CreateOfferRequest {
            kind: 0,
            ..new_offer()
        },
        CreateOfferRequest {
            area: "a".repeat(65),
            ..new_offer()
        },
        CreateOfferRequest {
            price: None,
            ..new_offer()
        },
        CreateOfferRequest {
            price: eur(1_000_000_001),
            ..new_offer()
        },
        CreateOfferRequest {
            price: eur(i64::MAX),
            ..new_offer()
        },
        CreateOfferRequest {
            price: Some(Money {
                amount_minor: 1,
                currency_code: "eur".into(),
            }),
            ..new_offer()
        },
        CreateOfferRequest {
            request_id: String::new(),
            ..new_offer()
        },
        CreateOfferRequest {
            request_id: "7".to_owned(),
            ..new_offer()
        },
    ];
    for request in bad {
        let named = format!("{:.200}", format!("{request:?}"));
        assert_eq!(
            refused(world.client().create_offer(seller.ask(request)).await),
            "FIELD_INVALID",
            "{named}"
        );
    }
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM offers")
        .fetch_one(&mut world.db.connect().await)
        .await
        .unwrap();
    assert_eq!(stored, 0);

    let longest = CreateOfferRequest {
        title: "家".repeat(120),
        // One of the characters that search has to unfold the furthest.
        description: "\u{fdfa}".repeat(4000),
        price: eur(1_000_000_000),
        ..new_offer()
    };
    let offer = world.create(&seller, longest).await;
    assert_eq!(offer.description.chars().count(), 4000);
    assert_eq!(
        refused(world.get(None, &Uuid::nil().to_string()).await),
        "FIELD_INVALID"
    );
}

#[tokio::test]
async fn text_is_composed_and_trimmed() {
    let world = World::start().await;
    let seller = world.seller();
    let offer = CreateOfferRequest {
        title: "  Mu\u{308}ller ".to_owned(),
        ..new_offer()
    };
    assert_eq!(world.create(&seller, offer).await.title, "Müller");
}
