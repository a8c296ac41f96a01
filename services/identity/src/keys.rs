//! The keys that sign access tokens. They live sealed in the database; replicas read them from there,
//! so that a key made or rotated by one is used by all.

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
use chrono::TimeDelta;
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

use crate::{domain::Error, store};

const PURPOSE: &str = "signing-key";
/// How soon a replica knows what another one did to the keys.
const REREAD_AFTER: Duration = Duration::from_secs(30);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const SAID_EVERY: Duration = Duration::from_secs(60);
/// A retired key is published for longer than any of its tokens lives.
const RETIRED_FOR: TimeDelta = TimeDelta::hours(24);

/// The keys as they were last read.
pub(crate) struct Keys(RwLock<Result<Arc<Set>, String>>);

pub(crate) struct Set {
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
        let set = Set::load(&mut tx, sealer).await?;
        tx.commit().await?;
        self.replace(set);
        Ok(())
    }
}

impl Set {
    /// The keys as they stand in the database; makes the first one in the caller's transaction.
    pub(crate) async fn load(tx: &mut PgConnection, sealer: &Sealer) -> anyhow::Result<Self> {
        let now = platform::time::now();
        let mut rows = store::signing_key::list(tx, now - RETIRED_FOR).await?;
        if !rows.iter().any(|row| row.signs) {
            store::signing_key::lock_first(tx).await?;
            rows = store::signing_key::list(tx, now - RETIRED_FOR).await?;
        }
        if !rows.iter().any(|row| row.signs) {
            let sealer = sealer.clone();
            let row = spawn_blocking(move || generate(&sealer)).await??;
            store::signing_key::insert_signing(tx, &row, now).await?;
            tracing::info!(key.id = row.kid, "made the first signing key {}", row.kid);
            rows.push(row);
        }
        let signing = rows
            .iter()
            .find(|row| row.signs)
            .context("there is no signing key")?;
        let private_key = sealer
            .open(PURPOSE, &signing.private_key)
            .context("the signing key was sealed with another SEAL_KEY")?;
        Ok(Self {
            kid: signing.kid.clone(),
            pair: RsaKeyPair::from_pkcs8(&private_key).context("the signing key is damaged")?,
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

/// A fresh RSA key of 2048 bits, ready to be stored.
fn generate(sealer: &Sealer) -> anyhow::Result<store::signing_key::Row> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).context("cannot make an RSA key")?;
    let private_key = pair.as_der().context("cannot write an RSA key")?;
    let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let (n, e) = (base64(&public.n), base64(&public.e));
    // RFC 7638: exactly these members, in this order, without white space.
    let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    let kid = base64(digest(&SHA256, thumbprint.as_bytes()).as_ref());
    Ok(store::signing_key::Row {
        signs: true,
        private_key: sealer.seal(PURPOSE, private_key.as_ref()),
        public_jwk: json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e }),
        kid,
    })
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
