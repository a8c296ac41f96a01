//! An issuer of access tokens, for services under test: good tokens and every kind of bad one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::Vars;

const KEY_ID: &str = "test-key";
const AUDIENCE: &str = "test";
const LIFETIME: Duration = Duration::from_secs(600);

/// Making a key takes a moment, and one is as good as another.
static KEY: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).expect("a key of 2048 bits"));

/// Serves its key set on a port of its own, until dropped.
pub struct Issuer {
    /// Where it listens.
    pub addr: SocketAddr,
    fetches: Arc<AtomicU32>,
    server: JoinHandle<()>,
}

impl Issuer {
    /// Starts on port 0.
    pub async fn start() -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let fetches = Arc::new(AtomicU32::new(0));
        let counter = fetches.clone();
        let server = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let counter = counter.clone();
                let answer = service_fn(move |request| {
                    let response = answer(addr, &counter, &request);
                    async { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Issuer {
            addr,
            fetches,
            server,
        }
    }

    /// The variables by which a service finds and trusts this issuer.
    pub fn vars(&self) -> Vars {
        Vars::from([
            ("ISSUER_URL".to_owned(), self.url()),
            (
                "JWKS_URL".to_owned(),
                format!("{}/.well-known/jwks.json", self.url()),
            ),
            ("TOKEN_AUDIENCE".to_owned(), AUDIENCE.to_owned()),
        ])
    }

    /// Its name, as it stands in `iss`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How often the key set was fetched.
    pub fn fetches(&self) -> u32 {
        self.fetches.load(Ordering::SeqCst)
    }

    /// A token for a new user of a kind, who holds the role of that kind: `user-mover`.
    pub fn user(&self, kind: &str) -> Token {
        self.token(&Uuid::now_v7().to_string(), kind, json!([kind]))
    }

    /// A token for a service.
    pub fn system(&self, name: &str) -> Token {
        self.token(name, "system", json!([]))
    }

    fn token(&self, subject: &str, kind: &str, roles: Value) -> Token {
        let now = unix_now();
        let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": KEY_ID });
        let claims = json!({
            "iss": self.url(),
            "aud": AUDIENCE,
            "sub": subject,
            "client_id": "test",
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME.as_secs(),
            "jti": Uuid::now_v7(),
            "sid": Uuid::now_v7(),
            "kind": kind,
            "roles": roles,
            "ver": 1,
        });
        Token {
            header: object(header),
            claims: object(claims),
        }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn answer(
    addr: SocketAddr,
    fetches: &AtomicU32,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    let document = match request.uri().path() {
        "/.well-known/jwks.json" => {
            fetches.fetch_add(1, Ordering::SeqCst);
            jwks()
        }
        "/.well-known/openid-configuration" => json!({
            "issuer": format!("http://{addr}"),
            "jwks_uri": format!("http://{addr}/.well-known/jwks.json"),
        }),
        _ => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
    };
    Response::builder()
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(document.to_string())))
        .unwrap()
}

fn jwks() -> Value {
    let key = KEY.public_key();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({ "keys": [{
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": KEY_ID,
        "n": number(key.modulus().big_endian_without_leading_zero()),
        "e": number(key.exponent().big_endian_without_leading_zero()),
    }] })
}

/// A token to be, with good claims until they are changed.
#[derive(Clone)]
pub struct Token {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Token {
    /// Sets any claim to anything.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Token {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Token {
        self.claims.remove(name);
        self
    }

    /// Sets any field of the header to anything.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Token {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// For this user.
    #[must_use]
    pub fn id(self, id: Uuid) -> Token {
        self.claim("sub", id.to_string())
    }

    /// With these global roles.
    #[must_use]
    pub fn roles(self, roles: &[&str]) -> Token {
        self.claim("roles", json!(roles))
    }

    /// Acting for an organisation, as `owner`, `manager` or `member`.
    #[must_use]
    pub fn organisation(self, id: Uuid, role: &str) -> Token {
        self.claim("org", id.to_string()).claim("org_role", role)
    }

    /// Issued an hour ago and over since.
    #[must_use]
    pub fn expired(self) -> Token {
        let past = unix_now() - 3600;
        self.claim("iat", past)
            .claim("nbf", past)
            .claim("exp", past + LIFETIME.as_secs())
    }

    /// The id of the user; panics for a service.
    pub fn user_id(&self) -> Uuid {
        let subject = self.claims["sub"].as_str().expect("a subject");
        Uuid::try_parse(subject).expect("the subject is a user")
    }

    /// Signed as a good issuer does it.
    pub fn sign(&self) -> String {
        signed(&self.input())
    }

    /// Algorithm `none`, and no signature.
    pub fn unsigned(self) -> String {
        format!("{}.", self.header("alg", "none").input())
    }

    /// Algorithm `HS256`, with the public key as the secret.
    pub fn signed_with_public_key_as_secret(self) -> String {
        let input = self.header("alg", "HS256").input();
        let public = KEY.public_key().as_der().expect("a public key has a form");
        let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_ref());
        let tag = hmac::sign(&key, input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// Signed by a key that nobody published.
    pub fn signed_by_a_stranger(&self) -> String {
        let key = KeyPair::generate(KeySize::Rsa2048).expect("a key of 2048 bits");
        signed_by(&key, &self.input())
    }

    fn input(&self) -> String {
        input(
            &Value::Object(self.header.clone()).to_string(),
            &Value::Object(self.claims.clone()).to_string(),
        )
    }
}

/// A correctly signed token of any two texts, also of such as are not JSON or repeat a claim.
pub fn sign_raw(header: &str, claims: &str) -> String {
    signed(&input(header, claims))
}

fn input(header: &str, claims: &str) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    )
}

fn signed(input: &str) -> String {
    signed_by(&KEY, input)
}

fn signed_by(key: &KeyPair, input: &str) -> String {
    let mut tag = vec![0; key.public_modulus_len()];
    key.sign(
        &signature::RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        input.as_bytes(),
        &mut tag,
    )
    .expect("the key signs");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is not an object"),
    }
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is right")
        .as_secs()
}

