//! Says and hears events as a service does, for fault runs from outside, and measures that and the BFF.

use std::process::ExitCode;
use std::sync::Arc;

use platform::Runtime;
use platform::config::SealArgs;
use platform::sealed::Sealer;
use platform_contract::Event as _;
use platform_db::{Db, DbArgs};
use platform_events::{Consumer, Handle, Kafka, KafkaArgs, Meta};
use sqlx::PgConnection;
use sqlx::migrate::Migrator;

mod graphql;
mod login;
mod outbox;
#[cfg(test)]
mod tests;
mod thing;
mod writer;

use thing::{EVENTS, ThingCounted};

static MIGRATOR: Migrator = sqlx::migrate!();
static MIGRATORS: &[&Migrator] = &[
    &platform_db::MIGRATOR,
    &platform_events::MIGRATOR,
    &MIGRATOR,
];

#[derive(Clone, clap::Args)]
struct Config {
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    seal: SealArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    /// What this process does: `relay`, `consumer`, or both; without any it is idle.
    #[arg(env = "BENCH_ROLES", value_delimiter = ',')]
    roles: Vec<Role>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    Relay,
    Consumer,
}

fn main() -> ExitCode {
    // What is about the BFF needs no database, which the service cannot be without.
    let command = std::env::args().nth(1).unwrap_or_default();
    if let Some(code) = graphql::main(&command) {
        return code;
    }
    platform::App::<Config>::new("bench")
        .events(EVENTS, &[ThingCounted::TOPIC])
        .command("migrate", "Applies the migrations.", migrate)
        .command_with("write", "Publishes events.", write)
        .command_with("outbox", "Measures the outbox.", outbox::run)
        .command_with("login", "Times logins that fail.", login::run)
        .main(start)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    config.db.migrate(MIGRATORS).await
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let (db, kafka) = connect(rt, &config).await?;
    if config.roles.contains(&Role::Relay) {
        let (db, kafka) = (db.clone(), kafka.clone());
        rt.spawn("outbox-relay", |stop| {
            platform_events::relay(db, kafka, stop)
        });
    }
    if config.roles.contains(&Role::Consumer) {
        let consumer = Consumer::new("bench", EVENTS).on::<ThingCounted>(&Arc::new(Effects));
        rt.spawn("consumer", |stop| consumer.run(db, kafka, stop));
    }
    Ok(())
}

async fn connect(rt: &mut Runtime, config: &Config) -> anyhow::Result<(Db, Kafka)> {
    let sealer = Sealer::new(&config.seal)?;
    let db = config.db.connect(rt, &sealer, MIGRATORS).await?;
    let kafka = config.kafka.connect(rt);
    Ok((db, kafka))
}

async fn write(config: Config, args: writer::Args) -> anyhow::Result<()> {
    let start = async |rt: &mut Runtime, config: Config| {
        let (db, _) = connect(rt, &config).await?;
        writer::write(db, args).await
    };
    let running = platform::run_in_process("bench", start, config).await?;
    running.stop().await
}

/// Writes down what took effect.
struct Effects;

impl Handle<ThingCounted> for Effects {
    async fn handle(
        &self,
        conn: &mut PgConnection,
        event: ThingCounted,
        _: &Meta,
    ) -> anyhow::Result<()> {
        sqlx::query("INSERT INTO effects (thing_id, version) VALUES ($1, $2)")
            .bind(event.thing_id)
            .bind(event.version)
            .execute(conn)
            .await?;
        Ok(())
    }
}
