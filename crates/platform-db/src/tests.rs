mod migrate;
mod once;
mod page;
mod pool;
mod proxy;
mod retry;
mod traces;

use std::sync::LazyLock;

use platform::auth::{Caller, Verifier};
use platform::config::{AuthArgs, SealArgs};
use platform::sealed::Sealer;
use platform::{Running, Runtime};
use platform_testkit::{Issuer, TestDb, Vars};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{PgConnection, SqlSafeStr};

use crate::{Db, DbArgs, MIGRATOR};

/// What a service would bring along.
static OWN: LazyLock<Migrator> = LazyLock::new(|| migrator(TABLES));

const TABLES: &str = "
    CREATE TABLE counters (
        name text NOT NULL,
        total bigint NOT NULL,
        CONSTRAINT counters_pkey PRIMARY KEY (name),
        CONSTRAINT counters_total_check CHECK (total >= 0)
    );
    CREATE TABLE journal (line text NOT NULL);
    COMMENT ON TABLE journal IS 'append-only: what was done';";

fn migrator(sql: &'static str) -> Migrator {
    Migrator::with_migrations(vec![Migration::new(
        20260101000000,
        "create tables".into(),
        MigrationType::Simple,
        sql.into_sql_str(),
        false,
    )])
}

#[derive(clap::Args)]
struct Config {
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    seal: SealArgs,
}

/// A service that has nothing but a database; it lives as long as `running`.
struct Service {
    db: Db,
    running: Running,
}

async fn test_db() -> TestDb {
    platform_testkit::db(&[&MIGRATOR, &OWN]).await
}

async fn service(vars: Vars) -> Service {
    let service = unready_service(vars).await;
    service.running.ready().await;
    service
}

async fn unready_service(vars: Vars) -> Service {
    let mut db = None;
    let start = async |rt: &mut Runtime, config: Config| {
        let sealer = Sealer::new(&config.seal)?;
        db = Some(config.db.connect(rt, &sealer, &[&MIGRATOR, &OWN]).await?);
        Ok(())
    };
    let running = platform_testkit::start_unready("test", start, vars).await;
    Service {
        db: db.unwrap(),
        running,
    }
}

async fn user(issuer: &Issuer) -> Caller {
    let args: AuthArgs = platform::config::parse("test", &issuer.vars()).unwrap();
    let token = issuer.user("user-test").sign();
    Verifier::new(&args).verify(&token).await.unwrap()
}

/// Raises the counter, and says what it is then.
async fn raise(conn: &mut PgConnection, name: &str, amount: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO counters (name, total)
         VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET total = counters.total + excluded.total
         RETURNING total",
    )
    .bind(name)
    .bind(amount)
    .fetch_one(conn)
    .await
}

async fn total(db: &TestDb, name: &str) -> Option<i64> {
    sqlx::query_scalar("SELECT total FROM counters WHERE name = $1")
        .bind(name)
        .fetch_optional(&mut db.connect().await)
        .await
        .unwrap()
}
