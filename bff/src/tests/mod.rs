//! The schema over real services in processes of their own, two BFFs in this one.

mod access;
mod browser;
mod calls;
mod faults;
mod live;
mod nodes;
mod overload;
mod rate;
mod recommendation;
mod schema;
mod status;
mod story;
mod throttle;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use platform::Running;
use platform_testkit::{Issuer, Kafka, Stack, Vars, metric, secret, start, until};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::targets::{names, variable};

const PASSWORD: &str = "correct horse battery";
/// Where browsers see the BFFs, behind what balances the load.
const SITE: &str = "http://bff.test";

struct Site {
    stack: Stack,
    bffs: Vec<Running>,
    /// By which a BFF is started.
    vars: Vars,
    http: Client<HttpConnector, Full<bytes::Bytes>>,
    turn: AtomicUsize,
    _kafka: Kafka,
}

impl Site {
    /// With identity's own tokens.
    async fn start() -> Site {
        Site::with(None).await
    }

    /// With tokens of the test's making, where there is an issuer.
    async fn with(issuer: Option<&Issuer>) -> Site {
        Site::with_identity(issuer, Vars::new()).await
    }

    /// With variables for identity.
    async fn with_identity(issuer: Option<&Issuer>, own: Vars) -> Site {
        let kafka = platform_testkit::kafka();
        let mut trust = issuer.map(Issuer::vars).unwrap_or_default();
        trust.extend(kafka.vars());
        let mut identity = trust.clone();
        let service_secret = secret();
        let secrets = format!("bff={service_secret}");
        identity.insert("SERVICE_SECRETS".to_owned(), secrets);
        // Quick, and as good a password check as any for these tests.
        identity.insert("PASSWORD_MEMORY_KIB".to_owned(), "64".to_owned());
        identity.extend(own);
        let mut stack = Stack::of(names())
            .replicas("catalog", 2)
            .replicas("recommendations", 2);
        for service in names() {
            stack = stack.vars(service, trust.clone());
        }
        let stack = stack.vars("identity", identity).start().await;

        let own = format!("http://{}", stack.http_addr("identity", 0));
        let mut vars = Vars::from([
            (
                "JWKS_URL".to_owned(),
                format!("{own}/.well-known/jwks.json"),
            ),
            ("ISSUER_URL".to_owned(), own),
            ("PUBLIC_URL".to_owned(), SITE.to_owned()),
            ("SEAL_KEY".to_owned(), secret()),
            ("SERVICE_SECRET".to_owned(), service_secret),
        ]);
        vars.extend(names().map(|service| (variable(service), stack.grpc(service))));
        vars.extend(trust);
        let bffs = vec![
            start("bff", crate::start, vars.clone()).await,
            start("bff", crate::start, vars.clone()).await,
        ];
        let http = Client::builder(TokioExecutor::new()).build_http();
        Site {
            stack,
            bffs,
            vars,
            http,
            turn: AtomicUsize::new(0),
            _kafka: kafka,
        }
    }

    /// Sends a query to one BFF after the other, and answers what came back.
    async fn ask(&self, token: Option<&str>, query: &str, variables: Value) -> Value {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.ask_at(
            self.bffs[turn % self.bffs.len()].http.unwrap(),
            token,
            query,
            variables,
        )
        .await
    }

    async fn ask_at(
        &self,
        bff: SocketAddr,
        token: Option<&str>,
        query: &str,
        variables: Value,
    ) -> Value {
        let mut request =
            Request::post(format!("http://{bff}/graphql")).header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = json!({ "query": query, "variables": variables }).to_string();
        let response = self
            .http
            .request(request.body(body.into()).unwrap())
            .await
            .unwrap();
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    /// The `data` of an answer without errors.
    async fn data(&self, token: Option<&str>, query: &str, variables: Value) -> Value {
        let mut answer = self.ask(token, query, variables).await;
        assert!(answer.get("errors").is_none(), "{query}: {answer}");
        answer["data"].take()
    }

    /// What a mutation with one `input` answers in its payload, which asks for `fields`.
    async fn change(&self, token: Option<&str>, name: &str, fields: &str, input: Value) -> Value {
        let upper = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        let query = format!(
            "mutation($input: {upper}Input!) {{ {name}(input: $input) {{ {fields} userErrors {{ code message field }} }} }}"
        );
        self.data(token, &query, json!({ "input": input })).await[name].take()
    }

    /// As [`change`](Self::change), for one that must succeed.
    async fn done(&self, token: Option<&str>, name: &str, fields: &str, input: Value) -> Value {
        let payload = self.change(token, name, fields, input).await;
        assert_eq!(payload["userErrors"], json!([]), "{name}");
        payload
    }

    async fn register(&self, kind: &str) -> Person {
        let email = format!("{}@example.org", Uuid::now_v7());
        let name = (kind == "BUSINESS").then_some("Removals Ltd");
        let input = json!({
            "email": email, "password": PASSWORD, "displayName": "Somebody", "kind": kind, "organisationName": name,
        });
        let ids = self
            .done(None, "register", "userId organisationId", input)
            .await;
        Person {
            email,
            id: text(&ids["userId"]),
            organisation_id: ids["organisationId"].as_str().map(str::to_owned),
        }
    }

    async fn login(&self, person: &Person) -> String {
        let input = json!({ "email": person.email, "password": PASSWORD });
        let payload = self
            .done(None, "login", "tokens { accessToken }", input)
            .await;
        text(&payload["tokens"]["accessToken"])
    }

    async fn draft(&self, token: &str) -> String {
        let payload = self
            .done(
                Some(token),
                "createOffer",
                "offer { id }",
                offer("Two men and a van"),
            )
            .await;
        text(&payload["offer"]["id"])
    }

    async fn published(&self, token: &str) -> String {
        let id = self.draft(token).await;
        self.done(
            Some(token),
            "publishOffer",
            "offer { id }",
            json!({ "id": id }),
        )
        .await;
        id
    }

    /// Waits until both BFFs have heard that a token is void.
    async fn until_revoked(&self, token: &str) {
        for bff in &self.bffs {
            until("the token to be refused", async || {
                let query = "{ viewer { id } }";
                let answer = self
                    .ask_at(bff.http.unwrap(), Some(token), query, json!({}))
                    .await;
                let reason = &answer["errors"][0]["extensions"]["reason"];
                (reason == "TOKEN_REVOKED").then_some(())
            })
            .await;
        }
    }

    /// Calls that both BFFs have made to a service.
    async fn calls(&self, service: &str) -> u64 {
        let mut count = 0;
        for bff in &self.bffs {
            let server = format!("server=\"{service}\"");
            count += metric(
                bff.admin,
                "rpc_client_call_duration_seconds_count",
                &[&server],
            )
            .await;
        }
        count
    }
}

struct Person {
    email: String,
    id: String,
    organisation_id: Option<String>,
}

fn offer(title: &str) -> Value {
    json!({
        "title": title,
        "description": "Carries everything.\nAlso pianos.",
        "kind": "CREW",
        "area": "berlin-mitte",
        "price": { "amountMinor": 12_300, "currency": "EUR" },
    })
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}
