//! Does what is due with the signing keys. Any number of replicas may run it at once: one of them does
//! each step, and the others find it done.

use std::{sync::Arc, time::Duration};

use platform::sealed::Sealer;
use platform_db::Db;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    audit::By,
    keys::{
        Keys,
        rotation::{self, RotationArgs, Step},
    },
};

/// Far shorter than any step waits for.
const PAUSE: Duration = Duration::from_secs(5);

pub(crate) async fn run(
    db: Db,
    sealer: Sealer,
    args: RotationArgs,
    keys: Arc<Keys>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(PAUSE) => {}
        }
        // Without a key there is nothing to rotate, and the reader says why.
        if keys.current().is_err() {
            continue;
        }
        match step(&db, &sealer, &args).await {
            Ok(None) => {}
            Ok(Some(Step::Published(kid))) => {
                tracing::info!(key.id = kid, "published signing key {kid}")
            }
            Ok(Some(Step::Signing(kid))) => tracing::info!(key.id = kid, "signing with key {kid}"),
            Ok(Some(Step::Retired(kid))) => {
                tracing::info!(key.id = kid, "retired signing key {kid}")
            }
            Err(error) => tracing::warn!("cannot rotate the signing keys: {error:#}"),
        }
    }
}

/// One step, committed.
async fn step(db: &Db, sealer: &Sealer, args: &RotationArgs) -> anyhow::Result<Option<Step>> {
    let mut tx = db.begin().await?;
    let now = platform::time::now();
    let step = rotation::step(&mut tx, sealer, args, &By::schedule(), now).await?;
    tx.commit().await?;
    Ok(step)
}
