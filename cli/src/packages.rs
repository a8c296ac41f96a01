//! What the system must have, and how it gets there: by `apt-get` as root, else by a line to run.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{
    os::account,
    stack::{kafka, postgres, redis},
};

/// Something that is needed from the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Compiler,
    Librdkafka,
    Static,
    Postgres,
    Redis,
    Java,
    Maven,
    Python,
    Venv,
    Kcat,
    Chromium,
    Go,
    Haproxy,
}

impl Need {
    pub(crate) const FOR_UP: &[Self] = &[
        Self::Compiler,
        Self::Librdkafka,
        Self::Postgres,
        Self::Redis,
        Self::Java,
        Self::Maven,
    ];
    pub(crate) const FOR_TEST: &[Self] = &[
        Self::Compiler,
        Self::Librdkafka,
        Self::Postgres,
        Self::Redis,
        Self::Java,
        Self::Maven,
        Self::Python,
        Self::Venv,
        Self::Kcat,
        Self::Chromium,
        Self::Go,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Compiler => "a C compiler",
            Self::Librdkafka => "what builds librdkafka (g++, make, pkg-config, OpenSSL)",
            Self::Static => "what builds static programs (musl, g++, make, Perl)",
            Self::Postgres => "Postgres",
            Self::Redis => "Redis",
            Self::Java => "Java 17 or later",
            Self::Maven => "Maven",
            Self::Python => "Python 3",
            Self::Venv => "Python's venv",
            Self::Kcat => "kcat",
            Self::Chromium => "Chromium",
            Self::Go => "Go 1.19 or later",
            Self::Haproxy => "HAProxy",
        }
    }

    /// Debian's packages.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Compiler => &["gcc", "libc6-dev"],
            Self::Librdkafka => &["g++", "libssl-dev", "make", "pkg-config"],
            Self::Static => &["g++", "make", "musl-tools", "perl"],
            Self::Postgres => &["postgresql"],
            Self::Redis => &["redis-server"],
            Self::Java => &["openjdk-17-jre-headless"],
            Self::Maven => &["maven"],
            Self::Python => &["python3"],
            Self::Venv => &["python3-venv"],
            Self::Kcat => &["kcat"],
            Self::Chromium => &["chromium"],
            Self::Go => &["golang-go"],
            Self::Haproxy => &["haproxy"],
        }
    }

    pub(crate) fn met(self) -> bool {
        match self {
            Self::Compiler => runs("cc", &["--version"]),
            Self::Librdkafka => {
                in_path("g++") && in_path("make") && runs("pkg-config", &["--exists", "openssl"])
            }
            Self::Static => ["g++", "make", "musl-gcc", "perl"].into_iter().all(in_path),
            Self::Postgres => postgres::programs().is_some(),
            Self::Redis => in_path(redis::PROGRAM),
            Self::Java => kafka::java().is_some(),
            Self::Maven => in_path("mvn"),
            Self::Python => runs("python3", &["--version"]),
            Self::Venv => runs("python3", &["-c", "import ensurepip, venv"]),
            Self::Kcat => in_path("kcat"),
            Self::Chromium => in_path("chromium"),
            Self::Go => in_path("go"),
            // Not everybody has that folder in PATH.
            Self::Haproxy => in_path("haproxy") || Path::new("/usr/sbin/haproxy").is_file(),
        }
    }
}

/// For what would take a while to say its version.
fn in_path(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program lies.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

pub(crate) fn runs(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs what is missing, or says how.
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !need.met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|need| need.name()).collect();
    let names = names.join(", ");
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages())
        .copied()
        .collect();
    if !runs("apt-get", &["--version"]) {
        bail!(
            "missing: {names}; install {} as this system does it",
            packages.join(" ")
        );
    }
    if !account::am_root() {
        bail!(
            "missing: {names}\nrun this, then try again:\n\n  {}\n",
            line_to_run(&packages)
        );
    }
    eprintln!("missing: {names}");
    eprintln!(
        "installing with apt-get, without starting any service: {}",
        packages.join(" ")
    );
    install(&packages)?;
    match missing.iter().find(|need| !need.met()) {
        Some(need) => bail!("{} is still missing after apt-get", need.name()),
        None => Ok(()),
    }
}

