//! Published, then signing, then replaced, then retired: what a key must wait for, and the steps.
//!
//! Each step is one transaction that is decided from the rows alone, under a lock: whoever comes
//! next goes on where a crash has left things, and what another replica has done is not done again.

use std::time::Duration;

use anyhow::ensure;
use chrono::{DateTime, Utc};
use platform::{auth::TOKEN_LIFETIME_MAX, sealed::Sealer};
use sqlx::PgConnection;
use tokio::task::spawn_blocking;

use super::{SIGNS_FOR, generate, open};
use crate::{
    audit::{Action, By, Entry},
    store::{
        self,
        signing_key::{Row, State},
    },
};

/// How far clocks may differ, and how long a commit may take.
const MARGIN: Duration = Duration::from_secs(60);
/// Keys in the key set at once. Verifiers take no more than 32.
const KEYS_MAX: usize = 8;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct RotationArgs {
    /// How long a key signs before the next one is published: 30 days.
    #[arg(env = "SIGNING_KEY_ROTATED_AFTER", default_value = "720h", value_parser = platform::config::duration)]
    pub(crate) signing_key_rotated_after: Duration,

    /// How long a key is published before it signs. Everybody must have looked at the key set by then:
    /// longer than it may be cached (60 s), a verifier waits between two looks (30 s), and goes without
    /// one (5 min).
    #[arg(env = "SIGNING_KEY_PUBLISHED_FOR", default_value = "15m", value_parser = platform::config::duration)]
    pub(crate) signing_key_published_for: Duration,
}

/// How long a replaced key stays in the key set: a replica may sign with what it has read for a while,
/// and the last token lives for as long as any.
pub(crate) fn kept() -> Duration {
    SIGNS_FOR + TOKEN_LIFETIME_MAX + MARGIN
}

/// What has been done to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Published(String),
    Signing(String),
    Retired(String),
}

impl RotationArgs {
    /// When a key in the key set leaves its state, if nobody interferes.
    pub(crate) fn leaves_at(&self, row: &Row) -> Option<DateTime<Utc>> {
        match row.state {
            State::Published => Some(row.created_at + self.signing_key_published_for),
            // It signs until the next one has been published for long enough.
            State::Signing => {
                let next_published_at = row.signing_at? + self.signing_key_rotated_after;
                Some(next_published_at + self.signing_key_published_for)
            }
            State::Replaced => Some(row.replaced_at? + kept()),
            State::Retired => None,
        }
    }

    /// The step that is due; `keys` is the key set.
    fn due<'a>(&self, keys: &'a [Row], now: DateTime<Utc>) -> Option<Due<'a>> {
        let is_over = |row: &&Row| self.leaves_at(row).is_some_and(|at| at <= now);
        let of = |state| keys.iter().filter(move |row| row.state == state);
        if let Some(row) = of(State::Replaced).find(is_over) {
            return Some(Due::Retire(row));
        }
        if let Some(row) = of(State::Published).next() {
            return is_over(&row).then_some(Due::Sign(row));
        }
        let signing = of(State::Signing).next()?;
        let rotates = signing.signing_at? + self.signing_key_rotated_after <= now;
        (rotates && keys.len() < KEYS_MAX).then_some(Due::Publish)
    }
}

enum Due<'a> {
    Publish,
    Sign(&'a Row),
    Retire(&'a Row),
}

/// Does the one step that is due, if there is one. For a transaction of its own.
pub(crate) async fn step(
    tx: &mut PgConnection,
    sealer: &Sealer,
    args: &RotationArgs,
    by: &By,
    now: DateTime<Utc>,
) -> anyhow::Result<Option<Step>> {
    store::signing_key::lock(tx).await?;
    let keys = store::signing_key::list(tx).await?;
    let step = match args.due(&keys, now) {
        None => return Ok(None),
        Some(Due::Publish) => Step::Published(publish(tx, sealer, by, now).await?.kid),
        Some(Due::Sign(row)) => {
            // Better the old key than one that nobody here can use.
            open(sealer, row)?;
            if let Some(replaced) = store::signing_key::replace(tx, now).await? {
                record(tx, Action::KeyReplaced, &replaced, by, now).await?;
            }
            store::signing_key::sign(tx, &row.kid, now).await?;
            record(tx, Action::KeySigning, &row.kid, by, now).await?;
            Step::Signing(row.kid.clone())
        }
        Some(Due::Retire(row)) => {
            retire(tx, &row.kid, by, now).await?;
            Step::Retired(row.kid.clone())
        }
    };
    Ok(Some(step))
}

/// Publishes a key out of turn, unless one is waiting already; answers the one that waits.
pub(crate) async fn rotate(
    tx: &mut PgConnection,
    sealer: &Sealer,
    by: &By,
    now: DateTime<Utc>,
) -> anyhow::Result<Row> {
    store::signing_key::lock(tx).await?;
    let mut keys = store::signing_key::list(tx).await?;
    if let Some(waits) = keys.iter().position(|row| row.state == State::Published) {
        return Ok(keys.swap_remove(waits));
    }
    ensure!(
        keys.len() < KEYS_MAX,
        "the key set has {KEYS_MAX} keys; wait until one is retired"
    );
    publish(tx, sealer, by, now).await
}

/// Retires a key out of turn: one that never signed, one that is due, or one that has `leaked`.
pub(crate) async fn retire_early(
    tx: &mut PgConnection,
    args: &RotationArgs,
    kid: &str,
    leaked: bool,
    by: &By,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    store::signing_key::lock(tx).await?;
    let keys = store::signing_key::list(tx).await?;
    let row = keys.iter().find(|row| row.kid == kid);
    let row = row.ok_or_else(|| anyhow::anyhow!("no key {kid} is in the key set"))?;
    ensure!(
        row.state != State::Signing,
        "the key signs; `rotate`, and retire it when another one does"
    );
    if row.state == State::Replaced && !leaked {
        let until = args.leaves_at(row).filter(|until| *until > now);
        if let Some(until) = until {
            anyhow::bail!("its tokens may be valid until {until}; with --leaked they are void");
        }
    }
    retire(tx, kid, by, now).await
}

async fn publish(
    tx: &mut PgConnection,
    sealer: &Sealer,
    by: &By,
    now: DateTime<Utc>,
) -> anyhow::Result<Row> {
    let sealer = sealer.clone();
    let row = spawn_blocking(move || generate(&sealer, now)).await??;
    store::signing_key::insert(tx, &row).await?;
    record(tx, Action::KeyPublished, &row.kid, by, now).await?;
    Ok(row)
}

async fn retire(
    tx: &mut PgConnection,
    kid: &str,
    by: &By,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    store::signing_key::retire(tx, kid, now).await?;
    record(tx, Action::KeyRetired, kid, by, now).await
}

pub(super) async fn record(
    tx: &mut PgConnection,
    action: Action,
    kid: &str,
    by: &By,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let entry = Entry::new(action, by.clone()).object(kid);
    store::audit::insert(tx, &entry, now).await?;
    Ok(())
}
