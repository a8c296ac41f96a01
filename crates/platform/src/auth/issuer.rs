//! An issuer for tests, which also makes the tokens that no issuer would.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{Claims, Verifier};
use crate::config::AuthArgs;

pub(crate) const AUDIENCE: &str = "api";

/// Keys, and an HTTP server that publishes them.
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) fetches: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
    keys: Keys,
}

pub(crate) struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    pub(crate) async fn start() -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Issuer::serve(listener, Keys::generate())
    }

    pub(crate) fn serve(listener: TcpListener, keys: Keys) -> Issuer {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fetches = Arc::new(AtomicUsize::new(0));
        let (set, count) = (keys.set().to_string(), fetches.clone());
        let server = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(socket.read_u8().await.unwrap());
                }
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    set.len()
                );
                socket
                    .write_all(format!("{head}{set}").as_bytes())
                    .await
                    .unwrap();
            }
        });
        Issuer {
            url,
            fetches,
            server,
            keys,
        }
    }

    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::new(&self.args())
    }

    pub(crate) fn args(&self) -> AuthArgs {
        AuthArgs {
            issuer_url: self.url.clone(),
            jwks_url: None,
            token_audience: AUDIENCE.to_owned(),
        }
    }

    pub(crate) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// The server goes away; the keys stay good.
    pub(crate) async fn stop(&mut self) {
        self.server.abort();
        assert!((&mut self.server).await.unwrap_err().is_cancelled());
    }

    /// Good claims of a user.
    pub(crate) fn claims(&self) -> Claims {
        let now = crate::time::now().timestamp();
        Claims {
            iss: self.url.clone(),
            aud: AUDIENCE.to_owned(),
            sub: Uuid::now_v7().to_string(),
            client_id: "web".to_owned(),
            iat: now,
            nbf: now,
            exp: now + 600,
            jti: Uuid::now_v7(),
            sid: Uuid::now_v7(),
            kind: "user-business".to_owned(),
            roles: vec!["user-business".to_owned()],
            ver: 1,
            org: None,
            org_role: None,
        }
    }

    /// A good token of a user.
    pub(crate) fn user(&self) -> String {
        self.token(&json!(self.claims()))
    }

    /// A good token of a user with these global roles.
    pub(crate) fn user_with(&self, roles: &[&str]) -> String {
        let roles = roles.iter().map(|role| role.to_string()).collect();
        self.token(&json!(Claims {
            roles,
            ..self.claims()
        }))
    }

    /// A good token of a service.
    pub(crate) fn system(&self, name: &str) -> String {
        let claims = self.claims();
        self.token(&json!(Claims {
            sub: name.to_owned(),
            kind: "system".to_owned(),
            roles: vec![],
            ..claims
        }))
    }

    /// These claims, well signed.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(
            "RS256",
            &json!({"alg": "RS256", "typ": "at+jwt", "kid": "rsa"}),
            claims,
        )
    }

    /// Any header over any claims, signed by `algorithm`.
    pub(crate) fn sign(&self, algorithm: &str, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        format!(
            "{message}.{}",
            b64(self.keys.sign(algorithm, message.as_bytes()))
        )
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Keys {
    pub(crate) fn generate() -> Keys {
        Keys {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn set(&self) -> Value {
        let public = self.rsa.public_key();
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
        json!({"keys": [
            {"kid": "rsa", "kty": "RSA", "alg": "RS256", "use": "sig",
                "n": b64(public.modulus().big_endian_without_leading_zero()),
                "e": b64(public.exponent().big_endian_without_leading_zero())},
            {"kid": "ec", "kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)},
            {"kid": "ed", "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": b64(self.ed.public_key().as_ref())},
            {"kid": "secret", "kty": "oct", "alg": "HS256", "k": b64("a secret that is no secret")},
            {"kid": "lies", "kty": "EC", "crv": "P-256", "alg": "ES384", "x": b64(x), "y": b64(y)},
            "not a key",
        ]})
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        match algorithm {
            "RS256" | "PS256" => {
                let der: Pkcs8V1Der = self.rsa.as_der().unwrap();
                let pair = signature::RsaKeyPair::from_pkcs8(der.as_ref()).unwrap();
                let mut out = vec![0; pair.public_modulus_len()];
                let encoding: &'static dyn signature::RsaEncoding = if algorithm == "RS256" {
                    &RSA_PKCS1_SHA256
                } else {
                    &signature::RSA_PSS_SHA256
                };
                pair.sign(encoding, &rng, message, &mut out).unwrap();
                out
            }
            "ES256" => self.ec.sign(&rng, message).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(message).as_ref().to_vec(),
            // With the public key as the secret, as the key set shows it.
            "HS256" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.rsa.public_key().as_ref());
                hmac::sign(&key, message).as_ref().to_vec()
            }
            "none" => Vec::new(),
            other => panic!("no key for {other}"),
        }
    }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
