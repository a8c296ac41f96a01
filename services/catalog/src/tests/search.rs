use api::homeward::catalog::v1::{ListOffersRequest, OfferKind};

use super::*;

/// Tab-separated, with a head.
fn rows<const N: usize>(text: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    text.lines().skip(1).map(|line| {
        let cells: Vec<_> = line.split('\t').collect();
        cells
            .try_into()
            .unwrap_or_else(|_| panic!("not {N} cells: {line}"))
    })
}

#[tokio::test]
async fn forty_queries_find_what_a_person_expects() {
    let world = World::start().await;
    let seller = world.seller();
    let mut names = std::collections::HashMap::new();
    for [name, kind, area, price, title, description] in rows(include_str!("offers.tsv")) {
        let kind =
            OfferKind::from_str_name(&format!("OFFER_KIND_{}", kind.to_uppercase())).unwrap();
        let offer = CreateOfferRequest {
            request_id: id(),
            title: title.to_owned(),
            description: description.to_owned(),
            kind: kind.into(),
            area: area.to_owned(),
            price: eur(price.parse().unwrap()),
        };
        let offer = world.create(&seller, offer).await;
        world.publish(&seller, &offer).await;
        names.insert(offer.id, name);
    }

    let mut wrong = Vec::new();
    let mut count = 0;
    for [search, expected] in rows(include_str!("search.tsv")) {
        let request = ListOffersRequest {
            search: search.to_owned(),
            ..Default::default()
        };
        let found = world
            .client()
            .list_offers(request)
            .await
            .unwrap()
            .into_inner()
            .offers;
        let found: Vec<_> = found.iter().map(|offer| names[&offer.id]).collect();
        let right = match expected {
            "-" => found.is_empty(),
            expected => {
                let expected: Vec<_> = expected.split(' ').collect();
                found.starts_with(&expected)
            }
        };
        if !right {
            wrong.push(format!(
                "{search:?}: expected {expected}, found {}",
                found.join(" ")
            ));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 40, "only {count} queries");
}

#[tokio::test]
async fn no_input_makes_search_fail() {
    let world = World::start().await;
    world.published(&world.seller()).await;
    let long = [
        "㌫".repeat(200),
        "ﷺ".repeat(200),
        "a ".repeat(100),
        "x".repeat(200),
        "&".repeat(200),
    ];
    let odd = [
        "'",
        "''",
        "\\",
        "\\'",
        ":*",
        "!",
        "&",
        "|",
        "<->",
        "(",
        ")",
        "a:*A",
        "a & ",
        "!a",
        "5e3x",
        "1e999",
        "0x1f",
        "½",
        "²",
        "🚚",
        "\u{200d}",
        "ß",
        "İ",
        "e\u{301}",
        "the",
        "a the of",
        "%",
        "_",
        "$1",
        "--",
        "/*",
        "NULL",
        "http://example.org/?a=b",
        "a@b.de",
        "<b>x</b>",
        "&amp;",
        "-5",
        "+49 30 1234",
        "北京",
        "שלום",
        "สวัสดี",
    ];
    for search in odd.into_iter().map(str::to_owned).chain(long) {
        let request = ListOffersRequest {
            search: search.clone(),
            ..Default::default()
        };
        let found = world.client().list_offers(request).await;
        assert!(found.is_ok(), "{search:?}: {found:?}");
    }
    for search in ["a\0b".to_owned(), "\u{202e}".to_owned(), "x".repeat(201)] {
        let request = ListOffersRequest {
            search,
            ..Default::default()
        };
        assert_eq!(
            refused(world.client().list_offers(request).await),
            "FIELD_INVALID"
        );
    }
}

#[tokio::test]
async fn the_order_by_relevance_needs_a_search() {
    let world = World::start().await;
    let order = api::homeward::catalog::v1::OfferOrder::Relevance.into();
    let request = ListOffersRequest {
        order,
        ..Default::default()
    };
    assert_eq!(
        refused(world.client().list_offers(request).await),
        "FIELD_INVALID"
    );
    let request = ListOffersRequest {
        order: 9,
        ..Default::default()
    };
    assert_eq!(
        refused(world.client().list_offers(request).await),
        "FIELD_INVALID"
    );
}

#[tokio::test]
async fn a_changed_text_is_found_and_the_old_one_no_longer() {
    let world = World::start().await;
    let seller = world.seller();
    let offer = world.published(&seller).await;
    let patch = api::homeward::catalog::v1::OfferPatch {
        title: "Harp storage".to_owned(),
        ..Default::default()
    };
    let update = api::homeward::catalog::v1::UpdateOfferRequest {
        request_id: id(),
        offer_id: offer.id,
        patch: Some(patch),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["title".to_owned()],
        }),
        expected_version: None,
    };
    world
        .client()
        .update_offer(seller.ask(update))
        .await
        .unwrap();
    for (search, found) in [("harp", 1), ("van", 0)] {
        let request = ListOffersRequest {
            search: search.to_owned(),
            ..Default::default()
        };
        assert_eq!(
            world
                .client()
                .list_offers(request)
                .await
                .unwrap()
                .into_inner()
                .offers
                .len(),
            found,
            "{search}"
        );
    }
}
