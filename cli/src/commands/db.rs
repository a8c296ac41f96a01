use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command as Process, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use super::{Base, plan_of, test::database::Database};
use crate::{
    checkout::Checkout,
    os::process::Signal,
    stack::{
        plan::{Plan, postgres_port},
        postgres::Postgres,
        supervisor,
    },
};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Checks every service's queries against its migrations, and writes its `.sqlx`.
    Prepare {
        /// These services only.
        #[arg(long, value_name = "SERVICE,...", value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Drops the databases of a running stack and makes them anew; demo data are loaded again.
    Reset {
        #[command(flatten)]
        base: Base,
    },
    /// Deletes every row in the databases of a running stack; demo data are loaded again.
    Clean {
        #[command(flatten)]
        base: Base,
    },
}

pub(crate) fn run(checkout: &Checkout, command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Prepare { only } => prepare(checkout, only)?,
        Command::Reset { base } => change(checkout, base.port_base, reset)?,
        Command::Clean { base } => change(checkout, base.port_base, clean)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Deletes data of a stack of this checkout, never of anything else: only its own Postgres is
/// asked, and only where nobody says that this is production.
fn change(
    checkout: &Checkout,
    base: u16,
    work: fn(&Plan, &Postgres) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let environment = std::env::var("ENVIRONMENT").unwrap_or_else(|_| "development".to_owned());
    if !matches!(environment.as_str(), "development" | "test") {
        bail!("this deletes data, and ENVIRONMENT is {environment}");
    }
    let (state, plan) = plan_of(checkout, base)?;
    if !state.status.ready {
        bail!(
            "the stack at port base {base} is {}; try again when it is ready",
            state.step
        );
    }
    let postgres = Postgres::durable(&plan.folder, postgres_port(base))?;
    work(&plan, &postgres)?;
    if let Some(redis) = plan.redis()? {
        redis.flush()?;
    }

    let _ = fs::remove_file(plan.folder.demo());
    // What they know by heart, such as keys, is no longer true; the supervisor starts them again.
    for process in state.processes.iter().filter(|process| process.replica > 0) {
        process.identity.end(Signal::TERM, Duration::from_secs(25));
    }
    eprintln!("done; the services start again");
    Ok(())
}

fn reset(plan: &Plan, postgres: &Postgres) -> anyhow::Result<()> {
    for service in with_database(plan) {
        eprintln!("resetting {service}");
        postgres.sql(
            "postgres",
            &format!("DROP DATABASE IF EXISTS \"{service}\" WITH (FORCE)"),
        )?;
    }
    crate::stack::databases::make(plan, postgres)?;
    for (name, mut child) in supervisor::start_migrations(plan)? {
        if !child.wait()?.success() {
            let log = plan.folder.log(&format!("{name}-migrate"));
            bail!("`{name} migrate` failed\n{}", supervisor::tail(&log));
        }
    }
    Ok(())
}

fn clean(plan: &Plan, postgres: &Postgres) -> anyhow::Result<()> {
    // Tables of sqlx say which migrations are applied.
    const SQL: &str = "
        SELECT 'TRUNCATE ' || string_agg(format('%I.%I', schemaname, tablename), ', ') || ' CASCADE'
        FROM pg_tables
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tablename NOT LIKE '%migrations'
        HAVING count(*) > 0 \\gexec";
    for service in with_database(plan) {
        eprintln!("cleaning {service}");
        postgres.sql(service, SQL)?;
    }
    Ok(())
}

fn with_database(plan: &Plan) -> impl Iterator<Item = &str> {
    let services = plan
        .services
        .iter()
        .filter(|service| service.needs("postgres"));
    services.map(|service| service.name.as_str())
}

/// For each service: a database with all its migrations, then a build that asks it.
fn prepare(checkout: &Checkout, only: &[String]) -> anyhow::Result<()> {
    let folder = checkout.folder("prepare");
    folder.make()?;
    let Some(_lock) = supervisor::lock(&folder)? else {
        bail!("another `db prepare` runs")
    };
    let database = Database::in_folder(&folder)?;
    let mut platform = Vec::new();
    for entry in fs::read_dir(checkout.root.join("crates")).context("cannot read crates/")? {
        platform.push(entry?.path().join("migrations"));
    }
    platform.sort();
    for service in checkout.services()? {
        let home = checkout.root.join("services").join(&service);
        let own = home.join("migrations");
        if own.is_dir() && (only.is_empty() || only.contains(&service)) {
            eprintln!("preparing {service}");
            apply(&database.postgres, &service, platform.iter().chain([&own]))?;
            check(checkout, &home, &service, &database.postgres)?;
        }
    }
    drop(database);
    folder.purge()
}

/// The binary that could migrate may not build before its queries are prepared, so this is done by
/// hand.
fn apply<'a>(
    postgres: &Postgres,
    database: &str,
    folders: impl Iterator<Item = &'a PathBuf>,
) -> anyhow::Result<()> {
    postgres.sql("postgres", &format!("CREATE DATABASE \"{database}\""))?;
    postgres.sql(database, "CREATE SCHEMA IF NOT EXISTS platform")?;
    for folder in folders {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
        files.sort();
        for file in files {
            let sql = fs::read_to_string(&file)?;
            postgres
                .sql(database, &sql)
                .with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}

/// Builds with the database at hand; queries that are no longer there lose their file.
fn check(
    checkout: &Checkout,
    home: &Path,
    service: &str,
    postgres: &Postgres,
) -> anyhow::Result<()> {
    let kept = home.join(".sqlx");
    let new = home.join(".sqlx.new");
    let _ = fs::remove_dir_all(&new);
    fs::create_dir(&new)?;
    // Only this service is built anew, so all queries in the folder are its own.
    let main = home.join("src/main.rs");
    fs::File::options()
        .write(true)
        .open(&main)?
        .set_modified(std::time::SystemTime::now())?;
    let name = format!("{}_DATABASE_URL", service.to_uppercase().replace('-', "_"));
    let url = postgres.url();
    let url = url.strip_suffix("/postgres").unwrap_or(&url);
    let status = Process::new("cargo")
        .args(["build", "--workspace", "--all-targets"])
        .env(name, format!("{url}/{service}"))
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", &new)
        .current_dir(&checkout.root)
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        let _ = fs::remove_dir_all(&new);
        bail!("the queries of {service} do not fit its migrations");
    }
    let _ = fs::remove_dir_all(&kept);
    fs::rename(&new, &kept)?;
    Ok(())
}
