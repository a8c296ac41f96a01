//! Database connections of our own: events never take one from the pool of requests.

use std::time::Duration;

use platform_db::Db;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// A connection whose transactions Postgres ends when they stand still for too long.
pub(crate) async fn connect(
    db: &Db,
    task: &str,
    idle_in_transaction: Duration,
) -> sqlx::Result<PgConnection> {
    let options = db.pool().connect_options();
    let service = options.get_application_name().unwrap_or_default();
    let idle_ms = format!("{}ms", idle_in_transaction.as_millis());
    let options = PgConnectOptions::clone(&options)
        .application_name(&format!("{service} {task}"))
        .options([("idle_in_transaction_session_timeout", idle_ms)]);
    tokio::time::timeout(CONNECT_TIME_MAX, options.connect())
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)?
}
