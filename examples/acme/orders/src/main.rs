//! What Acme's customers order, and how often each item is.

use std::process::ExitCode;
use std::sync::Arc;

use acme_api::acme::orders::v1::{ORDERS_SERVICE, orders_service_server::OrdersServiceServer};
use platform::Runtime;
use platform::auth::Verifier;
use platform::config::{AuthArgs, GrpcArgs, SealArgs};
use platform::sealed::Sealer;
use platform_db::DbArgs;
use platform_events::KafkaArgs;
use sqlx::migrate::Migrator;

mod events;
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
}

fn main() -> ExitCode {
    platform::App::<Config>::new("orders")
        .services(const { &[&ORDERS_SERVICE] })
        .events(acme_api::EVENTS, &["events.order"])
        .command("migrate", "Applies the migrations.", migrate)
        .main(start)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    config.db.migrate(MIGRATORS).await
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let sealer = Sealer::new(&config.seal)?;
    let db = config.db.connect(rt, &sealer, MIGRATORS).await?;
    let kafka = config.kafka.connect(rt);
    let verifier = Arc::new(Verifier::new(&config.auth));

    let server = OrdersServiceServer::new(grpc::Orders { db: db.clone() });
    rt.grpc(&config.grpc, verifier.clone(), server);
    rt.spawn("outbox-relay", {
        let (db, kafka) = (db.clone(), kafka.clone());
        move |stop| platform_events::relay(db, kafka, stop)
    });
    rt.spawn("consumer", {
        let kafka = kafka.clone();
        move |stop| events::consumer().run(db, kafka, stop)
    });
    rt.spawn("revocations", move |stop| {
        platform_events::revocations(kafka, verifier, acme_api::EVENTS, stop)
    });
    Ok(())
}
