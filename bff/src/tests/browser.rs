//! What a browser sends: the cookie, and where the request was made.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, ORIGIN, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use platform_testkit::{Vars, until};
use serde_json::{Value, json};

use super::{PASSWORD, Person, SITE, Site, offer, text};

const LOGIN: &str = "mutation($input: LoginInput!) { login(input: $input) {
    tokens { accessToken refreshToken } viewer { id } userErrors { code field } } }";
const REFRESH: &str = "mutation($input: RefreshSessionInput!) { refreshSession(input: $input) {
    tokens { accessToken refreshToken } viewer { id } userErrors { code field } } }";
const VIEWER: &str = "{ viewer { id } }";

/// A browser with its cookies.
struct Browser<'a> {
    site: &'a Site,
    cookies: Mutex<BTreeMap<String, String>>,
}

/// An answer, without what a script may not see.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Browser<'_> {
    fn new(site: &Site) -> Browser<'_> {
        Browser {
            site,
            cookies: Mutex::default(),
        }
    }

    /// A second tab has the same cookies at the same time.
    fn tab(&self) -> Browser<'_> {
        Browser {
            site: self.site,
            cookies: Mutex::new(self.cookies.lock().unwrap().clone()),
        }
    }

    fn has_session(&self) -> bool {
        !self.cookies.lock().unwrap().is_empty()
    }

    /// Sends a request to this BFF as it is, and keeps the cookies of the answer.
    async fn send(
        &self,
        bff: usize,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let uri = format!("http://{}{path}", self.site.bffs[bff].http.unwrap());
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in self.cookies.lock().unwrap().iter() {
            request = request.header(COOKIE, format!("{name}={value}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let (head, body) = self.site.http.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert!(
            !String::from_utf8_lossy(&body).contains("eyJ"),
            "a token is in the answer"
        );
        for line in head.headers.get_all(SET_COOKIE) {
            let line = line.to_str().unwrap();
            assert!(
                line.contains("; HttpOnly") && line.contains("; SameSite=Strict"),
                "{line}"
            );
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            let mut cookies = self.cookies.lock().unwrap();
            if line.contains("Max-Age=0;") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Answer {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }

    /// What a script of the site asks.
    async fn ask(&self, bff: usize, query: &str, variables: Value) -> Answer {
        let headers = [
            (ORIGIN.as_str(), SITE),
            (CONTENT_TYPE.as_str(), "application/json"),
        ];
        let body = json!({ "query": query, "variables": variables }).to_string();
        self.send(bff, Method::POST, "/graphql", &headers, body)
            .await
    }

    async fn login(&self, person: &Person) -> Value {
        let input = json!({ "email": person.email, "password": PASSWORD, "session": "COOKIE" });
        self.ask(0, LOGIN, json!({ "input": input })).await.body
    }

    async fn viewer(&self, bff: usize) -> Value {
        self.ask(bff, VIEWER, json!({})).await.body["data"]["viewer"]["id"].take()
    }
}

#[tokio::test]
async fn a_browser_has_a_session_and_never_a_token() {
    let site = Site::start().await;
    let person = site.register("MOVER").await;
    let browser = Browser::new(&site);
    let payload = json!({ "tokens": null, "viewer": { "id": person.id }, "userErrors": [] });
    assert_eq!(browser.login(&person).await["data"]["login"], payload);
    for bff in [0, 1] {
        assert_eq!(browser.viewer(bff).await, json!(person.id));
    }

    // A cookie never buys a token, nor a token a cookie.
    for input in [
        json!({}),
        json!({ "session": "TOKENS" }),
        json!({ "session": "COOKIE", "refreshToken": "x" }),
    ] {
        let answer = browser.ask(0, REFRESH, json!({ "input": input })).await;
        let payload = &answer.body["data"]["refreshSession"];
        assert_eq!(
            payload["userErrors"][0]["field"],
            json!(["refreshToken"]),
            "{}",
            answer.body
        );
        assert!(payload["tokens"].is_null() && payload["viewer"].is_null());
    }
    let renew = json!({ "input": { "session": "COOKIE" } });
    let (left, right) = (browser.tab(), browser.tab());
    for tab in [&left, &right] {
        let answer = tab.ask(0, REFRESH, renew.clone()).await;
        assert_eq!(answer.body["data"]["refreshSession"], payload);
        assert!(answer.headers.contains_key(SET_COOKIE));
    }
    // Both tabs go on, with what either has now.
    assert_eq!(left.viewer(1).await, json!(person.id));
    assert_eq!(right.viewer(1).await, json!(person.id));
    let answer = right.ask(0, REFRESH, renew.clone()).await;
    assert_eq!(answer.body["data"]["refreshSession"], payload);

    let nobody = Browser::new(&site);
    let answer = nobody.ask(0, REFRESH, renew).await;
    let error = &answer.body["data"]["refreshSession"]["userErrors"][0];
    assert_eq!(error["field"], json!(["session"]));
}

#[tokio::test]
async fn logout_ends_the_session_and_takes_the_cookie_back() {
    let site = Site::start().await;
    let person = site.register("MOVER").await;
    let browser = Browser::new(&site);
    browser.login(&person).await;
    let other_tab = browser.tab();
    let logout = "mutation { logout(input: {}) { userErrors { code } } }";
    let answer = browser.ask(0, logout, json!({})).await;
    assert_eq!(answer.body["data"]["logout"], json!({ "userErrors": [] }));
    assert!(!browser.has_session());
    assert_eq!(browser.viewer(0).await, Value::Null);

    // A service may know before this replica does, which then answers nobody and keeps the cookie.
    until("the other tab to be logged out", async || {
        let viewer = other_tab.viewer(1).await;
        (viewer.is_null() && !other_tab.has_session()).then_some(())
    })
    .await;
    // It cannot know yet, and is not told off.
    let late = browser.tab();
    late.cookies
        .lock()
        .unwrap()
        .insert("session".to_owned(), "1.x".to_owned());
    let answer = late.ask(0, logout, json!({})).await;
    assert_eq!(answer.body["data"]["logout"], json!({ "userErrors": [] }));
    assert!(!late.has_session());
}

#[tokio::test]
async fn what_another_site_sends_with_the_cookie_has_no_effect() {
    let site = Site::start().await;
    let person = site.register("BUSINESS").await;
    let browser = Browser::new(&site);
    browser.login(&person).await;
    let create =
        "mutation($input: CreateOfferInput!) { createOffer(input: $input) { offer { id } } }";
    let body = json!({ "query": create, "variables": { "input": offer("Two men and a van") } });
    let body = body.to_string();
    let (json_type, form) = ("application/json", "text/plain");
    let evil = "http://evil.bff.test";
    for (origin, fetch_site, content_type, status) in [
        (Some(evil), "same-site", json_type, StatusCode::FORBIDDEN),
        (
            Some(evil),
            "same-site",
            form,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (Some("null"), "cross-site", json_type, StatusCode::FORBIDDEN),
        (None, "cross-site", json_type, StatusCode::FORBIDDEN),
        (
            Some(SITE),
            "same-origin",
            form,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
    ] {
        let mut headers = vec![
            (CONTENT_TYPE.as_str(), content_type),
            ("sec-fetch-site", fetch_site),
        ];
        headers.extend(origin.map(|origin| (ORIGIN.as_str(), origin)));
        let answer = browser
            .send(0, Method::POST, "/graphql", &headers, body.clone())
            .await;
        assert_eq!(answer.status, status, "{origin:?} {}", answer.body);
        assert!(answer.body["data"].is_null());
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    let by_get = "/graphql?query=mutation%7Blogout(input:%7B%7D)%7BuserErrors%7Bcode%7D%7D%7D";
    let headers = [("sec-fetch-site", "cross-site")];
    let answer = browser
        .send(0, Method::GET, by_get, &headers, String::new())
        .await;
    assert!(answer.status.is_client_error());

    let own = "{ offers(filter: { own: true }) { nodes { id } } }";
    let answer = browser.ask(0, own, json!({})).await;
    assert_eq!(
        answer.body["data"]["offers"]["nodes"],
        json!([]),
        "{}",
        answer.body
    );
    let answer = browser
        .ask(0, create, json!({ "input": offer("Ours") }))
        .await;
    assert!(
        answer.body["data"]["createOffer"]["offer"]["id"].is_string(),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_cookie_and_a_token_together_are_refused() {
    let site = Site::start().await;
    let person = site.register("MOVER").await;
    let token = site.login(&person).await;
    let browser = Browser::new(&site);
    browser.login(&person).await;
    let bearer = format!("Bearer {token}");
    let headers = [
        (ORIGIN.as_str(), SITE),
        (CONTENT_TYPE.as_str(), "application/json"),
        (AUTHORIZATION.as_str(), bearer.as_str()),
    ];
    let body = json!({ "query": VIEWER }).to_string();
    let answer = browser
        .send(0, Method::POST, "/graphql", &headers, body)
        .await;
    let reason = text(&answer.body["errors"][0]["extensions"]["reason"]);
    assert_eq!(reason, "CREDENTIALS_AMBIGUOUS");
    assert!(answer.body.get("data").is_none());
}

#[tokio::test]
async fn the_access_token_in_the_cookie_is_renewed_before_it_ends() {
    let life = Vars::from([("ACCESS_TOKEN_TTL".to_owned(), "4s".to_owned())]);
    let site = Site::with_identity(None, life).await;
    let person = site.register("MOVER").await;
    let browser = Browser::new(&site);
    browser.login(&person).await;
    let first = browser.cookies.lock().unwrap().clone();
    for (tab, bff) in [(browser.tab(), 0), (browser.tab(), 1)] {
        until("the cookie to be renewed", async || {
            assert_eq!(tab.viewer(bff).await, json!(person.id));
            (*tab.cookies.lock().unwrap() != first).then_some(())
        })
        .await;
    }
}
