//! A database of its own for each test: a copy of a template that has the migrations.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use url::Url;

use crate::Vars;

/// A database that is dropped with this value, or by the next run if this one is killed.
pub struct TestDb {
    /// Its name.
    pub name: String,
    /// For serving; see [`db_with_roles`].
    pub url: String,
    /// For migrating.
    pub owner_url: String,
    roles: Vec<String>,
}

/// A database with the migrations applied, as a copy of a template database that is made once
/// per set of migrations. One role, that of `TEST_DATABASE_URL`, owns and serves it.
pub async fn db(migrators: &[&Migrator]) -> TestDb {
    let mut conn = connect(&server()).await;
    clean_once(&mut conn).await;
    let template = template(&mut conn, migrators).await;
    let name = unique_name();
    run(
        &mut conn,
        format!("CREATE DATABASE {name} TEMPLATE {template}"),
    )
    .await;
    let url = with_database(&name).to_string();
    TestDb {
        name,
        owner_url: url.clone(),
        url,
        roles: Vec::new(),
    }
}

/// A database as in production: `owner_url` may change its tables, `url` only their rows.
///
/// Slower than [`db`], since it is migrated from the beginning; without migrators it is empty.
pub async fn db_with_roles(migrators: &[&Migrator]) -> TestDb {
    let mut conn = connect(&server()).await;
    clean_once(&mut conn).await;
    let name = unique_name();
    let (owner, serving) = (format!("{name}_owner"), format!("{name}_serving"));
    let password = crate::secret();
    for role in [&owner, &serving] {
        run(
            &mut conn,
            format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'"),
        )
        .await;
    }
    run(&mut conn, format!("CREATE DATABASE {name} OWNER {owner}")).await;
    let url = |role: &str| {
        let mut url = with_database(&name);
        url.set_username(role)
            .and_then(|()| url.set_password(Some(&password)))
            .expect("a Postgres URL has a role and a password");
        url.to_string()
    };
    let db = TestDb {
        owner_url: url(&owner),
        url: url(&serving),
        roles: vec![owner, serving.clone()],
        name,
    };
    if !migrators.is_empty() {
        let mut conn = connect(&db.owner_url).await;
        platform_db::migrate::run(&mut conn, migrators)
            .await
            .expect("the migrations apply");
        platform_db::migrate::grant(&mut conn, &serving, migrators)
            .await
            .expect("the serving role gets its rights");
        conn.close().await.unwrap();
    }
    db
}

impl TestDb {
    /// The variables by which a service finds the database.
    pub fn vars(&self) -> Vars {
        Vars::from([
            ("DATABASE_URL".to_owned(), self.url.clone()),
            ("MIGRATE_DATABASE_URL".to_owned(), self.owner_url.clone()),
        ])
    }

    /// A connection for looking at what the service did, as the owner.
    pub async fn connect(&self) -> PgConnection {
        connect(&self.owner_url).await
    }

    /// A small pool, as the owner.
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(5)
            .connect_lazy(&self.owner_url)
            .expect("the URL was used before")
    }
}

const DROP_TIME_MAX: Duration = Duration::from_secs(5);

impl Drop for TestDb {
    fn drop(&mut self) {
        let statements = drop_statements(&self.name, &self.roles);
        // On a thread of its own, since a runtime cannot wait inside another.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let dropped = async {
                let mut conn = PgConnectOptions::from_str(&server())?.connect().await?;
                for statement in statements {
                    sqlx::raw_sql(AssertSqlSafe(statement))
                        .execute(&mut conn)
                        .await?;
                }
                anyhow::Ok(())
            };
            // A session that a failed test left half-open would make it wait for a minute.
            runtime.block_on(async { tokio::time::timeout(DROP_TIME_MAX, dropped).await? })
        })
        .join();
        if !matches!(dropped, Ok(Ok(()))) {
            eprintln!("left the database {} for the next run to drop", self.name);
        }
    }
}