#[cfg(test)]
mod tests {
    use platform::auth::{Caller, Verifier};
    use platform::config::{AuthArgs, parse};
    use platform::error::Details;

    use super::*;

    async fn verdict(issuer: &Issuer, token: &str) -> Result<Caller, String> {
        let args: AuthArgs = parse("test", &issuer.vars()).unwrap();
        let caller = Verifier::new(&args).verify(token).await;
        caller.map_err(|status| Details::of(&status).reason.unwrap())
    }

    #[tokio::test]
    async fn good_tokens_are_believed() {
        let issuer = Issuer::start().await;
        let organisation = Uuid::now_v7();
        let token = issuer.user("user-test").organisation(organisation, "owner");
        let caller = verdict(&issuer, &token.sign()).await.unwrap();
        assert_eq!(caller.principal(), format!("user:{}", token.user_id()));
        let user = caller.user().unwrap();
        assert_eq!(user.organisation.map(|(id, _)| id), Some(organisation));
        assert_eq!(issuer.fetches(), 1);

        let service = issuer.system("catalog").sign();
        let caller = verdict(&issuer, &service).await.unwrap();
        assert_eq!(caller.principal(), "system:catalog");
    }

    #[tokio::test]
    async fn forged_tokens_are_refused() {
        let issuer = Issuer::start().await;
        let good = issuer.user("user-test");
        let other = Issuer::start().await;
        let mut forged = vec![
            good.clone().unsigned(),
            good.clone().signed_with_public_key_as_secret(),
            good.signed_by_a_stranger(),
            good.clone().claim("aud", "others").sign(),
            good.clone().claim("nbf", unix_now() + 600).sign(),
            good.clone().claim("org", Uuid::now_v7().to_string()).sign(),
            good.clone().header("alg", "RS512").sign(),
            good.clone().header("typ", "JWT").sign(),
            good.clone().header("crit", json!(["b64"])).sign(),
            good.clone().header("jku", other.url()).sign(),
            other.user("user-test").sign(),
            sign_raw("{}", "{}"),
            sign_raw("not JSON", "at all"),
        ];
        for claim in good.claims.keys() {
            forged.push(good.clone().without(claim).sign());
            forged.push(good.clone().claim(claim, Value::Null).sign());
            forged.push(good.clone().claim(claim, json!({ "a": 1 })).sign());
        }
        for (number, token) in forged.iter().enumerate() {
            let verdict = verdict(&issuer, token).await;
            assert_eq!(
                verdict.unwrap_err(),
                "TOKEN_INVALID",
                "number {number}: {token}"
            );
        }
        let expired = verdict(&issuer, &good.expired().sign()).await;
        assert_eq!(expired.unwrap_err(), "TOKEN_EXPIRED");
    }
}
