use serde_json::{Value, json};
use uuid::Uuid;

use super::{PASSWORD, Site, offer, text};

#[tokio::test]
async fn a_person_registers_logs_in_browses_votes_and_sees_the_count() {
    let site = Site::start().await;
    let seller = site.login(&site.register("BUSINESS").await).await;
    let id = site.published(&seller).await;

    let person = site.register("MOVER").await;
    let token = site.login(&person).await;
    let viewer = site
        .data(
            Some(&token),
            "{ viewer { id email kind roles organisation { id } } }",
            json!({}),
        )
        .await;
    assert_eq!(
        viewer["viewer"],
        json!({ "id": person.id, "email": person.email, "kind": "MOVER", "roles": ["user-mover"], "organisation": null })
    );

    let found = "query($search: String) { offers(search: $search, orderBy: RELEVANCE, filter: { area: \"berlin-mitte\", kinds: [CREW, STORAGE] }) {
        edges { node { id price { amountMinor currency } votes { up mine } } } pageInfo { hasNextPage endCursor } } }";
    let data = site
        .data(Some(&token), found, json!({ "search": "van" }))
        .await;
    let node = &data["offers"]["edges"][0]["node"];
    assert_eq!(node["id"], json!(id));
    assert_eq!(
        node["price"],
        json!({ "amountMinor": 12_300, "currency": "EUR" })
    );
    assert_eq!(node["votes"], json!({ "up": 0, "mine": null }));

    let votes = "votes { up down mine version } offer { id votes { up } }";
    let cast = site
        .done(
            Some(&token),
            "castVote",
            votes,
            json!({ "offerId": id, "value": "UP" }),
        )
        .await;
    assert_eq!(
        cast["votes"],
        json!({ "up": 1, "down": 0, "mine": "UP", "version": 1 })
    );
    assert_eq!(cast["offer"], json!({ "id": id, "votes": { "up": 1 } }));
    let change = site
        .done(
            Some(&token),
            "castVote",
            votes,
            json!({ "offerId": id, "value": "DOWN" }),
        )
        .await;
    assert_eq!(
        change["votes"],
        json!({ "up": 0, "down": 1, "mine": "DOWN", "version": 2 })
    );
    let back = site
        .done(Some(&token), "retractVote", votes, json!({ "offerId": id }))
        .await;
    assert_eq!(
        back["votes"],
        json!({ "up": 0, "down": 0, "mine": null, "version": 3 })
    );

    let seen = site.data(
        None,
        "query($id: ID!) { offer(id: $id) { votes { up down mine version } } }",
        json!({ "id": id }),
    );
    assert_eq!(
        seen.await["offer"]["votes"],
        json!({ "up": 0, "down": 0, "mine": null, "version": 3 })
    );
}

