//! The pool, and transactions that end with their caller's deadline.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use platform::Runtime;
use platform::config::Secret;
use platform::sealed::Sealer;
use sqlx::migrate::Migrator;
use sqlx::pool::MaybePoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgPool, PgTransaction, SqlSafeStr, Transaction};

use crate::error::{Kind, classify};
use crate::{migrate, once, watch};

/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection that was idle for longer is asked whether it still lives before it is used.
const IDLE_UNTESTED: Duration = Duration::from_secs(1);

/// The database of a service.
#[derive(Clone, Debug, clap::Args)]
pub struct DbArgs {
    /// URL of the database, as the role that serves.
    #[arg(env = "DATABASE_URL")]
    pub database_url: Secret,
    /// URL of a read replica; without it reads go to DATABASE_URL.
    #[arg(env = "DATABASE_READER_URL")]
    pub database_reader_url: Option<Secret>,
    /// Most connections of this process to each database.
    #[arg(env = "DATABASE_POOL_MAX", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub database_pool_max: u32,
    /// URL of the database, as the role that owns it; read by `migrate` only.
    #[arg(env = "MIGRATE_DATABASE_URL")]
    pub migrate_database_url: Option<Secret>,
}

/// A transaction; dropped without a commit, it is rolled back.
pub type Tx = PgTransaction<'static>;

/// The database of a service; cheap to clone.
#[derive(Clone)]
pub struct Db {
    writer: PgPool,
    reader: PgPool,
    sealer: Sealer,
}

impl DbArgs {
    /// Applies the migrations as the owner of the database, one process at a time, and lets
    /// the serving role use what they made.
    pub async fn migrate(&self, migrators: &[&Migrator]) -> anyhow::Result<()> {
        let serving = options(&self.database_url).context("DATABASE_URL")?;
        let owner = match &self.migrate_database_url {
            Some(url) => options(url).context("MIGRATE_DATABASE_URL")?,
            None => serving.clone(),
        };
        let mut conn = migrate::connect(&owner).await?;
        migrate::run(&mut conn, migrators).await?;
        if serving.get_username() != owner.get_username() {
            migrate::grant(&mut conn, serving.get_username(), migrators).await?;
        }
        conn.close().await?;
        Ok(())
    }

    /// Makes the pool without waiting for Postgres: until it is there, and has every
    /// migration that the service knows, the service is not ready.
    pub async fn connect(
        &self,
        rt: &mut Runtime,
        sealer: &Sealer,
        migrators: &[&'static Migrator],
    ) -> anyhow::Result<Db> {
        let name = rt.name();
        let writer_options = serving_options(&self.database_url, name).context("DATABASE_URL")?;
        let writer = self.pool(writer_options);
        let reader = match &self.database_reader_url {
            Some(url) => self.pool(serving_options(url, name).context("DATABASE_READER_URL")?),
            None => writer.clone(),
        };
        watch::start(rt, &self.database_url, writer.clone(), migrators);
        let cleaned = writer.clone();
        rt.spawn("request-cleaner", move |stop| once::clean(cleaned, stop));
        Ok(Db {
            writer,
            reader,
            sealer: sealer.clone(),
        })
    }

    fn pool(&self, options: PgConnectOptions) -> PgPool {
        PgPoolOptions::new()
            .max_connections(self.database_pool_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_lifetime(Duration::from_mins(30))
            .idle_timeout(Duration::from_mins(5))
            .test_before_acquire(false)
            .before_acquire(|conn, meta| {
                Box::pin(async move {
                    if meta.idle_for > IDLE_UNTESTED {
                        conn.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options)
    }
}

impl Db {
    /// Begins a transaction. Its statements end with the caller's deadline, in Postgres too.
    pub async fn begin(&self) -> sqlx::Result<Tx> {
        begin(&self.writer, "BEGIN").await
    }

    /// Begins a transaction that only reads, on the read replica if there is one: it may be
    /// a moment behind. Dropping it is enough.
    pub async fn read(&self) -> sqlx::Result<Tx> {
        begin(&self.reader, "BEGIN READ ONLY").await
    }

    /// The pool itself, for work outside of requests.
    pub fn pool(&self) -> &PgPool {
        &self.writer
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }
}

/// One round trip for the beginning and the deadline.
async fn begin(pool: &PgPool, begin: &'static str) -> sqlx::Result<Tx> {
    // After a restart of Postgres every idle connection is dead. A transaction that did not
    // begin had no effect, so the next connection is tried.
    let mut tries = pool.options().get_max_connections() + 1;
    loop {
        let conn = pool.acquire().await?;
        let statement = match platform::deadline::remaining() {
            // 0 would mean no limit.
            Some(left) => AssertSqlSafe(format!(
                "{begin}; SET LOCAL statement_timeout = {}",
                left.as_millis().clamp(1, i32::MAX as u128)
            ))
            .into_sql_str(),
            None => begin.into_sql_str(),
        };
        // On a task of its own, because a BEGIN that its caller gives up half-way would
        // leave a connection in the pool with an open transaction that sqlx does not see.
        let begun = tokio::spawn(Transaction::begin(
            MaybePoolConnection::PoolConnection(conn),
            Some(statement),
        ));
        match begun.await.map_err(|_| sqlx::Error::WorkerCrashed)? {
            Err(error) if classify(&error) == Kind::Unavailable && tries > 1 => tries -= 1,
            result => return result,
        }
    }
}

pub(crate) fn options(url: &Secret) -> anyhow::Result<PgConnectOptions> {
    // The cause may quote the URL, and with it the password.
    PgConnectOptions::from_str(&url.expose())
        .map_err(|_| anyhow::anyhow!("not a URL like postgres://role:password@host:5432/database"))
}

/// Limits that hold for a session where no deadline is set, and for a client that has died:
/// a statement of it ends within a second, and its transaction with it.
pub(crate) fn serving_options(url: &Secret, name: &str) -> anyhow::Result<PgConnectOptions> {
    Ok(options(url)?.application_name(name).options([
        ("statement_timeout", "60s"),
        ("idle_in_transaction_session_timeout", "60s"),
        ("client_connection_check_interval", "1s"),
        ("tcp_keepalives_idle", "30"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ]))
}
