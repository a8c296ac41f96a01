//! Writers that publish, several of them on each thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use platform_db::Db;
use platform_events::PublishError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::thing;

/// Most events in one transaction, as many services have more than one.
const TOGETHER_MAX: u64 = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How much is written.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Args {
    /// Events to publish.
    #[arg(long, default_value_t = 20_000)]
    events: u64,
    /// Things that they are about.
    #[arg(long, default_value_t = 200)]
    keys: u64,
    /// Writers at once.
    #[arg(long, default_value_t = 8)]
    writers: u64,
    /// Events per second of all writers together; without it, as fast as they can.
    #[arg(long)]
    rate: Option<u32>,
}

/// Publishes so many events, whatever becomes of the database meanwhile. A commit whose answer is
/// lost is written again, so there may be more: the versions of the things tell.
pub(crate) async fn write(db: Db, args: Args) -> anyhow::Result<()> {
    while let Err(error) = make_things(&db, args.keys).await {
        warn!("cannot make things yet: {error}");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    let begun = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for number in 0..args.writers {
        let writer = Writer {
            db: db.clone(),
            args,
            begun: Arc::clone(&begun),
            start,
            dice: Dice(number + 1),
        };
        writers.spawn(writer.run());
    }
    while let Some(ended) = writers.join_next().await {
        ended?;
    }
    info!("published {} events in {:?}", args.events, start.elapsed());
    Ok(())
}

async fn make_things(db: &Db, keys: u64) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    thing::make(&mut tx, keys).await?;
    tx.commit().await
}

struct Writer {
    db: Db,
    args: Args,
    begun: Arc<AtomicU64>,
    start: Instant,
    dice: Dice,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let wanted = 1 + self.dice.roll(TOGETHER_MAX);
            let before = self.begun.fetch_add(wanted, Ordering::Relaxed);
            let left = self.args.events.saturating_sub(before);
            if left == 0 {
                return;
            }
            if let Some(rate) = self.args.rate {
                let due = Duration::from_secs(before) / rate.max(1);
                tokio::time::sleep_until(self.start + due).await;
            }
            let keys = self.args.keys;
            let mut chosen: Vec<u64> = (0..wanted.min(left))
                .map(|_| self.dice.roll(keys))
                .collect();
            // In one order, so that two writers do not wait for each other.
            chosen.sort_unstable();
            while let Err(error) = self.transaction(&chosen).await {
                warn!("written again: {error}");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn transaction(&self, chosen: &[u64]) -> Result<(), PublishError> {
        let mut tx = self.db.begin().await?;
        for number in chosen {
            thing::count(&mut tx, &thing::id(*number)).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Deterministic, so that no run is a lucky one; which number comes when is not.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}
