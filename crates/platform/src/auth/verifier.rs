use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use platform_contract::{PlatformReason, Voided};
use serde_json::{Map, Value};
use tonic::Status;

use super::keys::{Keys, Missing};
use super::lapse::{self, Watched};
use super::revoked::{Revoked, TOKEN_LIFETIME_MAX};
use super::{Caller, Claims, TOKEN_TYPE};
use crate::config::AuthArgs;
use crate::error::Refusal;

/// Tokens of ours are about 1 KB.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far clocks may differ.
pub(super) const LEEWAY_S: i64 = 5;
/// Verified tokens are believed this long without looking again.
const CACHED_S: i64 = 60;
/// Verified tokens kept, in each of two generations.
const CACHED_MAX: usize = 5_000;

/// Verifies access tokens against the issuer's keys.
pub struct Verifier {
    issuer: String,
    audience: String,
    keys: Arc<Keys>,
    cache: Mutex<Cache>,
    revoked: Arc<RwLock<Revoked>>,
}

#[derive(Default)]
struct Cache {
    young: HashMap<[u8; 32], Verified>,
    old: HashMap<[u8; 32], Verified>,
}

#[derive(Clone)]
struct Verified {
    caller: Caller,
    exp: i64,
    cached_until: i64,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Invalid(&'static str),
    Expired,
    Revoked,
    KeysUnreachable,
}

impl Verifier {
    /// A verifier; it asks for the keys when the first token comes.
    pub fn new(args: &AuthArgs) -> Verifier {
        Verifier {
            issuer: args.issuer_url.clone(),
            audience: args.token_audience.clone(),
            keys: Arc::new(Keys::new(&args.jwks_url())),
            cache: Mutex::default(),
            revoked: Arc::default(),
        }
    }

    /// Refuses from now on what an event has made void, until the last such token has expired.
    /// Fails if it does not name a user and a session.
    pub fn revoke(&self, voided: &Voided) -> Result<(), uuid::Error> {
        self.revoke_at(voided, crate::time::now().timestamp())
    }

    pub(super) fn revoke_at(&self, voided: &Voided, now: i64) -> Result<(), uuid::Error> {
        // The clock of the issuer may be ahead, and ours is not looked at too closely.
        let until = now + lifetime_max() + 2 * LEEWAY_S;
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        revoked.add(voided, now, until)
    }

    /// Who holds the token. `bearer` is the token alone, without the word `Bearer`.
    pub async fn verify(&self, bearer: &str) -> Result<Caller, Status> {
        let now = crate::time::now().timestamp();
        self.verify_at(bearer, now).await.map_err(Status::from)
    }

    /// Ends when the caller's token is no longer accepted: it has expired, or what it rests on was
    /// revoked. Answers what [`Verifier::verify`] would; never ends for nobody.
    ///
    /// What is revoked after the call is not missed, whenever the future is polled.
    pub fn lapse(
        &self,
        caller: &Caller,
    ) -> impl Future<Output = Status> + Send + Sync + 'static + use<> {
        let (expires_at, watched) = match caller {
            Caller::Nobody => (None, None),
            Caller::User(user) => {
                let watched = Watched::new(&self.revoked, user);
                (Some(user.expires_at), Some(watched))
            }
            Caller::System(system) => (Some(system.expires_at), None),
        };
        async move {
            let expired = async {
                match expires_at {
                    Some(at) => lapse::expired(at).await,
                    None => pending().await,
                }
            };
            let revoked = async {
                match watched {
                    Some(mut watched) => watched.revoked().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // In the order of `verify`.
                biased;
                () = expired => Fault::Expired.into(),
                () = revoked => Fault::Revoked.into(),
            }
        }
    }

    async fn verify_at(&self, token: &str, now: i64) -> Result<Caller, Fault> {
        let caller = self.believe(token, now).await?;
        // Last, and for what was in the cache as well.
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        match &caller {
            Caller::User(user) if revoked.holds(user) => Err(Fault::Revoked),
            _ => Ok(caller),
        }
    }