fn drop_statements(name: &str, roles: &[String]) -> Vec<String> {
    let mut statements = vec![format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")];
    statements.extend(
        roles
            .iter()
            .map(|role| format!("DROP ROLE IF EXISTS {role}")),
    );
    statements
}

/// Name of the template with these migrations; made now if it is not there.
async fn template(conn: &mut PgConnection, migrators: &[&Migrator]) -> String {
    let mut hash = Context::new(&SHA256);
    for migrator in migrators {
        hash.update(migrator.table_name.as_bytes());
        for migration in migrator.iter() {
            hash.update(&migration.version.to_be_bytes());
            hash.update(&migration.checksum);
        }
    }
    let hash = hash.finish();
    let hash = u64::from_be_bytes(hash.as_ref()[..8].try_into().unwrap());
    let name = format!("template_{hash:016x}");
    if exists(conn, &name).await {
        return name;
    }

    // Of several test processes one makes it, the others wait.
    let lock = hash.cast_signed();
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(lock)
        .execute(&mut *conn)
        .await
        .unwrap();
    if !exists(conn, &name).await {
        // Under another name until it is complete.
        let unfinished = format!("{name}_unfinished");
        run(
            conn,
            format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)"),
        )
        .await;
        run(conn, format!("CREATE DATABASE {unfinished}")).await;
        let mut inside = connect(with_database(&unfinished).as_str()).await;
        platform_db::migrate::run(&mut inside, migrators)
            .await
            .expect("the migrations apply");
        inside.close().await.unwrap();
        run(
            conn,
            format!("ALTER DATABASE {unfinished} RENAME TO {name}"),
        )
        .await;
    }
    sqlx::query("SELECT pg_advisory_unlock($1)")
        .bind(lock)
        .execute(conn)
        .await
        .unwrap();
    name
}

async fn exists(conn: &mut PgConnection, name: &str) -> bool {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(conn)
        .await
        .unwrap()
}

/// Drops what test processes that no longer run have left behind.
async fn clean_once(conn: &mut PgConnection) {
    static CLEANED: OnceCell<()> = OnceCell::const_new();
    CLEANED
        .get_or_init(|| async {
            let names: Vec<String> = sqlx::query_scalar(
                "SELECT datname::text FROM pg_database WHERE datname LIKE 'test\\_%'
                 UNION ALL
                 SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'test\\_%'",
            )
            .fetch_all(&mut *conn)
            .await
            .unwrap();
            for name in names.iter().filter(|name| is_left_behind(name)) {
                for statement in drop_statements(name, std::slice::from_ref(name)) {
                    // Another process may be cleaning, too.
                    let _ = sqlx::raw_sql(AssertSqlSafe(statement))
                        .execute(&mut *conn)
                        .await;
                }
            }
        })
        .await;
}

/// `test_<pid>_<when that process started>_<number>`, so that leftovers can be told.
fn unique_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id();
    let started = started_at(pid).unwrap_or_default();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("test_{pid}_{started}_{number}")
}

fn is_left_behind(name: &str) -> bool {
    let mut parts = name.split('_').skip(1);
    let mut number = || parts.next()?.parse::<u64>().ok();
    match (number(), number()) {
        (Some(pid), Some(started)) => {
            let pid = u32::try_from(pid).unwrap_or_default();
            // Where /proc is missing nobody can be told from the dead.
            started != 0 && started_at(pid) != Some(started)
        }
        _ => false,
    }
}

/// When a process started, in clock ticks since boot.
fn started_at(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold spaces; the start is the twentieth field behind it.
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(19)?.parse().ok()
}

fn server() -> String {
    std::env::var("TEST_DATABASE_URL").expect(
        "TEST_DATABASE_URL is not set: these tests need a Postgres whose role may create \
         databases and roles, for example postgres://postgres:secret@127.0.0.1:5432/postgres; \
         `./homeward test` starts one",
    )
}

fn with_database(name: &str) -> Url {
    let mut url = Url::parse(&server()).expect("TEST_DATABASE_URL is a URL");
    url.set_path(name);
    url
}

async fn connect(url: &str) -> PgConnection {
    PgConnectOptions::from_str(url)
        .expect("a Postgres URL")
        .connect()
        .await
        .expect("the test database answers; see TEST_DATABASE_URL")
}

async fn run(conn: &mut PgConnection, statement: String) {
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(statement.clone()))
        .execute(conn)
        .await
    {
        panic!("{statement}: {error}");
    }
}
