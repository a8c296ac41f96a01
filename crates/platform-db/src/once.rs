//! Requests with a `request_id`: one effect and one answer, however often they come.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use chrono::{DateTime, Utc};
use platform::auth::Caller;
use platform_contract::Once;
use prost::Message;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::error::Error;
use crate::pool::{Db, Tx};

/// Under which the sealer makes fingerprints.
const PURPOSE: &str = "request";
const KEPT: Duration = Duration::from_hours(24);
const CLEAN_EVERY: Duration = Duration::from_mins(10);
const CLEAN_BATCH: i64 = 1000;

/// What [`Db::begin_once`] found.
pub enum Begun<R: Once> {
    /// The request was carried out before; this was the answer.
    Done(R::Response),
    /// The request is new: carry it out in this transaction, then finish.
    New(OnceTx<R>),
}

/// The transaction of a new request. Dropped before it is finished, it leaves nothing behind:
/// errors are not stored, so a repeat tries again.
pub struct OnceTx<R> {
    tx: Tx,
    key: Key,
    request: PhantomData<fn(R)>,
}

struct Key {
    principal: String,
    method: &'static str,
    request_id: Uuid,
}

impl Db {
    /// Begins a transaction for a request with a `request_id`, unless it was carried out before.
    ///
    /// A twin that is under way is waited for. A body other than the one that first came
    /// with the id is [`Error::RequestIdReused`]; bodies are compared as prost encodes them,
    /// so requests must not hold proto maps, whose order is random.
    pub async fn begin_once<R: Once>(
        &self,
        caller: &Caller,
        request: &R,
    ) -> Result<Begun<R>, Error> {
        let key = Key {
            principal: caller.principal().into_owned(),
            method: R::METHOD,
            request_id: platform::text::id(request.request_id())
                .map_err(|_| Error::RequestIdInvalid)?,
        };
        let body = request.encode_to_vec();
        let fingerprint = self.sealer().mac(PURPOSE, &body);

        loop {
            let mut tx = self.begin().await?;
            if key.claim(&mut tx, &fingerprint).await? {
                return Ok(Begun::New(OnceTx {
                    tx,
                    key,
                    request: PhantomData,
                }));
            }
            // The row that was in the way may have just grown too old; then the id is free.
            if let Some((first, response)) = key.find(&mut tx).await? {
                if !self.sealer().mac_matches(PURPOSE, &body, &first) {
                    return Err(Error::RequestIdReused);
                }
                let response = R::Response::decode(response.as_slice())
                    .map_err(|error| sqlx::Error::Decode(error.into()))?;
                return Ok(Begun::Done(response));
            }
        }
    }
}

impl<R: Once> OnceTx<R> {
    /// Stores the answer and commits it together with the effect.
    pub async fn finish(mut self, response: &R::Response) -> Result<(), Error> {
        self.key
            .answer(&mut self.tx, &response.encode_to_vec())
            .await?;
        self.tx.commit().await?;
        Ok(())
    }
}

impl<R> Deref for OnceTx<R> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.tx
    }
}

impl<R> DerefMut for OnceTx<R> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.tx
    }
}

impl Key {
    /// Waits for a twin's transaction to end; true if the id is ours now.
    async fn claim(&self, tx: &mut PgConnection, fingerprint: &[u8]) -> sqlx::Result<bool> {
        let inserted = sqlx::query(
            "INSERT INTO platform.requests (principal, method, request_id, fingerprint, created_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
        )
        .bind(&self.principal)
        .bind(self.method)
        .bind(self.request_id)
        .bind(fingerprint)
        .bind(platform::time::now())
        .execute(tx)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    /// Fingerprint and answer of the first request with this id.
    async fn find(&self, tx: &mut PgConnection) -> sqlx::Result<Option<(Vec<u8>, Vec<u8>)>> {
        sqlx::query_as(
            "SELECT fingerprint, response
             FROM platform.requests
             WHERE principal = $1 AND method = $2 AND request_id = $3",
        )
        .bind(&self.principal)
        .bind(self.method)
        .bind(self.request_id)
        .fetch_optional(tx)
        .await
    }

    async fn answer(&self, tx: &mut PgConnection, response: &[u8]) -> sqlx::Result<()> {
        let updated = sqlx::query(
            "UPDATE platform.requests
             SET response = $4
             WHERE principal = $1 AND method = $2 AND request_id = $3",
        )
        .bind(&self.principal)
        .bind(self.method)
        .bind(self.request_id)
        .bind(response)
        .execute(tx)
        .await?;
        if updated.rows_affected() == 1 {
            Ok(())
        } else {
            Err(sqlx::Error::RowNotFound)
        }
    }
}

/// Deletes answers after their 24 hours, for as long as the service runs.
pub(crate) async fn clean(pool: PgPool, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(CLEAN_EVERY) => {}
        }
        match delete_before(&pool, platform::time::now() - KEPT, CLEAN_BATCH).await {
            Ok(count) => debug!(count, "deleted {count} old request ids"),
            Err(error) => warn!(%error, "cannot delete old request ids: {error}"),
        }
    }
}

/// Deletes in batches, each its own transaction; replicas that meet skip each other's rows.
pub(crate) async fn delete_before(
    pool: &PgPool,
    before: DateTime<Utc>,
    batch: i64,
) -> sqlx::Result<u64> {
    let mut count = 0;
    loop {
        let deleted = sqlx::query(
            "DELETE FROM platform.requests
             WHERE ctid = ANY (ARRAY(
                 SELECT ctid
                 FROM platform.requests
                 WHERE created_at < $1
                 ORDER BY created_at
                 LIMIT $2
                 FOR UPDATE SKIP LOCKED
             ))",
        )
        .bind(before)
        .bind(batch)
        .execute(pool)
        .await?
        .rows_affected();
        count += deleted;
        if deleted < batch.unsigned_abs() {
            return Ok(count);
        }
    }
}
