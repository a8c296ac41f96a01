use platform_graphql::GlobalId;
use platform_testkit::Issuer;
use platform_testkit::access::{Principal, Table};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{PASSWORD, Person, Site, offer, schema, text};
use crate::ids::Kind;

/// What a root field is asked, by whom, and what has to exist for it.
struct Cast<'a> {
    site: &'a Site,
    issuer: &'a Issuer,
    owner: Person,
    other: Person,
}

#[tokio::test]
async fn everybody_may_do_what_the_table_says() {
    let issuer = Issuer::start().await;
    let site = Site::with(Some(&issuer)).await;
    let roots = schema::roots();
    let names = roots.iter().map(|(name, _)| name.as_str());
    let table = Table::parse(include_str!("../../access.tsv"));
    table
        .check(names, async |name, principal| {
            let cast = Cast {
                site: &site,
                issuer: &issuer,
                owner: site.register("BUSINESS").await,
                other: site.register("BUSINESS").await,
            };
            outcome(name, &cast.call(name, principal).await)
        })
        .await;
}

impl Cast<'_> {
    async fn call(&self, name: &str, principal: Principal) -> Value {
        let token = self.token(principal);
        let (query, variables) = self.valid(name).await;
        let token = token.as_deref();
        if query.starts_with("subscription") {
            let mut feed = self
                .site
                .follow(self.site.bff(0), token, &query, variables)
                .await;
            return feed.answer().await.expect("a feed begins with an answer");
        }
        self.site.ask(token, &query, variables).await
    }

    fn token(&self, principal: Principal) -> Option<String> {
        let as_owner = |person: &Person| {
            let organisation = uuid(person.organisation_id.as_ref().unwrap());
            self.issuer
                .user("user-business")
                .id(uuid(&person.id))
                .organisation(organisation, "owner")
        };
        Some(match principal {
            Principal::Nobody => return None,
            Principal::WrongRole => self
                .issuer
                .user("user-mover")
                .id(uuid(&self.owner.id))
                .roles(&["operator"])
                .sign(),
            Principal::OtherOrganisation => as_owner(&self.other).sign(),
            Principal::Expired => as_owner(&self.owner).expired().sign(),
            Principal::RightRole => as_owner(&self.owner).sign(),
            Principal::System => self.issuer.system("catalog").sign(),
        })
    }

    /// A request that is right in all but its caller.
    async fn valid(&self, name: &str) -> (String, Value) {
        let owner = self.token(Principal::RightRole).unwrap();
        let mutation = |fields: &str, input: Value| {
            let upper = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
            let query = format!(
                "mutation($input: {upper}Input!) {{ {name}(input: $input) {{ {fields} userErrors {{ code }} }} }}"
            );
            (query, json!({ "input": input }))
        };
        let credentials = json!({ "email": self.owner.email, "password": PASSWORD });
        match name {
            "node" | "offer" => {
                let id = self.site.draft(&owner).await;
                (
                    format!("query($id: ID!) {{ {name}(id: $id) {{ id }} }}"),
                    json!({ "id": id }),
                )
            }
            "nodes" => {
                let id = self.site.draft(&owner).await;
                let query = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }";
                (query.to_owned(), json!({ "ids": [id] }))
            }
            "platformStatus" => (
                "{ platformStatus { services { name state } } }".to_owned(),
                json!({}),
            ),
            "viewer" => ("{ viewer { id } }".to_owned(), json!({})),
            "offers" => (
                "{ offers(filter: { own: true }) { edges { cursor } } }".to_owned(),
                json!({}),
            ),
            "offerOfTheDay" => {
                self.site.published(&owner).await;
                let query = r#"{ offerOfTheDay(area: "berlin-mitte") { id } }"#;
                platform_testkit::until("the offer to be heard of", async || {
                    let data = self.site.data(None, query, json!({})).await;
                    (!data["offerOfTheDay"].is_null()).then_some(())
                })
                .await;
                (query.to_owned(), json!({}))
            }
            "offerVotes" => {
                let id = self.site.published(&owner).await;
                let query = "subscription($id: ID!) { offerVotes(offerId: $id) { reset } }";
                (query.to_owned(), json!({ "id": id }))
            }
            "offerEvents" => (
                "subscription { offerEvents { reset } }".to_owned(),
                json!({}),
            ),
            "session" => ("subscription { session { kind } }".to_owned(), json!({})),
            "register" => mutation(
                "userId",
                json!({
                    "email": format!("{}@example.org", Uuid::now_v7()), "password": PASSWORD,
                    "displayName": "Somebody", "kind": "MOVER",
                }),
            ),
            "login" => mutation("viewer { id }", credentials),
            "refreshSession" => {
                let login = self
                    .site
                    .done(None, "login", "tokens { refreshToken }", credentials)
                    .await;
                mutation(
                    "viewer { id }",
                    json!({ "refreshToken": login["tokens"]["refreshToken"] }),
                )
            }
            "logout" => mutation("", json!({})),
            "changePassword" => mutation(
                "",
                json!({ "currentPassword": PASSWORD, "newPassword": "another horse battery" }),
            ),
            "createOffer" => mutation("offer { id }", offer("Two men and a van")),
            "updateOffer" => mutation(
                "offer { id }",
                json!({ "id": self.site.draft(&owner).await, "title": "Three" }),
            ),
            "publishOffer" | "retireOffer" => mutation(
                "offer { id }",
                json!({ "id": self.site.draft(&owner).await }),
            ),
            "castVote" => mutation(
                "votes { up }",
                json!({ "offerId": self.site.published(&owner).await, "value": "UP" }),
            ),
            "retractVote" => mutation(
                "votes { up }",
                json!({ "offerId": self.site.published(&owner).await }),
            ),
            other => panic!("no valid request for {other}"),
        }
    }
}

fn uuid(id: &str) -> Uuid {
    GlobalId::<Kind>::parse(id).unwrap().id
}

/// What a cell may say of the answer.
fn outcome(name: &str, answer: &Value) -> Vec<String> {
    if let Some(error) = answer.get("errors") {
        assert_eq!(answer["data"][name], Value::Null, "{answer}");
        let extensions = &error[0]["extensions"];
        return vec![text(&extensions["reason"]), text(&extensions["code"])];
    }
    let field = &answer["data"][name];
    match field.get("userErrors").and_then(|errors| errors.get(0)) {
        Some(error) => vec![text(&error["code"])],
        None if field.is_null() || *field == json!([null]) => vec!["NULL".to_owned()],
        None => vec!["OK".to_owned()],
    }
}
