//! Migrations: applied as the owner, checked by those who serve.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tracing::{info, warn};

use crate::error::{Kind, classify};

/// Key of the advisory lock that lets one process migrate at a time ("migrate" in ASCII).
const LOCK: i64 = 0x6d_69_67_72_61_74_65;
const RETRY_EVERY: Duration = Duration::from_millis(500);
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Waits for Postgres for as long as it takes; a refusal (password, no such database) is final.
pub(crate) async fn connect(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let mut said: Option<Instant> = None;
    loop {
        match options.connect().await {
            Err(error) if classify(&error) == Kind::Unavailable => {
                if said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
                    warn!("waiting for the database: {error}");
                    said = Some(Instant::now());
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
            result => return result.context("cannot connect to the database"),
        }
    }
}

/// Applies what is missing, in the order of `migrators`. Migrations that the database has
/// and we do not know belong to a newer version beside this one, and stay.
pub async fn run(conn: &mut PgConnection, migrators: &[&Migrator]) -> anyhow::Result<()> {
    lock(conn).await?;
    // A migration that waits for a lock makes everybody wait who comes after it.
    sqlx::query("SET lock_timeout = '10s'")
        .execute(&mut *conn)
        .await?;
    let result = apply(conn, migrators).await;
    unlock(conn).await?;
    result
}

async fn lock(conn: &mut PgConnection) -> sqlx::Result<()> {
    let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK);
    lock.execute(conn).await?;
    Ok(())
}

async fn unlock(conn: &mut PgConnection) -> sqlx::Result<()> {
    let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK);
    unlock.execute(conn).await?;
    Ok(())
}

async fn apply(conn: &mut PgConnection, migrators: &[&Migrator]) -> anyhow::Result<()> {
    for migrator in migrators {
        let migrator = Migrator {
            migrations: migrator.migrations.clone(),
            ignore_missing: true,
            locking: false,
            no_tx: migrator.no_tx,
            table_name: migrator.table_name.clone(),
            create_schemas: migrator.create_schemas.clone(),
        };
        migrator
            .run_direct(None, &mut *conn, false)
            .await
            .with_context(|| format!("cannot bring {} up to date", migrator.table_name))?;
        info!("{} is up to date", migrator.table_name);
    }
    Ok(())
}

/// Lets `role` read and write what the migrations made, but change no table.
///
/// A table whose comment begins with `append-only` gets SELECT and INSERT; the tables of the
/// migrators get SELECT.
pub async fn grant(
    conn: &mut PgConnection,
    role: &str,
    migrators: &[&Migrator],
) -> anyhow::Result<()> {
    let schemas: BTreeSet<&str> = migrators
        .iter()
        .flat_map(|migrator| migrator.create_schemas.iter().map(Cow::as_ref))
        .chain(["public"])
        .collect();
    let relations: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT format('%I.%I', nspname, relname),
                relkind = 'S',
                coalesce(obj_description(pg_class.oid, 'pg_class') LIKE 'append-only%', false)
         FROM pg_class
         JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE nspname = ANY ($1)
           AND relkind IN ('r', 'p', 'v', 'S')
           AND pg_has_role(relowner, 'USAGE')",
    )
    .bind(Vec::from_iter(
        schemas.iter().map(|schema| schema.to_string()),
    ))
    .fetch_all(&mut *conn)
    .await?;

    let role = quoted(role);
    let schemas = Vec::from_iter(schemas.into_iter().map(quoted)).join(", ");
    let mut sql = format!(
        "GRANT USAGE ON SCHEMA {schemas} TO {role};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schemas}
             GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schemas}
             GRANT USAGE, SELECT ON SEQUENCES TO {role};"
    );
    for (relation, sequence, append_only) in relations {
        let bookkeeping = migrators.iter().any(|migrator| {
            relation == migrator.table_name || relation == format!("public.{}", migrator.table_name)
        });
        let (kind, rights) = match (sequence, bookkeeping, append_only) {
            (true, _, _) => ("SEQUENCE", "USAGE, SELECT"),
            (false, true, _) => ("TABLE", "SELECT"),
            (false, false, true) => ("TABLE", "SELECT, INSERT"),
            (false, false, false) => ("TABLE", "SELECT, INSERT, UPDATE, DELETE"),
        };
        sql += &format!(
            "REVOKE ALL ON {kind} {relation} FROM {role};
             GRANT {rights} ON {kind} {relation} TO {role};"
        );
    }
    // Two that grant at once would collide in the catalogue, where nobody waits.
    lock(conn).await?;
    // Several statements in one message are one transaction.
    let granted = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await;
    unlock(conn).await?;
    granted.with_context(|| format!("cannot let {role} serve"))?;
    Ok(())
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// Checks that every migration we know is applied as we know it.
pub async fn verify(conn: &mut PgConnection, migrators: &[&Migrator]) -> Result<(), String> {
    for migrator in migrators {
        let table = &migrator.table_name;
        let applied = match conn.list_applied_migrations(table).await {
            Ok(applied) => applied,
            Err(MigrateError::Execute(sqlx::Error::Database(error)))
                if matches!(error.code().as_deref(), Some("42P01" | "3F000")) =>
            {
                return Err(format!("{table} does not exist; run `migrate` first"));
            }
            Err(error) => return Err(error.to_string()),
        };
        let mut applied: HashMap<_, _> = applied
            .into_iter()
            .map(|migration| (migration.version, migration.checksum))
            .collect();
        for known in migrator.iter() {
            match applied.remove(&known.version) {
                Some(checksum) if checksum == known.checksum => {}
                Some(_) => {
                    return Err(format!(
                        "migration {} of {table} was applied with another text",
                        known.version
                    ));
                }
                None => {
                    return Err(format!(
                        "migration {} of {table} is missing; run `migrate` first",
                        known.version
                    ));
                }
            }
        }
        if let Some(newest) = applied.keys().max() {
            info!("{table} has migrations of a newer version, up to {newest}");
        }
    }
    Ok(())
}
