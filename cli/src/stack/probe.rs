//! Asks a process over and over whether it is ready, on a thread of its own: one that hangs must
//! not keep the supervisor from the others.

use std::{
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};

use super::{kafka::metadata, process::Check, redis};
use crate::http;

/// How often one that is not ready, and one that is.
const EAGER: Duration = Duration::from_millis(50);
const CALM: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Probe(Arc<Mutex<Finding>>);

struct Finding {
    ready: bool,
    reason: String,
    /// Raised by each start: an answer of the process before does not count.
    generation: u64,
}

impl Probe {
    /// Ends by itself when the probe is dropped.
    pub(crate) fn of(check: Check) -> Self {
        let finding = Finding {
            ready: false,
            reason: "not asked yet".to_owned(),
            generation: 0,
        };
        let shared = Arc::new(Mutex::new(finding));
        let weak = Arc::downgrade(&shared);
        thread::spawn(move || run(&check, &weak));
        Self(shared)
    }

    pub(crate) fn ready(&self) -> bool {
        lock(&self.0).ready
    }

    /// Why it is not ready.
    pub(crate) fn reason(&self) -> String {
        lock(&self.0).reason.clone()
    }

    pub(crate) fn reset(&self) {
        let mut finding = lock(&self.0);
        finding.ready = false;
        finding.generation += 1;
    }
}

fn lock(finding: &Mutex<Finding>) -> std::sync::MutexGuard<'_, Finding> {
    finding.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(check: &Check, shared: &Weak<Mutex<Finding>>) {
    let generation = || shared.upgrade().map(|shared| lock(&shared).generation);
    while let Some(generation) = generation() {
        let answer = ask(check);
        let pause = if answer.is_ok() { CALM } else { EAGER };
        if let Some(shared) = shared.upgrade() {
            let mut finding = lock(&shared);
            if finding.generation == generation {
                finding.ready = answer.is_ok();
                finding.reason = answer.err().unwrap_or_default();
            }
        }
        thread::sleep(pause);
    }
}

fn ask(check: &Check) -> Result<(), String> {
    match check {
        Check::Http(port, path) => match http::get(*port, path, TIMEOUT) {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.body.trim().to_owned()),
            Err(error) => Err(error.to_string()),
        },
        Check::Kafka(port) => match metadata::brokers(*port, TIMEOUT) {
            Ok(0) => Err("it knows no broker yet".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
        Check::Redis(port) => redis::serves(*port, TIMEOUT),
        Check::Command(program, args) => {
            let mut command = Command::new(program);
            command
                .args(args)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            match command.status() {
                Ok(status) if status.success() => Ok(()),
                Ok(_) => Err("it does not accept connections".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        }
    }
}
