//! Processes: started so that they die with this one, and known by pid *and* start time.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde::{Deserialize, Serialize};

use super::{account::Account, signals::wait_until};

/// This program, even when a build has put another one in its place. The link also opens for an
/// account that cannot enter the folder where the program lies.
pub(crate) const MYSELF: &str = "/proc/self/exe";

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// Clock ticks between the machine's start and its own.
    pub(crate) started: u64,
}

impl Identity {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        Some(Self {
            pid,
            started: started(pid)?,
        })
    }

    pub(crate) fn alive(self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Does nothing when the process is gone.
    pub(crate) fn signal(self, signal: Signal) {
        if self.alive()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks with a signal, then kills.
    pub(crate) fn end(self, signal: Signal, patience: Duration) {
        self.signal(signal);
        if !wait_until(patience, || !self.alive()) {
            self.signal(Signal::KILL);
            wait_until(Duration::from_secs(5), || !self.alive());
        }
    }
}

/// When a process started; none when it is gone or a zombie.
fn started(pid: i32) -> Option<u64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command in the second field may hold blanks and brackets.
fn parse_stat(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// What to start, and how.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Replaces the environment of this process, see [`inherited`].
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) folder: PathBuf,
    /// Output is added to this file.
    pub(crate) log: PathBuf,
    pub(crate) run_as: Option<Account>,
    /// What it gets when this process dies.
    pub(crate) on_parent_death: Signal,
}

impl Launch {
    /// Starts it through `homeward child`, in a process group of its own so that Ctrl-C reaches
    /// only this process.
    ///
    /// The kernel watches the *thread* that starts a child: call this from the main thread only.
    pub(crate) fn start(&self) -> io::Result<Child> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.log)?;
        let mut command = self.command();
        command
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        command.spawn()
    }

    /// As [`Launch::start`], as part of what this process does: it gets Ctrl-C, too, and complains
    /// where this process would.
    pub(crate) fn start_in_front(&self, out: Stdio) -> io::Result<Child> {
        self.command().stdout(out).spawn()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(MYSELF);
        command
            .arg("child")
            .arg(format!("--signal={}", self.on_parent_death.as_raw()))
            .arg(format!("--parent={}", std::process::id()))
            .arg("--")
            .arg(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(inherited())
            .envs(&self.env)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        if let Some(account) = self.run_as {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }
}

/// The little of this process' environment that others are to see.
fn inherited() -> impl Iterator<Item = (String, String)> {
    const NAMES: [&str; 8] = [
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "TMPDIR",
        "RUST_BACKTRACE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    NAMES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_a_name_with_brackets() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20 21";
        assert_eq!(parse_stat(&format!("42 (a) b (c) {fields}")), Some(987_654));
        assert_eq!(parse_stat("42 (gone) Z 1 2 3"), None);
    }

    #[test]
    fn a_process_is_alive_only_with_its_own_start_time() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.alive());
        assert!(
            !Identity {
                started: me.started + 1,
                ..me
            }
            .alive()
        );
    }
}
