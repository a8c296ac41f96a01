//! Knows who everybody is: accounts, organisations and sessions, and the keys that sign their tokens.

mod audit;
mod domain;
mod expired_invitations_cleaner;
mod expired_sessions_cleaner;
mod grpc;
mod http;
mod import;
mod keys;
mod old_attempts_cleaner;
mod old_audit_entries_cleaner;
mod password;
mod service_secrets;
mod signing_keys_rotator;
mod store;
#[cfg(test)]
mod tests;
mod throttle;
mod tokens;

use std::{fs::File, io::BufReader, process::ExitCode, sync::Arc};

use anyhow::{Context as _, ensure};
use api::homeward::identity::v1::{
    IDENTITY_SERVICE, identity_service_server::IdentityServiceServer,
};
use platform::{
    App, Runtime,
    auth::Verifier,
    config::{AuthArgs, GrpcArgs, HttpArgs, SealArgs, Secret},
    sealed::Sealer,
};
use platform_contract::Service;
use platform_db::DbArgs;
use platform_events::{KafkaArgs, command};
use sqlx::{Connection as _, PgConnection, migrate::Migrator};

use crate::{
    audit::By,
    grpc::Identity,
    keys::{Keys, rotation::RotationArgs},
    old_audit_entries_cleaner::AuditArgs,
    password::{PasswordArgs, Passwords},
    service_secrets::ServiceSecrets,
    throttle::{Throttle, ThrottleArgs},
    tokens::{TokenArgs, Tokens},
};

static SERVICES: &[&Service] = &[&IDENTITY_SERVICE];
static MIGRATOR: Migrator = sqlx::migrate!();
static MIGRATORS: &[&Migrator] = &[
    &platform_db::MIGRATOR,
    &platform_events::MIGRATOR,
    &MIGRATOR,
];

#[derive(clap::Args, Debug)]
struct Config {
    #[command(flatten)]
    grpc: GrpcArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    auth: AuthArgs,
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    seal: SealArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    passwords: PasswordArgs,
    #[command(flatten)]
    throttle: ThrottleArgs,
    #[command(flatten)]
    rotation: RotationArgs,
    #[command(flatten)]
    audit: AuditArgs,
    /// By which services prove who they are: `catalog=<secret>,bff=<secret>`.
    #[arg(env = "SERVICE_SECRETS")]
    service_secrets: Secret,
}

#[derive(clap::Args)]
struct ImportArgs {
    /// One account per line: `email`, `display_name`, `kind`, `password_hash`, and maybe `created_at`.
    file: std::path::PathBuf,
}

#[derive(clap::Args)]
struct GrantArgs {
    /// The address of a registered user.
    #[arg(long)]
    email: String,
    /// The global role.
    #[arg(long, value_parser = ["operator"])]
    role: String,
}

fn main() -> ExitCode {
    App::<Config>::new("identity")
        .services(SERVICES)
        .events(api::EVENTS, &["events.user"])
        .command("migrate", "Applies the migrations.", migrate)
        .command_with::<command::Args>(
            "events",
            "Shows what is said, and how far it is sent.",
            events,
        )
        .command_with::<GrantArgs>("grant", "Gives a user a global role.", grant)
        .command_with::<keys::command::Args>(
            "keys",
            "Shows the signing keys, and rotates and retires them out of turn.",
            keys::command::run,
        )
        .command_with::<ImportArgs>(
            "import",
            "Makes accounts with bcrypt hashes from a file of JSON lines.",
            import,
        )
        .main(start)
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    config.db.migrate(MIGRATORS).await
}

async fn events(config: Config, args: command::Args) -> anyhow::Result<()> {
    let service = command::Service {
        name: "identity",
        db: &config.db,
        kafka: &config.kafka,
        contract: api::EVENTS,
        descriptors: api::DESCRIPTORS,
        consumers: &[],
    };
    command::run(&service, args).await
}

/// The first operator can come from nowhere else; operators appoint the next ones.
async fn grant(config: Config, args: GrantArgs) -> anyhow::Result<()> {
    let email = platform::text::email(&args.email)
        .map_err(|rule| anyhow::anyhow!("the e-mail address {rule}"))?;
    let mut conn = PgConnection::connect(&config.db.database_url.expose())
        .await
        .context("cannot connect to the database")?;
    let mut tx = conn.begin().await?;
    let user = store::user::find(&mut tx, &email.key)
        .await?
        .context("no account has this e-mail address")?;
    // A replica of the service sends the event.
    let (by, now) = (By::command(), platform::time::now());
    grpc::roles::give(&mut tx, user, &args.role, by, now).await?;
    tx.commit().await?;
    println!("user {} is {}", user.0, args.role);
    Ok(())
}

async fn import(config: Config, args: ImportArgs) -> anyhow::Result<()> {
    let file = File::open(&args.file).context("cannot open the file")?;
    let mut conn = PgConnection::connect(&config.db.database_url.expose())
        .await
        .context("cannot connect to the database")?;
    let report = |line: u64, problem: &str| eprintln!("line {line}: {problem}");
    let done = import::run(&mut conn, BufReader::new(file), report).await?;
    println!("{done}");
    ensure!(done.refused == 0, "not every line was imported");
    Ok(())
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let sealer = Sealer::new(&config.seal)?;
    let db = config.db.connect(rt, &sealer, MIGRATORS).await?;
    let keys = Arc::new(Keys::new());
    let identity = Identity {
        db: db.clone(),
        passwords: Passwords::new(&config.passwords, rt.registry())?,
        throttle: Throttle::new(sealer.clone(), config.throttle),
        tokens: Tokens::new(keys.clone(), sealer.clone(), &config.auth, &config.tokens)?,
        service_secrets: ServiceSecrets::new(config.service_secrets)?,
    };

    let kafka = config.kafka.connect(rt);
    let verifier = Arc::new(Verifier::new(&config.auth));
    rt.grpc(
        &config.grpc,
        verifier.clone(),
        IdentityServiceServer::new(identity),
    );
    rt.http(
        &config.http,
        http::router(keys.clone(), &config.auth.issuer_url),
    );
    rt.ready_when("signing-key", {
        let keys = keys.clone();
        move || std::future::ready(keys.current().map(drop))
    });
    rt.spawn("outbox-relay", {
        let (db, kafka) = (db.clone(), kafka.clone());
        move |stop| platform_events::relay(db, kafka, stop)
    });
    rt.spawn("revocations", move |stop| {
        platform_events::revocations(kafka, verifier, api::EVENTS, stop)
    });
    rt.spawn("signing-keys-reader", {
        let (db, sealer, keys) = (db.clone(), sealer.clone(), keys.clone());
        move |stop| async move { keys.keep_loaded(&db, &sealer, stop).await }
    });
    rt.spawn("signing-keys-rotator", {
        let db = db.clone();
        move |stop| signing_keys_rotator::run(db, sealer, config.rotation, keys, stop)
    });
    rt.spawn("old-audit-entries-cleaner", {
        let db = db.clone();
        move |stop| old_audit_entries_cleaner::run(db.pool().clone(), config.audit, stop)
    });
    rt.spawn("expired-invitations-cleaner", {
        let db = db.clone();
        move |stop| expired_invitations_cleaner::run(db.pool().clone(), stop)
    });
    rt.spawn("old-attempts-cleaner", {
        let db = db.clone();
        move |stop| old_attempts_cleaner::run(db.pool().clone(), stop)
    });
    rt.spawn("expired-sessions-cleaner", move |stop| {
        expired_sessions_cleaner::run(db.pool().clone(), stop)
    });
    Ok(())
}
