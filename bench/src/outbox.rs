//! `bench outbox`: how fast events are sent, beside the raw rates of what that consists of.
//!
//! Wants an empty database of a Postgres that is durable, and a Kafka, both with nobody else on
//! them: `./homeward bench outbox` starts such.

mod latency;
mod memory;
mod raw;
mod rows;
pub(crate) mod statements;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use platform::Running;
use platform::config::Secret;
use platform_contract::Event;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::thing::{EVENT_BYTES, EVENTS, ThingCounted};
use crate::{Config, MIGRATORS, Role};
use statements::Counted;

/// Below this share of the lower raw rate something is wrong.
const SHARE_MIN: f64 = 0.5;
const POLL: Duration = Duration::from_millis(20);

/// How much is measured.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Args {
    /// Events to send in each run.
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Keys that they are spread over.
    #[arg(long, default_value_t = 1000)]
    keys: u64,
    /// How long commit to consumer is measured.
    #[arg(long, default_value = "20s", value_parser = platform::config::duration)]
    latency: Duration,
}

/// Each part has topics of its own: what one sends would be the other's trouble.
const RATES: &str = "rates";
const LATENCY: &str = "latency";
const IDLE: &str = "idle";

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<()> {
    config.db.migrate(MIGRATORS).await?;
    let bench = Bench { config, args };
    let measured = bench.measure().await;
    bench.delete_topics().await?;
    measured
}

struct Bench {
    config: Config,
    args: Args,
}

/// The same thing measured twice.
struct Pair {
    name: &'static str,
    seconds: [f64; 2],
}

impl Bench {
    async fn measure(&self) -> anyhow::Result<()> {
        let mut conn = self.connect().await?;
        self.head(&mut conn).await?;
        self.make_topic().await?;
        let rows = rows::Rows::make(&mut conn, &self.args).await?;

        // Mirrored, so that what slowly changes meanwhile is shared out evenly.
        let [mut delete, mut produce, mut relay] =
            ["read and delete", "produce", "relay"].map(|name| Pair {
                name,
                seconds: [0.0; 2],
            });
        for run in 0..2 {
            let mut order = [0, 1, 2];
            if run == 1 {
                order.reverse();
            }
            for what in order {
                match what {
                    0 => delete.seconds[run] = self.delete(&rows, &mut conn).await?,
                    1 => produce.seconds[run] = self.produce(&rows, &mut conn).await?,
                    _ => relay.seconds[run] = self.relay(&rows, &mut conn).await?,
                }
            }
        }
        println!(
            "{:<28}{:>9}{:>9}{:>13}{:>8}",
            "", "run 1", "run 2", "events/s", "A/A"
        );
        for pair in [&delete, &produce, &relay] {
            pair.print(self.args.events);
        }
        let rate = |pair: &Pair| pair.rate(self.args.events);
        let share = rate(&relay) / rate(&delete).min(rate(&produce));
        println!(
            "relay / read and delete     {:>9.2}",
            rate(&relay) / rate(&delete)
        );
        println!(
            "relay / produce             {:>9.2}",
            rate(&relay) / rate(&produce)
        );
        println!("relay / the lower of both   {share:>9.2}   (at least {SHARE_MIN})\n");

        self.costs(&mut conn).await?;
        latency::measure(self).await?;
        memory::measure(self).await?;
        ensure!(share >= SHARE_MIN, "the relay is slower than it should be");
        Ok(())
    }

    async fn head(&self, conn: &mut PgConnection) -> anyhow::Result<()> {
        let (version, fsync, synchronous, full_page): (String, String, String, String) =
            sqlx::query_as(
                "SELECT current_setting('server_version'), current_setting('fsync'),
                        current_setting('synchronous_commit'), current_setting('full_page_writes')",
            )
            .fetch_one(conn)
            .await?;
        println!(
            "outbox: {} events of {EVENT_BYTES} B over {} keys, batches of at most {}",
            self.args.events, self.args.keys, self.config.kafka.outbox_batch_max
        );
        println!(
            "Postgres {version} (fsync {fsync}, synchronous_commit {synchronous}, \
             full_page_writes {full_page}), librdkafka {}, {} CPUs{}\n",
            rdkafka::util::get_rdkafka_version().1,
            std::thread::available_parallelism().map_or(0, usize::from),
            if cfg!(debug_assertions) {
                ", NOT A RELEASE BUILD"
            } else {
                ""
            },
        );
        ensure!(
            [&fsync, &synchronous]
                .iter()
                .all(|setting| *setting == "on"),
            "this Postgres is not durable, so no rate means anything"
        );
        Ok(())
    }

    /// The peer: batches as large as ours are read and deleted, and nothing is done with them.
    async fn delete(&self, rows: &rows::Rows, conn: &mut PgConnection) -> anyhow::Result<f64> {
        rows.fill(conn).await?;
        let began = Instant::now();
        let deleted = raw::delete(&self.config, self.batch()).await?;
        let seconds = began.elapsed().as_secs_f64();
        ensure!(deleted == self.args.events, "{deleted} rows were deleted");
        Ok(seconds)
    }

