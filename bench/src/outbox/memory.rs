//! What relay and consumer take while nothing happens.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::{Bench, IDLE};

/// Long enough for everything to have begun, and for what only the beginning needs to be gone.
const SETTLING: Duration = Duration::from_secs(8);

/// Prints the memory of a process without and with them.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<()> {
    let alone = Idle::start(bench, "")?;
    let whole = Idle::start(bench, "relay,consumer")?;
    tokio::time::sleep(SETTLING).await;
    let (alone, whole) = (alone.resident_kib()?, whole.resident_kib()?);
    let mib = |kib: u64| format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024);
    println!("{:<28}{:>12}", "idle memory", "resident");
    println!("{:<28}{:>12}", "neither", mib(alone));
    println!("{:<28}{:>12}", "relay and consumer", mib(whole));
    println!();
    Ok(())
}

struct Idle(Child);

impl Idle {
    fn start(bench: &Bench, roles: &str) -> anyhow::Result<Idle> {
        let child = Command::new(std::env::current_exe()?)
            .env("BENCH_ROLES", roles)
            .env("RESOURCE_PREFIX", bench.prefix(IDLE))
            .env("LISTEN_ADMIN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Idle(child))
    }

    fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|kib| kib.parse().ok())
            .context("its memory cannot be told")
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
