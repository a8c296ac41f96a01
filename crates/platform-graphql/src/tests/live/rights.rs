use http::header::{COOKIE, SET_COOKIE};
use platform::sealed::Sealer;
use platform_contract::Voided;
use platform_testkit::issuer::Token;
use url::Url;

use super::*;
use crate::session::{Renew, Renewal, Sessions, Tokens};

const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "graphql-transport-ws");

async fn init(site: &Site, headers: &[(&str, &str)], payload: Value) -> Client {
    let mut all = vec![PROTOCOL];
    all.extend_from_slice(headers);
    let mut client = site.dial(&all).await.unwrap();
    client
        .say(json!({ "type": "connection_init", "payload": payload }))
        .await;
    client
}

#[tokio::test]
async fn the_caller_is_whoever_the_handshake_or_the_first_message_names() {
    let site = Site::new().await;
    let bearer = format!("Bearer {}", site.issuer.user("user-mover").sign());
    for mut client in [
        init(&site, &[("authorization", &bearer)], json!({})).await,
        init(&site, &[], json!({ "authorization": bearer })).await,
        init(&site, &[], json!({ "Authorization": bearer, "other": 1 })).await,
    ] {
        assert_eq!(client.hear().await["type"], "connection_ack");
        client.subscribe("1", "{ who }").await;
        let who = client.result("1").await["data"]["who"].to_string();
        assert!(who.starts_with("\"user:"), "{who}");
    }
    for (headers, payload, word) in [
        (
            vec![("authorization", bearer.as_str())],
            json!({ "authorization": bearer }),
            "CREDENTIALS_AMBIGUOUS",
        ),
        (
            vec![("authorization", "Bearer x")],
            json!({}),
            "TOKEN_INVALID",
        ),
        (
            vec![],
            json!({ "authorization": "Bearer x" }),
            "TOKEN_INVALID",
        ),
        (vec![], json!({ "authorization": 7 }), "TOKEN_INVALID"),
        (
            vec![],
            json!({ "authorization": bearer, "Authorization": bearer }),
            "TOKEN_INVALID",
        ),
    ] {
        let mut client = init(&site, &headers, payload).await;
        assert_eq!(client.closed().await, (4403, word.to_owned()));
    }
}

/// What makes a token void, and the word for it.
fn ends(site: &Site) -> Vec<(Token, Option<Voided>, &'static str)> {
    let user = || site.issuer.user("user-mover");
    let (subject, session) = (
        uuid::Uuid::now_v7().to_string(),
        uuid::Uuid::now_v7().to_string(),
    );
    let of = |subject: &str| user().claim("sub", subject);
    let now = platform::time::now().timestamp();
    vec![
        // It is accepted for five seconds longer, since clocks differ.
        (
            user()
                .claim("iat", now - 60)
                .claim("nbf", now - 60)
                .claim("exp", now - 4),
            None,
            "TOKEN_EXPIRED",
        ),
        (
            of(&subject).claim("sid", session.clone()),
            Some(Voided::Session {
                subject: subject.clone(),
                session,
            }),
            "TOKEN_REVOKED",
        ),
        (
            of(&subject),
            Some(Voided::Below {
                subject,
                access_version: 2,
            }),
            "TOKEN_REVOKED",
        ),
    ]
}

