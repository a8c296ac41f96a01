//! The keys that sign access tokens. They live sealed in the database; replicas read them from there,
//! so that a key made or rotated by one is used by all.

pub(crate) mod command;
pub(crate) mod rotation;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context as _;
use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::{KeySize, PublicKeyComponents},
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use platform::sealed::Sealer;
use platform_db::Db;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    audit::{Action, By},
    domain::Error,
    store::{
        self,
        signing_key::{Row, State},
    },
};

const PURPOSE: &str = "signing-key";
/// How soon a replica knows what another one did to the keys.
const REREAD_AFTER: Duration = Duration::from_secs(5);
/// How long a replica signs with what it has read: another one may have replaced the key since.
/// Verifying goes on without that limit.
const SIGNS_FOR: Duration = Duration::from_secs(600);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const SAID_EVERY: Duration = Duration::from_secs(60);

/// The keys as they were last read.
pub(crate) struct Keys(RwLock<Result<Arc<Set>, String>>);

pub(crate) struct Set {
    read_at: Instant,
    kid: String,
    pair: RsaKeyPair,
    /// RFC 7517, the public halves of all keys whose tokens may be valid.
    pub(crate) jwks: Value,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self(RwLock::new(Err(
            "the signing keys were not read yet".to_owned()
        )))
    }

    /// The keys, or why there are none.
    pub(crate) fn current(&self) -> Result<Arc<Set>, String> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn replace(&self, set: Set) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Ok(Arc::new(set));
    }

    /// Keys that were read before stay: they are as good as they were.
    fn fail(&self, problem: String) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if current.is_err() {
            *current = Err(problem);
        }
    }

    /// A JWT of type `at+jwt` (RFC 9068), signed with the current key.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        let set = self.current().map_err(|_| Error::KeysNotLoaded)?;
        if set.read_at.elapsed() > SIGNS_FOR {
            return Err(Error::KeysNotLoaded);
        }
        set.sign(claims).map_err(Error::Fault)
    }

    /// Reads the keys again and again, and makes the first one.
    pub(crate) async fn keep_loaded(
        &self,
        db: &Db,
        sealer: &Sealer,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut said: Option<Instant> = None;
        loop {
            let pause = match self.load(db, sealer).await {
                Ok(()) => REREAD_AFTER,
                Err(error) => {
                    self.fail(format!("{error:#}"));
                    if said.is_none_or(|at| at.elapsed() > SAID_EVERY) {
                        tracing::warn!("cannot read the signing keys: {error:#}");
                        said = Some(Instant::now());
                    }
                    RETRY_AFTER
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(pause) => {}
            }
        }
    }

    async fn load(&self, db: &Db, sealer: &Sealer) -> anyhow::Result<()> {
        let mut tx = db.begin().await?;
        let set = Set::load(&mut tx, sealer, platform::time::now()).await?;
        tx.commit().await?;
        self.replace(set);
        Ok(())
    }
}

impl Set {
    /// The keys as they stand in the database; makes the first one in the caller's transaction.
    pub(crate) async fn load(
        tx: &mut PgConnection,
        sealer: &Sealer,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let read_at = Instant::now();
        let signs = |row: &Row| row.state == State::Signing;
        let mut rows = store::signing_key::list(tx).await?;
        if !rows.iter().any(signs) {
            store::signing_key::lock(tx).await?;
            rows = store::signing_key::list(tx).await?;
        }
        if !rows.iter().any(signs) {
            let sealer = sealer.clone();
            let mut row = spawn_blocking(move || generate(&sealer, now)).await??;
            // Nobody waits for it: there are no tokens yet.
            row.state = State::Signing;
            row.signing_at = Some(now);
            store::signing_key::insert(tx, &row).await?;
            rotation::record(tx, Action::KeySigning, &row.kid, &By::schedule(), now).await?;
            tracing::info!(key.id = row.kid, "made the first signing key {}", row.kid);
            rows.push(row);
        }
        let signing = rows.iter().find(|row| signs(row));
        let signing = signing.context("there is no signing key")?;
        Ok(Self {
            read_at,
            kid: signing.kid.clone(),
            pair: open(sealer, signing)?,
            jwks: json!({ "keys": rows.iter().map(|row| &row.public_jwk).collect::<Vec<_>>() }),
        })
    }

    fn sign(&self, claims: &impl Serialize) -> anyhow::Result<String> {
        let header = json!({ "typ": "at+jwt", "alg": "RS256", "kid": self.kid });
        let mut token = base64(&serde_json::to_vec(&header)?);
        token.push('.');
        token.push_str(&base64(&serde_json::to_vec(claims)?));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                token.as_bytes(),
                &mut signature,
            )
            .context("cannot sign a token")?;
        token.push('.');
        token.push_str(&base64(&signature));
        Ok(token)
    }
}

/// A fresh RSA key of 2048 bits, ready to be published.
fn generate(sealer: &Sealer, now: DateTime<Utc>) -> anyhow::Result<Row> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).context("cannot make an RSA key")?;
    let private_key = pair.as_der().context("cannot write an RSA key")?;
    let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let (n, e) = (base64(&public.n), base64(&public.e));
    // RFC 7638: exactly these members, in this order, without white space.
    let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    let kid = base64(digest(&SHA256, thumbprint.as_bytes()).as_ref());
    Ok(Row {
        state: State::Published,
        private_key: sealer.seal(PURPOSE, private_key.as_ref()),
        public_jwk: json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e }),
        kid,
        created_at: now,
        signing_at: None,
        replaced_at: None,
        retired_at: None,
    })
}

/// The key pair of a key that is not retired.
fn open(sealer: &Sealer, row: &Row) -> anyhow::Result<RsaKeyPair> {
    let private_key = sealer
        .open(PURPOSE, &row.private_key)
        .context("the signing key was sealed with another SEAL_KEY")?;
    RsaKeyPair::from_pkcs8(&private_key).context("the signing key is damaged")
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use platform_contract::PlatformReason;
    use tonic::Status;

    use super::*;

    #[test]
    fn a_replica_that_cannot_read_the_keys_stops_signing_after_a_while() {
        let sealer = Sealer::from_keys([1; 32], None);
        let row = generate(&sealer, platform::time::now()).unwrap();
        let sign = |read_at| {
            let keys = Keys::new();
            keys.replace(Set {
                read_at,
                kid: row.kid.clone(),
                pair: open(&sealer, &row).unwrap(),
                jwks: json!({ "keys": [row.public_jwk] }),
            });
            assert!(keys.current().is_ok(), "tokens are verified all the same");
            keys.sign(&json!({}))
        };
        let now = Instant::now();
        sign(now - SIGNS_FOR + Duration::from_secs(10)).unwrap();
        let refused = Status::from(sign(now - SIGNS_FOR).unwrap_err());
        assert!(platform::error::Details::is(
            &refused,
            PlatformReason::DependencyUnavailable
        ));
    }
}
