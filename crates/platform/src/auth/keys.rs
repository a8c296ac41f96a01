//! The issuer's public keys: fetched when first needed, kept while the issuer is away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::time::Instant;

/// A set of keys is a few kilobytes.
const SET_BYTES_MAX: usize = 64 * 1024;
/// More keys than an issuer ever publishes at once.
const KEYS_MAX: usize = 32;
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Anybody can name a key that does not exist; the issuer must not feel it.
const COOLDOWN: Duration = Duration::from_secs(30);
/// While the issuer is away the next try comes sooner: services start in any order.
const COOLDOWN_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A key that the issuer withdrew is forgotten after this time at the latest.
const REFRESH_AFTER: Duration = Duration::from_secs(300);

/// One public key, with the one algorithm that its signatures may have.
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// Why a key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The issuer has no such key, as far as is known.
    Unknown,
    /// The issuer was never reached, so that nothing is known.
    Unreachable,
}

pub(super) struct Keys {
    url: Option<Uri>,
    client: Client<HttpConnector, Empty<Bytes>>,
    known: Mutex<Known>,
    /// Held while fetching, so that there is one fetch at a time.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: Option<Arc<HashMap<String, Arc<Key>>>>,
    fetched_at: Option<Instant>,
    next_fetch: Option<Instant>,
}

impl Keys {
    pub(super) fn new(url: &str) -> Keys {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(FETCH_TIMEOUT));
        Keys {
            url: url.parse().ok(),
            client: Client::builder(TokioExecutor::new()).build(connector),
            known: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    /// The key called `kid`. An unknown one makes the set be fetched again, at most once per cooldown.
    pub(super) async fn get(self: &Arc<Self>, kid: &str) -> Result<Arc<Key>, Missing> {
        if let Some(key) = self.known_key(kid) {
            if self.is_old() {
                let keys = self.clone();
                tokio::spawn(async move {
                    if let Ok(_turn) = keys.fetching.try_lock()
                        && keys.may_fetch()
                    {
                        keys.refresh().await;
                    }
                });
            }
            return Ok(key);
        }
        let _turn = self.fetching.lock().await;
        // Somebody else may have fetched it while this call waited for its turn.
        if self.known_key(kid).is_none() && self.may_fetch() {
            self.refresh().await;
        }
        self.known_key(kid).ok_or_else(|| match self.known().keys {
            Some(_) => Missing::Unknown,
            None => Missing::Unreachable,
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_key(&self, kid: &str) -> Option<Arc<Key>> {
        self.known().keys.as_ref()?.get(kid).cloned()
    }

    fn is_old(&self) -> bool {
        let known = self.known();
        known
            .fetched_at
            .is_some_and(|at| at.elapsed() > REFRESH_AFTER)
            && known.next_fetch <= Some(Instant::now())
    }

    fn may_fetch(&self) -> bool {
        self.known()
            .next_fetch
            .is_none_or(|next| next <= Instant::now())
    }

    async fn refresh(&self) {
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.fetch())
            .await
            .unwrap_or_else(|_| Err("the issuer did not answer in time".to_owned()));
        let now = Instant::now();
        let mut known = self.known();
        match fetched {
            Ok(keys) => {
                known.keys = Some(Arc::new(keys));
                known.fetched_at = Some(now);
                known.next_fetch = Some(now + COOLDOWN);
            }
            Err(error) => {
                known.next_fetch = Some(now + COOLDOWN_AFTER_FAILURE);
                let known = known.keys.as_ref().map_or(0, |keys| keys.len());
                tracing::warn!(
                    error,
                    keys.known = known,
                    "could not fetch the issuer's keys: {error}"
                );
            }
        }
    }

    async fn fetch(&self) -> Result<HashMap<String, Arc<Key>>, String> {
        let url = self
            .url
            .clone()
            .ok_or("the address of the keys is not a URL")?;
        let request = Request::get(url)
            .header(http::header::ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| chain(&error))?;
        if response.status() != StatusCode::OK {
            return Err(format!("the issuer answered {}", response.status()));
        }
        let body = Limited::new(response.into_body(), SET_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| format!("the key set could not be read: {error}"))?
            .to_bytes();
        parse(&body)
    }
}

/// The usable keys of a set; what is of another kind, or not understood, is left out, as RFC 7517 asks.
fn parse(set: &[u8]) -> Result<HashMap<String, Arc<Key>>, String> {
    #[derive(serde::Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(set)
        .map_err(|error| format!("the answer is not a key set: {error}"))?;
    let keys: HashMap<_, _> = set
        .keys
        .into_iter()
        .take(KEYS_MAX)
        .filter_map(|jwk| usable(&serde_json::from_value(jwk).ok()?))
        .collect();
    if keys.is_empty() {
        return Err("the key set holds no usable key".to_owned());
    }
    Ok(keys)
}

fn usable(jwk: &Jwk) -> Option<(String, Arc<Key>)> {
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    if jwk
        .common
        .key_algorithm
        .is_some_and(|stated| stated != name)
    {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some((jwk.common.key_id.clone()?, Arc::new(Key { algorithm, key })))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