#[tokio::test]
async fn a_socket_ends_with_its_right_after_a_last_word() {
    let site = Site::new().await;
    for (token, voided, word) in ends(&site) {
        let mut client = site
            .open(json!({ "authorization": format!("Bearer {}", token.sign()) }))
            .await;
        client.subscribe("s", "subscription { session }").await;
        assert_eq!(client.result("s").await["data"]["session"], "OPEN");
        client.subscribe("q", "subscription { quiet }").await;
        client.result("q").await;
        if let Some(voided) = voided {
            site.verifier.revoke(&voided).unwrap();
        }
        assert_eq!(
            client.result("s").await["data"]["session"],
            "ENDED",
            "{word}"
        );
        assert_eq!(
            client.hear().await,
            json!({ "id": "s", "type": "complete" })
        );
        assert_eq!(client.closed().await, (4403, word.to_owned()));
    }
    site.until_operations(0).await;
    site.until_open(0).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_right_and_says_so() {
    let site = Site::new().await;
    for (token, voided, word) in ends(&site) {
        let mut request = post("subscription { quiet }");
        let bearer = format!("Bearer {}", token.sign());
        request
            .headers_mut()
            .insert("authorization", bearer.parse().unwrap());
        let mut reader = Reader::new(site.send(request).await);
        reader.next().await;
        if let Some(voided) = voided {
            site.verifier.revoke(&voided).unwrap();
        }
        let last = reader.next().await;
        assert_eq!(reason(&last), word);
        assert_eq!(last["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
        reader.complete().await;
    }
    site.until_open(0).await;
}

/// Gives the same successor always.
struct Desk(String);

impl Renew for Desk {
    fn renew<'a>(&'a self, _refresh_token: &'a str) -> Renewal<'a> {
        let now = platform::time::now().timestamp();
        let tokens = Tokens {
            access: self.0.clone(),
            access_until: now + 600,
            refresh: "next".to_owned(),
            refresh_until: now + 6_000,
        };
        Box::pin(async { Ok(tokens) })
    }
}

/// The cookie of somebody whose access token is about to end.
async fn cookie(site: &Site, sessions: &Arc<Sessions>) -> String {
    let mut from_page = http::HeaderMap::new();
    from_page.insert("origin", "http://site.example".parse().unwrap());
    let opened = sessions.open(&http::Method::POST, &from_page, &site.verifier);
    let jar = opened.await.ok().unwrap().jar;
    let now = platform::time::now().timestamp();
    jar.keep(Tokens {
        access: site.issuer.user("user-mover").sign(),
        access_until: now,
        refresh: "first".to_owned(),
        refresh_until: now + 6_000,
    })
    .unwrap();
    let mut set = http::HeaderMap::new();
    jar.write(&mut set);
    let line = set[SET_COOKIE].to_str().unwrap();
    line.split_once(';').unwrap().0.to_owned()
}

#[tokio::test]
async fn a_cookie_is_for_pages_of_this_site_and_renewed_on_the_way() {
    let mut made = None;
    let site = Site::serving(
        |_| {},
        |endpoint, issuer| {
            let url = Url::parse("http://site.example").unwrap();
            let desk = Desk(issuer.user("user-mover").sign());
            let sealer = Sealer::from_keys([7; 32], None);
            let sessions = Sessions::new(&url, crate::http::Origins::default(), sealer, desk);
            endpoint.sessions(made.insert(Arc::new(sessions)).clone())
        },
    )
    .await;
    let cookie = cookie(&site, &made.unwrap()).await;
    let cookie = (COOKIE.as_str(), cookie.as_str());
    for origin in ["http://evil.example", "null", "http://site.example:81"] {
        let (status, headers, answer) = site
            .dial(&[PROTOCOL, cookie, ("origin", origin)])
            .await
            .err()
            .unwrap();
        assert_eq!(
            (status, reason(&answer)),
            (StatusCode::FORBIDDEN, "ORIGIN_REFUSED")
        );
        assert!(!headers.contains_key(SET_COOKIE), "{origin}");
    }
    assert_eq!(site.live.open(), 0);
    let own = ("origin", "http://site.example");
    let (status, _, answer) = site
        .dial(&[PROTOCOL, cookie, own, ("authorization", "Bearer x")])
        .await
        .err()
        .unwrap();
    assert_eq!(
        (status, reason(&answer)),
        (StatusCode::BAD_REQUEST, "CREDENTIALS_AMBIGUOUS")
    );

    let mut client = init(&site, &[cookie, own], json!({})).await;
    let renewed = client.head[SET_COOKIE].to_str().unwrap();
    assert!(renewed.starts_with("session="), "{renewed}");
    assert_eq!(client.hear().await["type"], "connection_ack");
    client.subscribe("1", "{ who }").await;
    let who = client.result("1").await["data"]["who"].to_string();
    assert!(who.starts_with("\"user:"), "{who}");
    let mut client = init(
        &site,
        &[cookie, own],
        json!({ "authorization": "Bearer x" }),
    )
    .await;
    assert_eq!(
        client.closed().await,
        (4403, "CREDENTIALS_AMBIGUOUS".to_owned())
    );

    let mut request = Request::put("/graphql").header(cookie.0, cookie.1);
    request = request.header("origin", "http://evil.example");
    let answer = site.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}
