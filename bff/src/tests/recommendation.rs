use platform_testkit::{start, until};
use serde_json::{Value, json};

use super::{Site, offer, text};

const QUERY: &str = "query($area: String!) { offerOfTheDay(area: $area) { id state votes { up mine } organisation { name } } }";

impl Site {
    async fn offer_of_the_day(&self, token: Option<&str>, area: &str) -> Value {
        let mut data = self.data(token, QUERY, json!({ "area": area })).await;
        data["offerOfTheDay"].take()
    }

    async fn published_in(&self, token: &str, area: &str) -> String {
        let mut input = offer("Two men and a van");
        input["area"] = json!(area);
        let draft = self
            .done(Some(token), "createOffer", "offer { id }", input)
            .await;
        let id = text(&draft["offer"]["id"]);
        self.done(
            Some(token),
            "publishOffer",
            "offer { id }",
            json!({ "id": id }),
        )
        .await;
        id
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_area_has_the_same_offer_of_the_day_for_everybody_until_it_is_retired() {
    let site = Site::start().await;
    let seller = site.login(&site.register("BUSINESS").await).await;
    let voter = site.login(&site.register("MOVER").await).await;
    assert_eq!(site.offer_of_the_day(None, "leipzig").await, Value::Null);

    let first = site.published_in(&seller, "leipzig").await;
    let second = site.published_in(&seller, "leipzig").await;
    let vote = json!({ "offerId": second, "value": "UP" });
    site.done(Some(&voter), "castVote", "votes { up }", vote)
        .await;
    let chosen = until("an offer of the day", async || {
        let chosen = site.offer_of_the_day(Some(&voter), "leipzig").await;
        (!chosen.is_null()).then_some(chosen)
    })
    .await;
    // Which one depends on what was heard by then.
    let id = text(&chosen["id"]);
    let other = if id == first { &second } else { &first };
    assert!(id == first || id == second);
    assert_eq!(chosen["organisation"]["name"], "Removals Ltd");
    assert_eq!(chosen["state"], "PUBLISHED");
    for token in [None, Some(seller.as_str()), Some(voter.as_str())] {
        for _ in &site.bffs {
            assert_eq!(site.offer_of_the_day(token, "leipzig").await["id"], id);
        }
    }

    site.done(
        Some(&seller),
        "retireOffer",
        "offer { id }",
        json!({ "id": id }),
    )
    .await;
    until("the other offer", async || {
        let chosen = site.offer_of_the_day(None, "leipzig").await;
        (chosen["id"] == **other).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_area_is_told() {
    let site = Site::start().await;
    let answer = site.ask(None, QUERY, json!({ "area": "Berlin!" })).await;
    assert_eq!(answer["data"]["offerOfTheDay"], Value::Null);
    assert_eq!(answer["errors"][0]["extensions"]["reason"], "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_recommendations_a_bff_starts_and_answers_everything_else() {
    let site = Site::start().await;
    let token = site.login(&site.register("BUSINESS").await).await;
    let id = site.published(&token).await;
    for replica in [0, 1] {
        site.stack.kill("recommendations", replica);
    }
    let started = start("bff", crate::start, site.vars.clone()).await;
    let page = r#"{ viewer { id } offers { edges { node { id } } } offerOfTheDay(area: "berlin-mitte") { id } }"#;
    for bff in [&started, &site.bffs[0]] {
        let answer = site
            .ask_at(bff.http.unwrap(), Some(&token), page, json!({}))
            .await;
        let data = &answer["data"];
        assert!(data["viewer"]["id"].is_string(), "{answer}");
        assert_eq!(data["offers"]["edges"][0]["node"]["id"], id);
        assert_eq!(data["offerOfTheDay"], Value::Null);
        let errors = answer["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0]["path"], json!(["offerOfTheDay"]));
        assert_eq!(errors[0]["extensions"]["code"], "UNAVAILABLE");
        assert_eq!(errors[0]["extensions"]["retryable"], true);
    }
}
