//! Forgets failed logins that no longer count, and origins that nobody has used for long.
//! Any number of replicas may run it at once.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{domain::Error, store};

const PAUSE: Duration = Duration::from_secs(60);
/// Small, so that no statement holds many rows.
const BATCH: i64 = 500;
/// Most rows of failures that are kept. Each has cost a password check, so between two runs come
/// no more than the processors can do.
const FAILURES_MAX: i64 = 100_000;
const ORIGIN_KEPT: TimeDelta = TimeDelta::days(90);

pub(crate) async fn run(db: PgPool, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(PAUSE) => {}
        }
        match clean(&db, platform::time::now(), FAILURES_MAX).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "forgot {rows} rows of old logins"),
            Err(error) => tracing::warn!("cannot forget old logins: {error}"),
        }
    }
}

/// Answers how many rows are gone.
pub(crate) async fn clean(
    db: &PgPool,
    now: DateTime<Utc>,
    failures_max: i64,
) -> Result<u64, Error> {
    let mut total = 0;
    loop {
        let mut tx = db.begin().await?;
        let counts = [
            store::attempt::delete_forgotten(&mut tx, now, BATCH).await?,
            store::attempt::delete_excess(&mut tx, failures_max, BATCH).await?,
            store::attempt::delete_origins(&mut tx, now - ORIGIN_KEPT, BATCH).await?,
        ];
        tx.commit().await?;
        total += counts.iter().sum::<u64>();
        if counts.iter().all(|count| *count < BATCH.unsigned_abs()) {
            return Ok(total);
        }
    }
}
