//! Forgets invitations, and the addresses in them, that nobody accepted in time.
//! Any number of replicas may run it at once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{domain::Error, store};

const PAUSE: Duration = Duration::from_secs(600);
/// Small, so that no statement holds many rows.
const BATCH: i64 = 500;

pub(crate) async fn run(db: PgPool, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(PAUSE) => {}
        }
        match clean(&db, platform::time::now()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(invitations = count, "forgot {count} expired invitations"),
            Err(error) => tracing::warn!("cannot forget expired invitations: {error}"),
        }
    }
}

pub(crate) async fn clean(db: &PgPool, now: DateTime<Utc>) -> Result<u64, Error> {
    let mut total = 0;
    loop {
        let mut tx = db.begin().await?;
        let count = store::invitation::delete_expired(&mut tx, now, BATCH).await?;
        tx.commit().await?;
        total += count;
        if count < BATCH.unsigned_abs() {
            return Ok(total);
        }
    }
}
