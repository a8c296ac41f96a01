//! A Postgres of our own: private port and folder, password, 127.0.0.1 only.

use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{DirBuilderExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use super::process::{Check, Spec};
use crate::{
    checkout::Folder,
    os::{
        account::{self, Account},
        process::{Identity, Launch, Signal},
        secret,
    },
};

const SETTINGS: &str = include_str!("../../settings/postgres.conf");
/// What the tests' own cluster does without: it may lose everything.
const THROWAWAY: &str = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n";

#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    pub(crate) port: u16,
    /// Where its data lie.
    pub(crate) data: PathBuf,
    programs: PathBuf,
    password: String,
    log: PathBuf,
    run_as: Option<Account>,
    durable: bool,
}

impl Postgres {
    pub(crate) fn durable(folder: &Folder, port: u16) -> anyhow::Result<Self> {
        Self::new(folder, port, true)
    }

    /// For tests: fast, and nothing survives a crash.
    pub(crate) fn throwaway(folder: &Folder, port: u16) -> anyhow::Result<Self> {
        Self::new(folder, port, false)
    }

    fn new(folder: &Folder, port: u16, durable: bool) -> anyhow::Result<Self> {
        let run_as =
            if account::am_root() {
                let account = account::named("postgres");
                Some(account.context(
                    "Postgres refuses to run as root, and there is no account `postgres`",
                )?)
            } else {
                None
            };
        Ok(Self {
            port,
            data: folder.data().join("postgres"),
            programs: programs().context("Postgres is not installed")?,
            password: secret::keep(&folder.secrets().join("postgres-password"))?,
            log: folder.log("postgres"),
            run_as,
            durable,
        })
    }

    /// The address for its superuser.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres:{}@127.0.0.1:{}/postgres",
            self.password, self.port
        )
    }

    /// Makes the cluster if there is none, and readies its folder for a start.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        let made = self.data.join("PG_VERSION");
        if made.exists() {
            self.check_version(&made)?;
        } else {
            self.make().context("cannot make a Postgres cluster")?;
        }
        let mut settings = format!("{SETTINGS}port = {}\n", self.port);
        if !self.durable {
            settings += THROWAWAY;
        }
        self.write("postgresql.conf", &settings)?;
        self.clear_leftover()
    }

    fn check_version(&self, made: &Path) -> anyhow::Result<()> {
        let version = fs::read_to_string(made)?;
        let output = Command::new(self.programs.join("postgres"))
            .arg("--version")
            .output()?;
        let installed = String::from_utf8_lossy(&output.stdout).into_owned();
        let major = |text: &str| {
            let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
            digits
                .split(|c: char| !c.is_ascii_digit())
                .next()
                .map(str::to_owned)
        };
        if major(&version) != major(&installed) {
            bail!(
                "the data in {} are of Postgres {}, installed is {}; `./homeward down --purge` deletes them",
                self.data.display(),
                version.trim(),
                installed.trim()
            );
        }
        Ok(())
    }

    fn make(&self) -> anyhow::Result<()> {
        let _ = fs::remove_dir_all(&self.data);
        let parent = self.data.parent().context("no folder for data")?;
        // Its account must be able to pass through the folders above its own.
        let mode = if self.run_as.is_some() { 0o711 } else { 0o700 };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(parent)?;
        fs::DirBuilder::new().mode(0o700).create(&self.data)?;
        self.own(&self.data)?;

        let password = parent.join("initdb-password");
        secret::write(&password, &self.password)?;
        self.own(&password)?;
        let mut initdb = Command::new(self.programs.join("initdb"));
        initdb
            .args([
                "--auth=scram-sha-256",
                "--username=postgres",
                "--encoding=UTF8",
            ])
            .args(["--locale=C.UTF-8", "--no-instructions"])
            .arg("--pgdata")
            .arg(&self.data)
            .arg("--pwfile")
            .arg(&password)
            .current_dir(parent);
        if !self.durable {
            initdb.arg("--no-sync");
        }
        if let Some(account) = self.run_as {
            initdb.uid(account.uid).gid(account.gid);
        }
        let output = initdb.output();
        let _ = fs::remove_file(&password);
        let output = output.context("cannot run initdb")?;
        if !output.status.success() {
            // Half a cluster would look like a whole one the next time.
            let _ = fs::remove_dir_all(&self.data);
            bail!("initdb: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.data.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        self.own(&path)
    }

    fn own(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(account) = self.run_as {
            chown(path, Some(account.uid), Some(account.gid))
                .with_context(|| format!("cannot give {} to Postgres", path.display()))?;
        }
        Ok(())
    }

    /// Ends a server that was left on these data, and takes away the note of one that is gone:
    /// its pid may meanwhile be that of another server, and Postgres would not start.
    pub(crate) fn clear_leftover(&self) -> anyhow::Result<()> {
        let note = self.data.join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&note) else {
            return Ok(());
        };
        let pid: Option<u32> = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        if let Some(pid) = pid
            && let Ok(folder) = fs::read_link(format!("/proc/{pid}/cwd"))
            && folder == self.data.canonicalize()?
            && let Some(process) = Identity::of(pid)
        {
            process.end(Signal::INT, Duration::from_secs(10));
        }
        match fs::remove_file(&note) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn spec(&self) -> Spec {
        Spec {
            name: "postgres".to_owned(),
            replica: 0,
            launch: Launch {
                program: self.programs.join("postgres"),
                args: vec!["-D".into(), self.data.clone().into()],
                env: [("LC_ALL".to_owned(), "C.UTF-8".to_owned())].into(),
                folder: self.data.clone(),
                log: self.log.clone(),
                run_as: self.run_as,
                on_parent_death: Signal::INT,
            },
            // SIGTERM would wait for all clients to leave.
            stop: Signal::INT,
            check: Check::Command(
                self.programs.join("pg_isready"),
                vec![
                    "-q".into(),
                    "-h127.0.0.1".into(),
                    format!("-p{}", self.port).into(),
                ],
            ),
        }
    }

    /// Runs SQL as the superuser and answers what it prints, a line per row.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let mut psql = Command::new(self.programs.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
            ])
            .args(["-p", &self.port.to_string(), "-d", database, "-f", "-"])
            .env("PGPASSWORD", &self.password)
            .env("PGCONNECT_TIMEOUT", "10")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run psql")?;
        // By standard input: statements hold passwords, arguments would show them to everybody.
        let mut stdin = psql.stdin.take().context("psql has no input")?;
        stdin.write_all(sql.as_bytes())?;
        drop(stdin);
        let output = psql.wait_with_output()?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Where the newest installed Postgres has its programs; Debian keeps the server's out of `PATH`.
pub(crate) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let newest_first = found.into_iter().rev().map(|(_, path)| path);
    newest_first
        .chain(std::env::split_paths(&in_path))
        .find(|folder| {
            ["postgres", "initdb", "psql", "pg_isready"]
                .iter()
                .all(|name| folder.join(name).is_file())
        })
}
