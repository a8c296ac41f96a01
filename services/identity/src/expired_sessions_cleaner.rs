//! Forgets sessions whose refresh tokens have all expired. Any number of replicas may run it at once.

use std::time::Duration;

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
        match clean(&db).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(sessions = count, "forgot {count} expired sessions"),
            Err(error) => tracing::warn!("cannot forget expired sessions: {error}"),
        }
    }
}

pub(crate) async fn clean(db: &PgPool) -> Result<u64, Error> {
    let now = platform::time::now();
    let mut total = 0;
    loop {
        let mut tx = db.begin().await?;
        let count = store::session::delete_expired(&mut tx, now, BATCH).await?;
        tx.commit().await?;
        total += count;
        if count < BATCH.unsigned_abs() {
            return Ok(total);
        }
    }
}
