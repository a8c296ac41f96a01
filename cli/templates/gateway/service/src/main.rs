//! @Many@ of users.

use std::process::ExitCode;
use std::sync::Arc;

use api::homeward::@module@::v1::{@SERVICE@_SERVICE, @module@_service_server::@Service@ServiceServer};
use platform::Runtime;
use platform::auth::Verifier;
use platform::config::{AuthArgs, GrpcArgs, SealArgs};
use platform::sealed::Sealer;
use platform_db::DbArgs;
@if events@
use platform_events::{KafkaArgs, command};
@end@
@if plain@
use platform_events::KafkaArgs;
@end@
use sqlx::migrate::Migrator;

mod domain;
@if events@
mod events;
@end@
mod grpc;
mod store;
#[cfg(test)]
mod tests;

const NAME: &str = "@name@";

static MIGRATOR: Migrator = sqlx::migrate!();
@if events@
static MIGRATORS: &[&Migrator] = &[&platform_db::MIGRATOR, &platform_events::MIGRATOR, &MIGRATOR];
@end@
@if plain@
static MIGRATORS: &[&Migrator] = &[&platform_db::MIGRATOR, &MIGRATOR];
@end@

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
    platform::App::<Config>::new(NAME)
        .services(const { &[&@SERVICE@_SERVICE] })
        .events(api::EVENTS, &["events.user"])
        .command("migrate", "Applies the migrations.", migrate)
@if events@
        .command_with::<command::Args>("events", "Shows what is said, and how far it is sent.", events_command)
@end@
        .main(start)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    config.db.migrate(MIGRATORS).await
}

@if events@
async fn events_command(config: Config, args: command::Args) -> anyhow::Result<()> {
    let service = command::Service {
        name: NAME,
        db: &config.db,
        kafka: &config.kafka,
        contract: api::EVENTS,
        descriptors: api::DESCRIPTORS,
        consumers: &[],
    };
    command::run(&service, args).await
}

@end@
async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let sealer = Sealer::new(&config.seal)?;
    let db = config.db.connect(rt, &sealer, MIGRATORS).await?;
    let kafka = config.kafka.connect(rt);
    let verifier = Arc::new(Verifier::new(&config.auth));

@if events@
    let server = grpc::@Service@ { db: db.clone() };
@end@
@if plain@
    let server = grpc::@Service@ { db };
@end@
    rt.grpc(&config.grpc, verifier.clone(), @Service@ServiceServer::new(server));
@if events@
    rt.spawn("outbox-relay", {
        let kafka = kafka.clone();
        move |stop| platform_events::relay(db, kafka, stop)
    });
@end@
    rt.spawn("revocations", move |stop| {
        platform_events::revocations(kafka, verifier, api::EVENTS, stop)
    });
    Ok(())
}
