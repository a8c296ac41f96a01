use serde_json::{Value, json};

use super::Site;

const PAGE: &str = "query($fields: Boolean!) { offers(first: 100) { nodes { id } edges { node {
    id votes { up down mine version } ... @include(if: $fields) { organisation { id name } same: organisation { version } }
} } } }";

const LIST: &str = "{ offers(first: 100) { nodes {
    id title price { amountMinor currency } organisation { id name }
} } }";

#[tokio::test]
async fn a_page_of_100_offers_makes_one_call_to_each_service_concerned() {
    let site = Site::start().await;
    for _ in 0..2 {
        let token = site.login(&site.register("BUSINESS").await).await;
        for _ in 0..50 {
            site.published(&token).await;
        }
    }
    let mover = site.login(&site.register("MOVER").await).await;

    let before = (site.calls("catalog").await, site.calls("identity").await);
    let data = site
        .data(Some(&mover), PAGE, json!({ "fields": true }))
        .await;
    let after = (site.calls("catalog").await, site.calls("identity").await);
    let edges = data["offers"]["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 100);
    let nodes = data["offers"]["nodes"].as_array().unwrap();
    assert!(
        nodes
            .iter()
            .map(|node| &node["id"])
            .eq(edges.iter().map(|edge| &edge["node"]["id"]))
    );
    assert!(
        edges
            .iter()
            .all(|edge| edge["node"]["organisation"]["name"] == "Removals Ltd")
    );
    assert!(edges.iter().all(|edge| edge["node"]["votes"]["up"] == 0));
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));

    site.data(Some(&mover), PAGE, json!({ "fields": false }))
        .await;
    let without = (site.calls("catalog").await, site.calls("identity").await);
    assert_eq!((without.0 - after.0, without.1 - after.1), (1, 0));

    let data = site.data(None, LIST, json!({})).await;
    let listed = (site.calls("catalog").await, site.calls("identity").await);
    assert_eq!((listed.0 - without.0, listed.1 - without.1), (1, 1));
    assert_eq!(
        data["offers"]["nodes"][99]["organisation"]["name"],
        "Removals Ltd"
    );
}

#[tokio::test]
async fn what_the_contract_excludes_costs_no_call() {
    let site = Site::start().await;
    let mover = site.login(&site.register("MOVER").await).await;
    let before = site.calls("catalog").await;
    let create =
        "mutation($input: CreateOfferInput!) { createOffer(input: $input) { offer { id } } }";
    for (token, reason, code) in [
        (None, "TOKEN_MISSING", "UNAUTHENTICATED"),
        (Some(mover.as_str()), "ROLE_REQUIRED", "PERMISSION_DENIED"),
        (Some("forged"), "TOKEN_INVALID", "UNAUTHENTICATED"),
    ] {
        let answer = site
            .ask(token, create, json!({ "input": super::offer("No") }))
            .await;
        assert_eq!(answer["data"], json!({ "createOffer": null }));
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(
            (&extensions["reason"], &extensions["code"]),
            (&json!(reason), &json!(code))
        );
        assert_eq!(answer["errors"][0]["path"], json!(["createOffer"]));
    }
    assert_eq!(site.calls("catalog").await, before);
}

#[tokio::test]
async fn a_repeated_request_id_is_one_offer() {
    let site = Site::start().await;
    let token = site.login(&site.register("BUSINESS").await).await;
    let mut input = super::offer("Once");
    input["requestId"] = json!(uuid::Uuid::now_v7());
    let first = site
        .done(Some(&token), "createOffer", "offer { id }", input.clone())
        .await;
    let second = site
        .done(Some(&token), "createOffer", "offer { id }", input.clone())
        .await;
    assert_eq!(first["offer"]["id"], second["offer"]["id"]);
    input["title"] = json!("Twice");
    let other = site
        .change(Some(&token), "createOffer", "offer { id }", input)
        .await;
    assert_eq!(
        (&other["offer"], &other["userErrors"][0]["code"]),
        (&Value::Null, &json!("REQUEST_ID_REUSED"))
    );
}
