//! Offers by businesses, and one changeable vote per user and offer.

use std::process::ExitCode;
use std::sync::Arc;

use api::homeward::catalog::v1::{CATALOG_SERVICE, catalog_service_server::CatalogServiceServer};
use platform::Runtime;
use platform::auth::Verifier;
use platform::config::{AuthArgs, GrpcArgs, SealArgs};
use platform::sealed::Sealer;
use platform_cache::RedisArgs;
use platform_db::DbArgs;
use platform_events::{KafkaArgs, command};
use sqlx::migrate::Migrator;

mod cached;
mod domain;
mod grpc;
mod store;
#[cfg(test)]
mod tests;

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
    #[command(flatten)]
    redis: RedisArgs,
}

fn main() -> ExitCode {
    platform::App::<Config>::new("catalog")
        .services(const { &[&CATALOG_SERVICE] })
        .events(api::EVENTS, &["events.offer", "events.user", "events.vote"])
        .command("migrate", "Applies the migrations.", migrate)
        .command_with::<command::Args>(
            "events",
            "Shows what is said, and how far it is sent.",
            events,
        )
        .main(start)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    config.db.migrate(MIGRATORS).await
}

async fn events(config: Config, args: command::Args) -> anyhow::Result<()> {
    let service = command::Service {
        name: "catalog",
        db: &config.db,
        kafka: &config.kafka,
        contract: api::EVENTS,
        descriptors: api::DESCRIPTORS,
        consumers: &[],
    };
    command::run(&service, args).await
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let sealer = Sealer::new(&config.seal)?;
    let db = config.db.connect(rt, &sealer, MIGRATORS).await?;
    let kafka = config.kafka.connect(rt);
    let redis = config.redis.connect(rt.name(), rt.registry())?;
    let offers = cached::Offers::new(db.clone(), &redis);
    let verifier = Arc::new(Verifier::new(&config.auth));

    rt.grpc(
        &config.grpc,
        verifier.clone(),
        CatalogServiceServer::new(grpc::Catalog {
            db: db.clone(),
            offers: offers.clone(),
        }),
    );
    rt.spawn("outbox-relay", {
        let kafka = kafka.clone();
        move |stop| platform_events::relay(db, kafka, stop)
    });
    rt.spawn("cache-invalidation", {
        let kafka = kafka.clone();
        move |stop| cached::invalidate(kafka, offers, stop)
    });
    rt.spawn("revocations", move |stop| {
        platform_events::revocations(kafka, verifier, api::EVENTS, stop)
    });
    Ok(())
}
