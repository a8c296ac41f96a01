//! The servers, each a process of its own, so that nothing but their work is on their clocks.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

/// What the kernel tells of times to programs, on every machine.
const TICKS_PER_SECOND: u64 = 100;

/// Ends with this value.
pub(super) struct Process {
    pub(super) addr: SocketAddr,
    child: Child,
}

impl Process {
    /// Starts `program`, told of a free address by `LISTEN_HTTP`.
    pub(super) fn start<'v>(
        program: &Path,
        arguments: &[&OsStr],
        variables: impl IntoIterator<Item = (&'v str, String)>,
    ) -> anyhow::Result<Process> {
        let addr = free()?;
        // It has to die with this one, even if that is killed.
        let mut command = match std::env::var_os("HOMEWARD_CLI") {
            Some(cli) => {
                let mut command = Command::new(cli);
                command.args(["child", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let child = command
            .args(arguments)
            .envs(variables)
            .env("LISTEN_HTTP", addr.to_string())
            .env("LISTEN_ADMIN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Process { addr, child })
    }

    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(&self.child.id().to_string())
    }

    pub(super) fn memory(&self) -> anyhow::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number
                .and_then(|kib| kib.parse().ok())
                .context("its memory cannot be told")
        };
        Ok(Memory {
            resident_kib: kib("VmRSS:")?,
            peak_kib: kib("VmHWM:")?,
        })
    }

    pub(super) fn alive(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "a server has ended: {ended:?}");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) struct Memory {
    pub(super) resident_kib: u64,
    pub(super) peak_kib: u64,
}

/// The time that all threads of a process had a processor, in it and in the kernel for it.
pub(super) fn cpu(pid: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before may hold blanks and brackets.
    let (_, rest) = stat.rsplit_once(") ").context("it has no times")?;
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || fields.next().and_then(|ticks| ticks.parse::<u64>().ok());
    let (user, system) = (ticks(), ticks());
    let ticks = user.zip(system).map(|(user, system)| user + system);
    let ticks = ticks.context("it has no times")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
