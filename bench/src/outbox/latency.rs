//! From commit to consumer, at a pace at which nothing waits for anything.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use platform::Runtime;
use platform_db::Db;
use platform_events::{Consumer, Handle, Meta};
use sqlx::PgConnection;
use tokio::time::MissedTickBehavior;

use super::{Bench, LATENCY};
use crate::Config;
use crate::thing::{self, EVENTS, ThingCounted};

const PER_SECOND: u32 = 100;
const KEYS: u64 = 100;
/// Said before the clock starts: group, topics and caches are then as they are in service.
const WARM_UP: u64 = 50;

/// Prints how long events take, of which are said here and of which another replica says.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<()> {
    let events = bench.args.latency.as_secs().max(1) * u64::from(PER_SECOND);
    println!(
        "{:<28}{:>12}{:>14}",
        format!("at {PER_SECOND} events/s"),
        "p50",
        "p99"
    );
    let clock = Arc::new(Clock::default());
    let mut db = None;
    let start = async |rt: &mut Runtime, config: Config| {
        let (own, kafka) = crate::connect(rt, &config).await?;
        db = Some(own.clone());
        let (relay_db, relay_kafka) = (own.clone(), kafka.clone());
        rt.spawn("outbox-relay", |stop| {
            platform_events::relay(relay_db, relay_kafka, stop)
        });
        let consumer = Consumer::new("latency", EVENTS).on::<ThingCounted>(&clock);
        rt.spawn("consumer", |stop| consumer.run(own, kafka, stop));
        Ok(())
    };
    let replica = platform::run_in_process("bench", start, bench.config(LATENCY)).await?;
    let db = db.context("the replica has a database")?;
    let mut tx = db.begin().await?;
    thing::make(&mut tx, KEYS).await?;
    tx.commit().await?;

    say(&db, &clock, WARM_UP).await?;
    clock.until_handled(WARM_UP).await?;
    clock.forget();
    say(&db, &clock, events).await?;
    clock.until_handled(events).await?;
    print("said by this replica", clock.delays());

    clock.forget();
    say_elsewhere(bench, events).await?;
    clock.until_handled(events).await?;
    print("said by another replica", clock.ages());
    println!();
    replica.stop().await
}

/// Publishes at the pace, each event in a transaction of its own.
async fn say(db: &Db, clock: &Arc<Clock>, events: u64) -> anyhow::Result<()> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut saying = tokio::task::JoinSet::new();
    for number in 0..events {
        pace.tick().await;
        let (db, clock) = (db.clone(), Arc::clone(clock));
        saying.spawn(async move {
            let thing_id = thing::id(number % KEYS);
            let mut tx = db.begin().await?;
            let version = thing::count(&mut tx, &thing_id).await?;
            tx.commit().await?;
            clock.committed(thing_id, version);
            anyhow::Ok(())
        });
    }
    while let Some(said) = saying.join_next().await {
        said??;
    }
    Ok(())
}

/// Another process says them, of which this one knows only when it looks.
async fn say_elsewhere(bench: &Bench, events: u64) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["write", "--events", &events.to_string()])
        .args([
            "--keys",
            &KEYS.to_string(),
            "--rate",
            &PER_SECOND.to_string(),
        ])
        .env("RESOURCE_PREFIX", bench.prefix(LATENCY))
        .stdin(Stdio::null());
    let status = tokio::task::spawn_blocking(move || command.status()).await??;
    ensure!(status.success(), "bench write: {status}");
    Ok(())
}

/// When events were committed and when they were handled, by key and version.
#[derive(Default)]
struct Clock {
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    committed: HashMap<(String, i64), Instant>,
    handled: HashMap<(String, i64), Instant>,
    /// From being published, a moment before the commit, to being handled.
    ages: Vec<Duration>,
}

impl Clock {
    fn times(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn committed(&self, thing_id: String, version: i64) {
        let now = Instant::now();
        self.times().committed.insert((thing_id, version), now);
    }

    fn forget(&self) {
        *self.times() = Times::default();
    }

    async fn until_handled(&self, events: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while u64::try_from(self.times().handled.len())? < events {
            ensure!(Instant::now() < deadline, "events do not arrive");
            tokio::time::sleep(super::POLL).await;
        }
        Ok(())
    }

    fn delays(&self) -> Vec<Duration> {
        let times = self.times();
        let delay = |(place, committed): (&(String, i64), &Instant)| {
            // The consumer may be faster than the answer to the commit.
            Some(
                times
                    .handled
                    .get(place)?
                    .saturating_duration_since(*committed),
            )
        };
        times.committed.iter().filter_map(delay).collect()
    }

    fn ages(&self) -> Vec<Duration> {
        self.times().ages.clone()
    }
}

impl Handle<ThingCounted> for Clock {
    async fn handle(
        &self,
        _: &mut PgConnection,
        event: ThingCounted,
        meta: &Meta,
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        let age = (platform::time::now() - meta.time)
            .to_std()
            .unwrap_or_default();
        let mut times = self.times();
        times.handled.insert((event.thing_id, event.version), now);
        times.ages.push(age);
        Ok(())
    }
}

fn print(name: &str, mut delays: Vec<Duration>) {
    delays.sort_unstable();
    let at = |share: usize| {
        let delay = delays
            .get(delays.len() * share / 100)
            .copied()
            .unwrap_or_default();
        format!("{:.1} ms", delay.as_secs_f64() * 1000.0)
    };
    println!("{name:<28}{:>12}{:>14}", at(50), at(99));
}
