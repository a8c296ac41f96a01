//! Offers by businesses, and one changeable vote per user and offer.

use std::process::ExitCode;
use std::sync::Arc;

use api::homeward::catalog::v1::{CATALOG_SERVICE, catalog_service_server::CatalogServiceServer};
use platform::Runtime;
use platform::auth::Verifier;
use platform::config::{AuthArgs, GrpcArgs, SealArgs};
use platform::sealed::Sealer;
use platform_db::DbArgs;
use sqlx::migrate::Migrator;

mod domain;
mod grpc;
mod store;
#[cfg(test)]
mod tests;

static MIGRATOR: Migrator = sqlx::migrate!();

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
}

fn main() -> ExitCode {
    platform::App::<Config>::new("catalog")
        .services(const { &[&CATALOG_SERVICE] })
        .command("migrate", "Applies the migrations.", migrate)
        .main(start)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    config
        .db
        .migrate(&[&platform_db::MIGRATOR, &MIGRATOR])
        .await
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let sealer = Sealer::new(&config.seal)?;
    let db = config
        .db
        .connect(rt, &sealer, &[&platform_db::MIGRATOR, &MIGRATOR])
        .await?;
    let verifier = Arc::new(Verifier::new(&config.auth));

    rt.grpc(
        &config.grpc,
        verifier,
        CatalogServiceServer::new(grpc::Catalog { db }),
    );
    Ok(())
}