/// How to get what is missing, in one line.
pub(crate) fn remedy(missing: &[Need]) -> String {
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages())
        .copied()
        .collect();
    if !runs("apt-get", &["--version"]) {
        return format!("install {} as this system does it", packages.join(" "));
    }
    let line = line_to_run(&packages);
    match line.strip_prefix("sudo ") {
        // Root often has no sudo.
        Some(line) if account::am_root() => line.to_owned(),
        _ => line,
    }
}

/// While this refuses, packages start no service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The packages would make a cluster of their own and start it; ours is another.
const NO_CLUSTER: &str = "/etc/postgresql-common/createcluster.d/homeward.conf";
const NO_CLUSTER_TEXT: &str = "create_main_cluster = false";

fn line_to_run(packages: &[&str]) -> String {
    let install = format!(
        "apt-get update && apt-get install -y {}",
        packages.join(" ")
    );
    let install = if packages.contains(&"redis-server") {
        format!(
            "[ -e {POLICY} ] || {{ printf \"#!/bin/sh\\nexit 101\\n\" > {POLICY}; chmod 755 {POLICY}; ours=1; }}; \
             {install}; [ -z \"$ours\" ] || rm -f {POLICY}"
        )
    } else {
        install
    };
    if packages.contains(&"postgresql") {
        let folder = Path::new(NO_CLUSTER)
            .parent()
            .unwrap_or(Path::new("/"))
            .display();
        format!(
            "sudo sh -c 'mkdir -p {folder} && echo {NO_CLUSTER_TEXT} > {NO_CLUSTER} && {install}; rm -f {NO_CLUSTER}'"
        )
    } else {
        format!("sudo sh -c '{install}'")
    }
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let _policy = Guard::policy()?;
    let _cluster = if packages.contains(&"postgresql") {
        Some(Guard::cluster()?)
    } else {
        None
    };
    let apt = |args: &[&str]| -> anyhow::Result<()> {
        let status = Command::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            // Standard output belongs to what the command answers.
            .stdout(std::io::stderr())
            .status()
            .context("cannot run apt-get")?;
        if !status.success() {
            bail!("`apt-get {}` failed", args.join(" "));
        }
        Ok(())
    };
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], packages].concat())
}

/// A file that is there only while packages are installed.
struct Guard(Option<PathBuf>);

impl Guard {
    /// Keeps packages from starting services. One that is there already stays.
    fn policy() -> anyhow::Result<Self> {
        const TEXT: &str = "#!/bin/sh\n# Made by homeward while it installs packages.\nexit 101\n";
        if fs::read_to_string(POLICY).is_ok_and(|text| text != TEXT) {
            return Ok(Self(None));
        }
        fs::write(POLICY, TEXT).with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self(Some(POLICY.into())))
    }

    fn cluster() -> anyhow::Result<Self> {
        let path = Path::new(NO_CLUSTER);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, format!("{NO_CLUSTER_TEXT}\n"))
            .with_context(|| format!("cannot write {NO_CLUSTER}"))?;
        Ok(Self(Some(path.to_owned())))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_run_makes_no_cluster_and_leaves_no_file() {
        let line = line_to_run(&["postgresql"]);
        assert!(line.contains("create_main_cluster = false") && line.contains("rm -f"));
        assert_eq!(
            line_to_run(&["gcc", "libc6-dev"]),
            "sudo sh -c 'apt-get update && apt-get install -y gcc libc6-dev'"
        );
    }

    #[test]
    fn the_line_to_run_starts_no_redis_and_leaves_a_policy_that_was_there() {
        let line = line_to_run(&["redis-server"]);
        let inside = line.strip_prefix("sudo sh -c '").unwrap();
        let inside = inside.strip_suffix('\'').unwrap();
        assert!(!inside.contains('\''), "{inside}");
        let folder = std::env::temp_dir().join(format!("homeward-policy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let policy = folder.join("policy-rc.d");
        let script = inside
            .replace(POLICY, policy.to_str().unwrap())
            .replace("apt-get update", "cat \"$POLICY\"")
            .replace("apt-get install -y redis-server", "cat \"$POLICY\"");
        let run = || {
            let output = Command::new("sh")
                .args(["-c", &script])
                .env("POLICY", &policy)
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(run(), "#!/bin/sh\nexit 101\n".repeat(2));
        assert!(!policy.exists());
        fs::write(&policy, "theirs\n").unwrap();
        assert_eq!(run(), "theirs\ntheirs\n");
        assert!(policy.exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