    /// The peer: the same messages produced in batches as large as ours, from memory.
    async fn produce(&self, rows: &rows::Rows, conn: &mut PgConnection) -> anyhow::Result<f64> {
        rows.fill(conn).await?;
        let messages = rows::messages(conn).await?;
        let (brokers, topic) = (self.config.kafka.kafka_brokers.clone(), self.topic(RATES));
        let batch = self.batch();
        tokio::task::spawn_blocking(move || raw::produce(&brokers, &topic, messages, batch)).await?
    }

    /// Ours, one replica with its two workers.
    async fn relay(&self, rows: &rows::Rows, conn: &mut PgConnection) -> anyhow::Result<f64> {
        rows.fill(conn).await?;
        let began = Instant::now();
        let relay = start_relay(self.config(RATES)).await?;
        until_sent(conn).await?;
        let seconds = began.elapsed().as_secs_f64();
        relay.stop().await?;
        Ok(seconds)
    }

    /// Statements and WAL, of saying an event and of sending it.
    async fn costs(&self, conn: &mut PgConnection) -> anyhow::Result<()> {
        let events = 4000.min(self.args.events);
        let url = self.config.db.database_url.expose();
        let costs = costs(&url, &self.config(RATES), conn, events, self.args.keys).await?;
        println!("{:<28}{:>12}{:>14}", "per event", "statements", "WAL bytes");
        for (name, cost) in [("publish", &costs.publish), ("relay", &costs.relay)] {
            println!(
                "{name:<28}{:>12.3}{:>14.0}",
                cost.statements, cost.wal_bytes
            );
        }
        println!();
        Ok(())
    }

    fn batch(&self) -> usize {
        self.config.kafka.outbox_batch_max
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        let url = self.config.db.database_url.expose();
        PgConnection::connect(&url).await.context("DATABASE_URL")
    }

    fn prefix(&self, part: &str) -> String {
        format!("bench-{}-{part}.", std::process::id())
    }

    fn topic(&self, part: &str) -> String {
        format!("{}{}", self.prefix(part), ThingCounted::TOPIC)
    }

    fn config(&self, part: &str) -> Config {
        let mut config = self.config.clone();
        config.kafka.resource_prefix = Some(self.prefix(part));
        config
    }

    async fn make_topic(&self) -> anyhow::Result<()> {
        let mut registry = prometheus_client::registry::Registry::default();
        let kafka = self.config(RATES).kafka.connect_as("bench", &mut registry);
        platform_events::ensure_topics(&kafka, EVENTS, &CancellationToken::new()).await?;
        Ok(())
    }

    async fn delete_topics(&self) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.config.kafka.kafka_brokers)
            .create()?;
        let topics = [RATES, LATENCY, IDLE].map(|part| self.topic(part));
        // Those that were never made are refused.
        admin
            .delete_topics(&topics.each_ref().map(String::as_str), &AdminOptions::new())
            .await?;
        Ok(())
    }
}

/// A replica in this process that only sends.
async fn start_relay(mut config: Config) -> anyhow::Result<Running> {
    config.roles = vec![Role::Relay];
    platform::run_in_process("bench", crate::start, config).await
}

impl Pair {
    fn rate(&self, events: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
        let events = events as f64;
        events * 2.0 / (self.seconds[0] + self.seconds[1])
    }

    fn print(&self, events: u64) {
        let [first, second] = self.seconds;
        println!(
            "{:<28}{first:>7.2} s{second:>7.2} s{:>13.0}{:>8.2}",
            self.name,
            self.rate(events),
            second / first
        );
    }
}

/// Waits until nothing is left to send.
pub(crate) async fn until_sent(conn: &mut PgConnection) -> sqlx::Result<()> {
    while sqlx::query_scalar("SELECT EXISTS (SELECT FROM platform.outbox)")
        .fetch_one(&mut *conn)
        .await?
    {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// What one event costs the database.
#[derive(Debug)]
pub(crate) struct Cost {
    pub(crate) statements: f64,
    pub(crate) wal_bytes: f64,
}

pub(crate) struct Costs {
    pub(crate) publish: Cost,
    pub(crate) relay: Cost,
}

/// Counts what saying and sending some events costs, with nobody else on the database.
pub(crate) async fn costs(
    url: &str,
    config: &Config,
    conn: &mut PgConnection,
    events: u64,
    keys: u64,
) -> anyhow::Result<Costs> {
    let counted = Counted::listen(url).await?;
    let publish = rows::publish(&counted, conn, events, keys).await?;

    let (statements, wal) = (counted.count(), rows::wal(conn).await?);
    let mut config = config.clone();
    config.db.database_url = Secret::new(counted.url());
    let relay = start_relay(config).await?;
    until_sent(conn).await?;
    let relayed = Cost::of(
        counted.count() - statements,
        rows::wal(conn).await? - wal,
        events,
    );
    relay.stop().await?;
    Ok(Costs {
        publish,
        relay: relayed,
    })
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "a share is no count")]
    fn of(statements: u64, wal_bytes: i64, events: u64) -> Cost {
        Cost {
            statements: statements as f64 / events as f64,
            wal_bytes: wal_bytes as f64 / events as f64,
        }
    }
}
