//! Keeps the votes on offers, from what is heard of them.

use std::process::ExitCode;
use std::sync::Arc;

use api::homeward::@module@::v1::@module@_service_server::{@Service@Service, @Service@ServiceServer};
use api::homeward::@module@::v1::@SERVICE@_SERVICE;
use platform::Runtime;
use platform::auth::Verifier;
use platform::config::{AuthArgs, GrpcArgs, SealArgs};
use platform::sealed::Sealer;
use platform_db::DbArgs;
use platform_events::{KafkaArgs, command};
use sqlx::migrate::Migrator;

mod domain;
mod events;
mod store;
#[cfg(test)]
mod tests;

const NAME: &str = "@name@";

static MIGRATOR: Migrator = sqlx::migrate!();
static MIGRATORS: &[&Migrator] = &[&platform_db::MIGRATOR, &platform_events::MIGRATOR, &MIGRATOR];

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

/// There is nothing to ask; the port is for health checks.
struct Nothing;

#[tonic::async_trait]
impl @Service@Service for Nothing {}

fn main() -> ExitCode {
    platform::App::<Config>::new(NAME)
        .services(const { &[&@SERVICE@_SERVICE] })
        .events(api::EVENTS, &["events.user", "events.vote"])
        .command("migrate", "Applies the migrations.", migrate)
        .command_with::<command::Args>(
            "events",
            "Shows what is heard, and what to do about events that are parked.",
            events_command,
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

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let sealer = Sealer::new(&config.seal)?;
    let db = config.db.connect(rt, &sealer, MIGRATORS).await?;
    let kafka = config.kafka.connect(rt);
    let verifier = Arc::new(Verifier::new(&config.auth));

    rt.grpc(&config.grpc, verifier.clone(), @Service@ServiceServer::new(Nothing));
    rt.spawn("consumer", {
        let kafka = kafka.clone();
        move |stop| events::consumer().run(db, kafka, stop)
    });
    // Whoever has a verifier tells it what tokens are void, also before the first method.
    rt.spawn("revocations", move |stop| {
        platform_events::revocations(kafka, verifier, api::EVENTS, stop)
    });
    Ok(())
}
