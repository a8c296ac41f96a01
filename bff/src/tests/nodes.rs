use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::Site;
use crate::ids::{Kind, encode};

const NODES: &str = "query($ids: [ID!]!) { nodes(ids: $ids) { id __typename
    ... on Offer { organisation { id } } ... on User { email } } }";

#[tokio::test]
async fn objects_of_all_types_come_by_one_call_for_each_type() {
    let site = Site::start().await;
    let person = site.register("BUSINESS").await;
    let token = site.login(&person).await;
    let organisation = person.organisation_id.clone().unwrap();
    let (one, two) = (site.published(&token).await, site.published(&token).await);
    let unknown = encode(Kind::Offer, &Uuid::now_v7().to_string()).unwrap();

    let before = (site.calls("catalog").await, site.calls("identity").await);
    let ids = json!([two, person.id, unknown, organisation, one, two]);
    let data = site.data(Some(&token), NODES, json!({ "ids": ids })).await;
    let after = (site.calls("catalog").await, site.calls("identity").await);
    let offer = |id: &str| json!({ "id": id, "__typename": "Offer", "organisation": { "id": organisation } });
    assert_eq!(
        data["nodes"],
        json!([
            offer(&two),
            { "id": person.id, "__typename": "User", "email": person.email },
            null,
            { "id": organisation, "__typename": "Organisation" },
            offer(&one),
            offer(&two),
        ])
    );
    // Users, organisations, and the organisations of offers.
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 3));

    let data = site.data(None, NODES, json!({ "ids": [] })).await;
    assert_eq!(data["nodes"], json!([]));
}

#[tokio::test]
async fn more_than_100_ids_and_text_that_is_no_id_are_refused() {
    let site = Site::start().await;
    let id = encode(Kind::Offer, &Uuid::now_v7().to_string()).unwrap();
    for (ids, fine) in [
        (vec![id.as_str(); 100], true),
        (vec![id.as_str(); 101], false),
        (vec![id.as_str(), "x"], false),
    ] {
        let answer = site.ask(None, NODES, json!({ "ids": ids })).await;
        if fine {
            assert_eq!(
                answer["data"]["nodes"].as_array().unwrap().len(),
                100,
                "{answer}"
            );
        } else {
            assert_eq!(answer["data"]["nodes"], Value::Null);
            assert_eq!(
                answer["errors"][0]["extensions"]["code"],
                "INVALID_ARGUMENT"
            );
        }
    }
}

#[tokio::test]
async fn nodes_of_a_service_that_is_down_are_null_with_an_error_each() {
    let site = Site::start().await;
    let person = site.register("BUSINESS").await;
    let token = site.login(&person).await;
    let offer = site.published(&token).await;
    let query =
        "query($ids: [ID!]!) { nodes(ids: $ids) { id } platformStatus { services { name } } }";
    let ids = json!({ "ids": [offer, person.id, offer] });
    site.data(Some(&token), query, ids.clone()).await;

    site.stack.kill("catalog", 0);
    site.stack.kill("catalog", 1);
    let began = Instant::now();
    let answer = site.ask(Some(&token), query, ids).await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        answer["data"]["nodes"],
        json!([null, { "id": person.id }, null])
    );
    assert!(answer["data"]["platformStatus"].is_object());
    let errors = answer["errors"].as_array().unwrap();
    let paths: Vec<_> = errors.iter().map(|error| error["path"].clone()).collect();
    assert_eq!(paths, [json!(["nodes", 0]), json!(["nodes", 2])]);
    for error in errors {
        assert_eq!(error["extensions"]["reason"], "DEPENDENCY_UNAVAILABLE");
    }
}