    /// Who holds the token, whatever became of them since it was made.
    async fn believe(&self, token: &str, now: i64) -> Result<Caller, Fault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Fault::Invalid("too large"));
        }
        let hash = hash(token);
        if let Some(verified) = self.cached(&hash, now) {
            return if expired(verified.exp, now) {
                Err(Fault::Expired)
            } else {
                Ok(verified.caller)
            };
        }
        let claims = self.claims(token).await?;
        self.check(&claims, now)?;
        let exp = claims.exp;
        let caller = Caller::from_claims(claims, token)
            .ok_or(Fault::Invalid("the claims contradict themselves"))?;
        let cached_until = now + CACHED_S;
        self.cache(
            hash,
            Verified {
                caller: caller.clone(),
                exp,
                cached_until,
            },
        );
        Ok(caller)
    }

    /// The claims of a token whose signature and form are good.
    async fn claims(&self, token: &str) -> Result<Claims, Fault> {
        let (message, signature) = token.rsplit_once('.').ok_or(Fault::Invalid("not a JWT"))?;
        let (header, claims) = message.split_once('.').ok_or(Fault::Invalid("not a JWT"))?;

        let header: Map<String, Value> =
            json(header).ok_or(Fault::Invalid("the header is not an object"))?;
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        let is_typed = text("typ").is_some_and(|typ| {
            typ.eq_ignore_ascii_case(TOKEN_TYPE) || typ.eq_ignore_ascii_case("application/at+jwt")
        });
        if !is_typed {
            return Err(Fault::Invalid("the type is not at+jwt"));
        }
        // Keys come from the issuer alone, and no extension is understood here.
        for name in ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"] {
            if header.contains_key(name) {
                return Err(Fault::Invalid("the header names a key or an extension"));
            }
        }
        let algorithm = text("alg").ok_or(Fault::Invalid("no algorithm"))?;
        let kid = text("kid").ok_or(Fault::Invalid("no key id"))?;
        let key = self.keys.get(kid).await.map_err(|missing| match missing {
            Missing::Unknown => Fault::Invalid("an unknown key"),
            Missing::Unreachable => Fault::KeysUnreachable,
        })?;
        // The key decides the algorithm; what the token says must only agree.
        if serde_json::to_value(key.algorithm)
            .ok()
            .as_ref()
            .and_then(Value::as_str)
            != Some(algorithm)
        {
            return Err(Fault::Invalid("not the algorithm of the key"));
        }
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, key.algorithm) {
            Ok(true) => {}
            _ => return Err(Fault::Invalid("the signature is wrong")),
        }
        json(claims).ok_or(Fault::Invalid("a claim is missing or of another type"))
    }

    fn check(&self, claims: &Claims, now: i64) -> Result<(), Fault> {
        if claims.iss != self.issuer {
            return Err(Fault::Invalid("another issuer"));
        }
        if claims.aud != self.audience {
            return Err(Fault::Invalid("another audience"));
        }
        if claims.nbf > now + LEEWAY_S || claims.iat > now + LEEWAY_S {
            return Err(Fault::Invalid("not yet valid"));
        }
        if claims.exp <= claims.iat || claims.client_id.is_empty() || claims.ver < 0 {
            return Err(Fault::Invalid("the claims contradict themselves"));
        }
        if claims.exp.saturating_sub(claims.iat) > lifetime_max() {
            return Err(Fault::Invalid("made for too long"));
        }
        if expired(claims.exp, now) {
            return Err(Fault::Expired);
        }
        Ok(())
    }

    fn cached(&self, hash: &[u8; 32], now: i64) -> Option<Verified> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = cache.young.get(hash).or_else(|| cache.old.get(hash))?;
        (verified.cached_until > now).then(|| verified.clone())
    }

    fn cache(&self, hash: [u8; 32], verified: Verified) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.young.len() >= CACHED_MAX {
            cache.old = std::mem::take(&mut cache.young);
        }
        cache.young.insert(hash, verified);
    }

    #[cfg(test)]
    pub(super) async fn verify_at_time(&self, token: &str, now: i64) -> Result<Caller, String> {
        self.verify_at(token, now)
            .await
            .map_err(|fault| format!("{fault:?}"))
    }

    #[cfg(test)]
    pub(super) fn cache_for_test(&self, n: u32, caller: Caller) {
        let verified = Verified {
            caller,
            exp: i64::MAX,
            cached_until: i64::MAX,
        };
        self.cache(hash(&n.to_string()), verified);
    }

    #[cfg(test)]
    pub(super) fn watched_count(&self) -> usize {
        self.revoked.read().unwrap().watched_count()
    }

    #[cfg(test)]
    pub(super) fn cached_count(&self) -> usize {
        let cache = self.cache.lock().unwrap();
        cache.young.len() + cache.old.len()
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Status {
        match fault {
            Fault::Invalid(why) => {
                tracing::debug!(why, "refused a token: {why}");
                Refusal::new(
                    PlatformReason::TokenInvalid,
                    "the access token is not valid",
                )
                .into()
            }
            Fault::Expired => {
                Refusal::new(PlatformReason::TokenExpired, "the access token has expired").into()
            }
            Fault::Revoked => Refusal::new(
                PlatformReason::TokenRevoked,
                "the session, role or password behind the access token is no more",
            )
            .into(),
            Fault::KeysUnreachable => Refusal::new(
                PlatformReason::DependencyUnavailable,
                "the keys of the token issuer are not available",
            )
            .into(),
        }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

fn lifetime_max() -> i64 {
    TOKEN_LIFETIME_MAX.as_secs().cast_signed()
}

fn expired(exp: i64, now: i64) -> bool {
    exp.saturating_add(LEEWAY_S) <= now
}

fn hash(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
