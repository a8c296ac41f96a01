use platform_testkit::{start_unready, until};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;

/// Status, head and body of `GET path`.
pub(super) async fn get(addr: std::net::SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nhost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

async fn key_set(replica: &Running) -> Value {
    let (status, head, body) = get(replica.http.unwrap(), "/.well-known/jwks.json").await;
    assert_eq!(status, 200);
    assert!(head.contains("cache-control: public, max-age=60"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_served_key_set_verifies_tokens() {
    let world = World::start().await;
    let (_, session) = world.somebody(UserKind::Mover).await;
    for replica in &world.replicas {
        let auth = AuthArgs {
            jwks_url: Some(format!(
                "http://{}/.well-known/jwks.json",
                replica.http.unwrap()
            )),
            ..world.auth.clone()
        };
        let caller = Verifier::new(&auth).verify(&session.access).await.unwrap();
        assert_eq!(caller.user().unwrap().id.to_string(), session.claims().sub);
        let keys = key_set(replica).await;
        let keys = keys["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0]["alg"], "RS256");
        assert!(keys[0].get("d").is_none(), "the public half only");
    }
}

#[tokio::test]
async fn the_discovery_document_names_the_key_set() {
    let world = World::start().await;
    let http = world.replicas[0].http.unwrap();
    let (status, head, body) = get(http, "/.well-known/openid-configuration").await;
    assert_eq!(status, 200);
    assert!(head.contains("cache-control: public"), "{head}");
    let document: Value = serde_json::from_str(&body).unwrap();
    let issuer = &world.auth.issuer_url;
    assert_eq!(document["issuer"], json!(issuer));
    assert_eq!(
        document["jwks_uri"],
        format!("{issuer}/.well-known/jwks.json")
    );
    assert_eq!(get(http, "/").await.0, 404);
}

#[tokio::test]
async fn replicas_that_start_together_make_one_key() {
    let db = platform_testkit::db(MIGRATORS).await;
    let mut vars = settings();
    vars.extend(db.vars());
    vars.insert("SEAL_KEY".to_owned(), platform_testkit::secret());
    vars.insert("ISSUER_URL".to_owned(), "http://127.0.0.1:1".to_owned());
    let (a, b, c) = tokio::join!(replica(&vars), replica(&vars), replica(&vars));
    let keys = key_set(&a).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert_eq!(keys, key_set(&b).await);
    assert_eq!(keys, key_set(&c).await);
}

#[tokio::test]
async fn the_key_set_has_every_key_that_is_not_retired() {
    let world = World::start().await;
    let insert = "INSERT INTO signing_keys
            (kid, algorithm, state, private_key, public_jwk, created_at, replaced_at)
        VALUES ($1, 'RS256', $2, '', jsonb_build_object('kid', $1), now(), now())";
    for (kid, state) in [
        ("next", "published"),
        ("last", "replaced"),
        ("gone", "retired"),
    ] {
        sqlx::query(insert)
            .bind(kid)
            .bind(state)
            .execute(&mut world.connect().await)
            .await
            .unwrap();
    }
    let keys = key_set(&replica(&world.vars).await).await;
    let kids: Vec<_> = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["kid"])
        .collect();
    assert_eq!(kids.len(), 3, "{kids:?}");
    assert_eq!(kids[1..], ["next", "last"]);
}

#[tokio::test]
async fn the_private_key_is_of_no_use_without_the_seal_key() {
    let world = World::start().await;
    let mut vars = world.vars.clone();
    vars.insert("SEAL_KEY".to_owned(), platform_testkit::secret());
    let other = start_unready::<Config, _>("identity", start, vars).await;
    until("readiness to name the cause", async || {
        let (status, _, body) = get(other.admin, "/ready").await;
        (status == 503 && body.contains("sealed with another SEAL_KEY")).then_some(())
    })
    .await;
    assert_eq!(
        get(other.http.unwrap(), "/.well-known/jwks.json").await.0,
        503
    );
}
