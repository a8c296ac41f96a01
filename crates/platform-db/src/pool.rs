//! The pool, and transactions that end with their caller's deadline.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use platform::Runtime;
use platform::config::Secret;
use platform::sealed::Sealer;
use platform::telemetry::{self, Span};
use sqlx::migrate::Migrator;
use sqlx::pool::MaybePoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgPool, PgTransaction, SqlSafeStr, Transaction};
use tokio::sync::watch::Receiver;

use crate::error::{Kind, classify, word};
use crate::metrics::{Counted, Metrics, Pool};
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
    writer: Pool,
    reader: Pool,
    known: Receiver<watch::State>,
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
    /// migration that the service knows, the service is not ready. Once per process, since it
    /// registers the metrics.
    pub async fn connect(
        &self,
        rt: &mut Runtime,
        sealer: &Sealer,
        migrators: &[&'static Migrator],
    ) -> anyhow::Result<Db> {
        let name = rt.name();
        let metrics = Metrics::new(rt);
        let writer_options = serving_options(&self.database_url, name).context("DATABASE_URL")?;
        let writer = Pool::new("writer", self.pool(writer_options), &metrics);
        let mut pools = vec![writer.clone()];
        let reader = match &self.database_reader_url {
            Some(url) => {
                let options = serving_options(url, name).context("DATABASE_READER_URL")?;
                pools.push(Pool::new("reader", self.pool(options), &metrics));
                pools[1].clone()
            }
            None => writer.clone(),
        };
        rt.registry().register_collector(Box::new(Counted(pools)));
        let known = watch::start(rt, &self.database_url, writer.pool.clone(), migrators);
        let cleaned = writer.pool.clone();
        rt.spawn("request-cleaner", move |stop| once::clean(cleaned, stop));
        Ok(Db {
            writer,
            reader,
            known,
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
        let begun = begin(&self.writer, "BEGIN").await;
        begun.map_err(|error| self.told_apart(error))
    }

    /// Begins a transaction that only reads, on the read replica if there is one: it may be
    /// a moment behind. Dropping it is enough.
    pub async fn read(&self) -> sqlx::Result<Tx> {
        let begun = begin(&self.reader, "BEGIN READ ONLY").await;
        begun.map_err(|error| self.told_apart(error))
    }

    /// The pool itself, for work outside of requests.
    pub fn pool(&self) -> &PgPool {
        &self.writer.pool
    }

    /// While the database is away, sqlx tries to connect for as long as a caller waits, and then says no more
    /// than of a pool whose connections are all in use.
    fn told_apart(&self, error: sqlx::Error) -> sqlx::Error {
        match &*self.known.borrow() {
            Err(problem) if matches!(error, sqlx::Error::PoolTimedOut) => {
                sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, problem.clone()))
            }
            _ => error,
        }
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }
}

/// In a span, since sqlx does not tell of this statement as of others.
async fn begin(pool: &Pool, statement: &'static str) -> sqlx::Result<Tx> {
    let span = Span::within(telemetry::Kind::Client, |span| {
        span.name("BEGIN");
        span.set("db.system.name", "postgresql");
        span.set("db.operation.name", "BEGIN");
    });
    let begun = begin_somewhere(pool, statement).await;
    span.close(&begun, word);
    begun
}

/// One round trip for the beginning and the deadline.
async fn begin_somewhere(pool: &Pool, begin: &'static str) -> sqlx::Result<Tx> {
    // After a restart of Postgres every idle connection is dead. A transaction that did not
    // begin had no effect, so the next connection is tried.
    let mut tries = pool.pool.options().get_max_connections() + 1;
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
