//! What to recommend, from what is heard of offers and votes: the offer of the day of an area.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use api::homeward::recommendations::v1::{
    RECOMMENDATIONS_SERVICE, recommendations_service_server::RecommendationsServiceServer,
};
use platform::Runtime;
use platform::auth::Verifier;
use platform::client::{Channel, GrpcTarget, Metrics};
use platform::config::{AuthArgs, GrpcArgs, SealArgs, duration};
use platform::sealed::Sealer;
use platform_db::DbArgs;
use platform_events::{KafkaArgs, command};
use prometheus_client::registry::Registry;
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};

use crate::rebuild::Catalog;

mod domain;
mod events;
mod grpc;
mod rebuild;
mod store;
#[cfg(test)]
mod tests;

const NAME: &str = "recommendations";

static MIGRATOR: Migrator = sqlx::migrate!();
static MIGRATORS: &[&Migrator] = &[
    &platform_db::MIGRATOR,
    &platform_events::MIGRATOR,
    &MIGRATOR,
];

#[derive(clap::Args)]
struct Config {
    #[command(flatten)]
    grpc: GrpcArgs,
    #[command(flatten)]
    auth: AuthArgs,
    #[command(flatten)]
    seal: SealArgs,
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    kafka: KafkaArgs,

    /// Addresses of `catalog`, separated by commas; only a rebuild asks it.
    #[arg(env = "GRPC_CATALOG")]
    grpc_catalog: GrpcTarget,
}

#[derive(clap::Args)]
struct RebuildArgs {
    /// Longest wait for the running replicas to handle the events that came in meanwhile.
    #[arg(long, default_value = "1m", value_parser = duration)]
    wait: Duration,
}

fn main() -> ExitCode {
    platform::App::<Config>::new(NAME)
        .services(const { &[&RECOMMENDATIONS_SERVICE] })
        .events(api::EVENTS, &["events.offer", "events.user", "events.vote"])
        .command("migrate", "Applies the migrations.", migrate)
        .command_with::<command::Args>(
            "events",
            "Shows what is heard, and what to do about events that are parked.",
            events_command,
        )
        .command_with::<RebuildArgs>(
            "rebuild",
            "Brings the read model in line with what catalog lists, while the service runs.",
            rebuild,
        )
        .main(start)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    config.db.migrate(MIGRATORS).await
}

async fn events_command(config: Config, args: command::Args) -> anyhow::Result<()> {
    let service = command::Service {
        name: NAME,
        db: &config.db,
        kafka: &config.kafka,
        contract: api::EVENTS,
        descriptors: api::DESCRIPTORS,
        consumers: &[events::consumer()],
    };
    command::run(&service, args).await
}

async fn rebuild(config: Config, args: RebuildArgs) -> anyhow::Result<()> {
    let mut conn = PgConnection::connect(&config.db.database_url.expose())
        .await
        .context("cannot connect to the database")?;
    let mut registry = Registry::default();
    let kafka = config.kafka.connect_as(NAME, &mut registry);
    let catalog = catalog(&config, &mut registry);

    let report = rebuild::rebuild(&mut conn, &kafka, &catalog).await?;
    println!(
        "{} offers read, {} of them were otherwise here",
        report.read, report.changed
    );
    ensure!(
        rebuild::follow_log(&kafka, args.wait).await?,
        "the events that came in meanwhile are not handled within {:?}; is the service running?",
        args.wait
    );
    println!("and the log is read up to here");
    Ok(())
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let sealer = Sealer::new(&config.seal)?;
    let db = config.db.connect(rt, &sealer, MIGRATORS).await?;
    let verifier = Arc::new(Verifier::new(&config.auth));
    let kafka = config.kafka.connect(rt);
    let catalog = catalog(&config, rt.registry());

    rt.grpc(
        &config.grpc,
        verifier.clone(),
        RecommendationsServiceServer::new(grpc::Recommendations { db: db.clone() }),
    );
    rt.spawn("revocations", {
        let kafka = kafka.clone();
        |stop| platform_events::revocations(kafka, verifier, api::EVENTS, stop)
    });
    rt.spawn("consumer", |stop| events::consume(db, kafka, catalog, stop));
    Ok(())
}

fn catalog(config: &Config, registry: &mut Registry) -> Catalog {
    let metrics = Metrics::new(registry);
    Catalog::new(Channel::connect(&metrics, "catalog", &config.grpc_catalog))
}