#[tokio::test]
async fn a_session_is_opened_renewed_and_ended() {
    let site = Site::start().await;
    let person = site.register("BUSINESS").await;
    let fields = "tokens { accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt } viewer { id organisation { id name } }";

    let wrong = json!({ "email": person.email, "password": "not the password" });
    let refused = site.change(None, "login", fields, wrong).await;
    assert_eq!(
        (&refused["tokens"], &refused["viewer"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(refused["userErrors"][0]["code"], "CREDENTIALS_INVALID");

    let login = json!({ "email": person.email, "password": PASSWORD });
    let opened = site.done(None, "login", fields, login).await;
    assert_eq!(opened["viewer"]["id"], json!(person.id));
    assert_eq!(
        opened["viewer"]["organisation"]["id"],
        json!(person.organisation_id)
    );
    assert!(text(&opened["tokens"]["accessTokenExpiresAt"]).ends_with('Z'));

    // The access token that comes along may be a bad one: this is how it is replaced.
    let refresh = json!({ "refreshToken": opened["tokens"]["refreshToken"] });
    let renewed = site
        .done(Some("expired"), "refreshSession", fields, refresh)
        .await;
    let token = text(&renewed["tokens"]["accessToken"]);

    let new = "another horse battery";
    let change = json!({ "currentPassword": "not the password", "newPassword": new });
    let refused = site
        .change(Some(&token), "changePassword", "", change)
        .await;
    assert_eq!(refused["userErrors"][0]["code"], "CREDENTIALS_INVALID");
    site.done(
        Some(&token),
        "changePassword",
        "",
        json!({ "currentPassword": PASSWORD, "newPassword": new }),
    )
    .await;
    let login = json!({ "email": person.email, "password": new });
    let opened = site.done(None, "login", fields, login).await;
    site.until_revoked(&token).await;

    let token = text(&opened["tokens"]["accessToken"]);
    site.done(Some(&token), "logout", "", json!({})).await;
    site.until_revoked(&token).await;

    let refresh = "mutation($t: String!) { refreshSession(input: { refreshToken: $t }) { tokens { accessToken } } }";
    let ended = site
        .ask(
            None,
            refresh,
            json!({ "t": opened["tokens"]["refreshToken"] }),
        )
        .await;
    assert_eq!(ended["data"], json!({ "refreshSession": null }));
    assert_eq!(
        ended["errors"][0]["extensions"]["reason"],
        "REFRESH_TOKEN_INVALID"
    );
}

#[tokio::test]
async fn an_offer_is_written_changed_and_retired() {
    let site = Site::start().await;
    let token = site.login(&site.register("BUSINESS").await).await;
    let token = Some(token.as_str());
    let fields = "offer { id title description state version publishedAt organisation { name } }";
    let made = site
        .done(token, "createOffer", fields, offer("Zügig & günstig"))
        .await["offer"]
        .take();
    let id = &made["id"];
    assert_eq!(
        (&made["state"], &made["publishedAt"]),
        (&json!("DRAFT"), &Value::Null)
    );
    assert_eq!(made["organisation"]["name"], "Removals Ltd");

    let own = "{ offers(filter: { own: true, states: [DRAFT] }) { edges { node { id } } } }";
    let drafts = site.data(token, own, json!({})).await;
    assert_eq!(drafts["offers"]["edges"], json!([{ "node": { "id": id } }]));

    let update = json!({ "id": id, "title": "Schnell", "expectedVersion": made["version"] });
    let updated = site
        .done(token, "updateOffer", fields, update.clone())
        .await["offer"]
        .take();
    assert_eq!(
        (&updated["title"], &updated["description"]),
        (&json!("Schnell"), &made["description"])
    );

    let stale = site.change(token, "updateOffer", fields, update).await;
    assert_eq!(
        (&stale["offer"], &stale["userErrors"][0]["code"]),
        (&Value::Null, &json!("VERSION_MISMATCH"))
    );
    let nothing = site
        .change(token, "updateOffer", fields, json!({ "id": id }))
        .await;
    assert_eq!(
        (
            &nothing["userErrors"][0]["code"],
            &nothing["userErrors"][0]["field"]
        ),
        (&json!("FIELD_INVALID"), &Value::Null)
    );

    let published = site
        .done(token, "publishOffer", fields, json!({ "id": id }))
        .await;
    assert_eq!(published["offer"]["state"], "PUBLISHED");
    let retired = site
        .done(token, "retireOffer", fields, json!({ "id": id }))
        .await;
    assert_eq!(retired["offer"]["state"], "RETIRED");
    let late = site
        .change(
            token,
            "updateOffer",
            fields,
            json!({ "id": id, "title": "Late" }),
        )
        .await;
    assert_eq!(late["userErrors"][0]["code"], "OFFER_RETIRED");
}

#[tokio::test]
async fn bad_fields_are_told_by_their_place_in_the_input() {
    let site = Site::start().await;
    let token = site.login(&site.register("BUSINESS").await).await;
    let bad = json!({
        "title": "bidi \u{202e}", "description": "nul \u{0}", "kind": "CREW", "area": "Berlin Mitte",
        "price": { "amountMinor": -1, "currency": "EUR" },
    });
    let refused = site
        .change(Some(&token), "createOffer", "offer { id }", bad)
        .await;
    assert_eq!(refused["offer"], Value::Null);
    let errors = refused["userErrors"].as_array().unwrap();
    assert!(errors.iter().all(|error| error["code"] == "FIELD_INVALID"));
    let fields: Vec<_> = errors
        .iter()
        .map(|error| error["field"].to_string())
        .collect();
    for field in [r#"["title"]"#, r#"["description"]"#, r#"["area"]"#] {
        assert!(fields.contains(&field.to_owned()), "{field} in {fields:?}");
    }
    assert!(
        fields.iter().any(|field| field.starts_with(r#"["price""#)),
        "{fields:?}"
    );

    let create =
        "mutation($input: CreateOfferInput!) { createOffer(input: $input) { offer { id } } }";
    for amount in [
        json!(12.5),
        json!(9_007_199_254_740_992_i64),
        json!("12"),
        json!(1e300),
    ] {
        let mut input = offer("Priced");
        input["price"]["amountMinor"] = amount.clone();
        let refused = site
            .ask(Some(&token), create, json!({ "input": input }))
            .await;
        assert_eq!(
            refused["errors"][0]["extensions"]["code"], "INVALID_ARGUMENT",
            "{amount}"
        );
        assert!(refused.get("data").is_none(), "{amount}");
    }
    let mut input = offer("Identified");
    input["requestId"] = json!("not a uuid");
    let refused = site
        .ask(Some(&token), create, json!({ "input": input }))
        .await;
    assert!(refused.get("data").is_none(), "{refused}");

    let twice = site.register("MOVER").await;
    let input = json!({
        "email": twice.email.to_uppercase(), "password": PASSWORD, "displayName": "Somebody", "kind": "MOVER",
    });
    let refused = site.change(None, "register", "userId", input).await;
    assert_eq!(
        (&refused["userId"], &refused["userErrors"][0]["code"]),
        (&Value::Null, &json!("EMAIL_TAKEN"))
    );
}

#[tokio::test]
async fn ids_name_one_object_of_one_type() {
    let site = Site::start().await;
    let person = site.register("BUSINESS").await;
    let token = site.login(&person).await;
    let draft = site.draft(&token).await;
    let organisation = person.organisation_id.clone().unwrap();
    let node =
        "query($id: ID!) { node(id: $id) { __typename id ... on User { organisation { id } } } }";
    for (id, kind) in [
        (&person.id, "User"),
        (&organisation, "Organisation"),
        (&draft, "Offer"),
    ] {
        let data = site.data(Some(&token), node, json!({ "id": id })).await;
        assert_eq!(
            (&data["node"]["__typename"], &data["node"]["id"]),
            (&json!(kind), &json!(id))
        );
    }
    let data = site
        .data(Some(&token), node, json!({ "id": person.id }))
        .await;
    assert_eq!(data["node"]["organisation"]["id"], json!(organisation));

    let one = "query($id: ID!) { offer(id: $id) { id } }";
    let unknown_type = platform_graphql::GlobalId::encode(Unknown, Uuid::now_v7()).0;
    let unknown_offer =
        platform_graphql::GlobalId::encode(crate::ids::Kind::Offer, Uuid::now_v7()).0;
    for id in [&person.id, &organisation, &unknown_type, &unknown_offer] {
        assert_eq!(
            site.data(Some(&token), one, json!({ "id": id })).await,
            json!({ "offer": null })
        );
    }
    assert_eq!(
        site.data(None, node, json!({ "id": unknown_type })).await,
        json!({ "node": null })
    );
    assert_eq!(
        site.data(None, one, json!({ "id": draft })).await,
        json!({ "offer": null })
    );

    for bad in ["", "offer", "1", &Uuid::now_v7().to_string()] {
        for query in [one, node] {
            let answer = site.ask(Some(&token), query, json!({ "id": bad })).await;
            assert_eq!(
                answer["errors"][0]["extensions"]["reason"], "FIELD_INVALID",
                "{bad}"
            );
        }
        let vote = site
            .change(
                Some(&token),
                "castVote",
                "votes { up }",
                json!({ "offerId": bad, "value": "UP" }),
            )
            .await;
        let error = &vote["userErrors"][0];
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!("FIELD_INVALID"), &json!(["offerId"])),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn pages_follow_each_other_and_tokens_of_other_queries_are_refused() {
    let site = Site::start().await;
    let token = site.login(&site.register("BUSINESS").await).await;
    for _ in 0..5 {
        site.published(&token).await;
    }
    let page = "query($after: String, $order: OfferOrder) { offers(first: 2, after: $after, orderBy: $order) {
        edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage endCursor } } }";
    let mut seen = Vec::new();
    let mut after = Value::Null;
    loop {
        let data = site.data(None, page, json!({ "after": after })).await;
        let offers = &data["offers"];
        assert_eq!(
            offers["pageInfo"]["hasPreviousPage"],
            json!(!after.is_null())
        );
        seen.extend(
            offers["edges"]
                .as_array()
                .unwrap()
                .iter()
                .map(|edge| text(&edge["node"]["id"])),
        );
        if offers["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = offers["pageInfo"]["endCursor"].clone();
        let answer = site
            .ask(None, page, json!({ "after": after, "order": "PRICE" }))
            .await;
        assert_eq!(
            answer["errors"][0]["extensions"]["reason"],
            "PAGE_TOKEN_INVALID"
        );
    }
    assert_eq!(seen.len(), 5);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5);

    for first in [0, -1, 101] {
        let answer = site
            .ask(
                None,
                "query($n: Int) { offers(first: $n) { edges { cursor } } }",
                json!({ "n": first }),
            )
            .await;
        assert_eq!(
            answer["errors"][0]["extensions"]["reason"], "FIELD_INVALID",
            "{first}"
        );
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Unknown;

impl platform_graphql::Kind for Unknown {
    fn byte(self) -> u8 {
        200
    }

    fn of(_: u8) -> Option<Unknown> {
        None
    }
}
