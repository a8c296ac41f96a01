//! One supervised process: started, watched, started again when it dies.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use super::{probe::Probe, state::Phase};
use crate::os::{
    clock,
    process::{Identity, Launch, Signal},
};

/// What a process is, before it runs.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: String,
    /// From 1; 0 for infrastructure, which has no replicas.
    pub(crate) replica: u16,
    pub(crate) launch: Launch,
    /// What asks it to stop.
    pub(crate) stop: Signal,
    pub(crate) check: Check,
}

/// How to see that a process is ready.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// A GET of this port and path is answered with 200.
    Http(u16, &'static str),
    /// Kafka at this port serves.
    Kafka(u16),
    /// Redis at this port serves.
    Redis(u16),
    /// A command succeeds.
    Command(PathBuf, Vec<OsString>),
}

pub(crate) struct Process {
    pub(crate) spec: Spec,
    pub(crate) phase: Phase,
    pub(crate) since: String,
    /// Deaths in a row without having been ready in between.
    pub(crate) failures: u32,
    child: Option<(Child, Option<Identity>)>,
    probe: Probe,
    next_start: Instant,
}

impl Process {
    pub(crate) fn new(spec: Spec) -> Self {
        Self {
            probe: Probe::of(spec.check.clone()),
            spec,
            phase: Phase::Starting,
            since: clock::now(),
            failures: 0,
            child: None,
            next_start: Instant::now(),
        }
    }

    /// `postgres`, `catalog 2`.
    pub(crate) fn title(&self) -> String {
        match self.spec.replica {
            0 => self.spec.name.clone(),
            replica => format!("{} {replica}", self.spec.name),
        }
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.child.as_ref().and_then(|(_, identity)| *identity)
    }

    /// Starts, notices an end, reads the probe. Answers what is worth telling.
    pub(crate) fn tick(&mut self) -> Option<String> {
        if let Some((child, _)) = &mut self.child {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(self.ended(status));
            }
            let ready = self.probe.ready();
            return match self.phase {
                Phase::Starting | Phase::Unready if ready => {
                    self.failures = 0;
                    let back = self.phase == Phase::Unready;
                    self.enter(Phase::Ready);
                    back.then(|| format!("{} is ready again", self.title()))
                }
                Phase::Ready if !ready => {
                    self.enter(Phase::Unready);
                    Some(format!(
                        "{} is not ready: {}",
                        self.title(),
                        self.probe.reason()
                    ))
                }
                _ => None,
            };
        }
        if Instant::now() < self.next_start {
            return None;
        }
        self.probe.reset();
        match self.spec.launch.start() {
            Ok(child) => {
                let identity = Identity::of(child.id());
                self.child = Some((child, identity));
                self.enter(Phase::Starting);
                None
            }
            Err(error) => {
                self.failures += 1;
                self.next_start = Instant::now() + backoff(self.failures);
                Some(format!("{} cannot be started: {error}", self.title()))
            }
        }
    }

    /// Whoever was ready before it died is started again at once; who never gets that far waits.
    fn ended(&mut self, status: ExitStatus) -> String {
        self.child = None;
        self.failures += 1;
        let wait = if self.phase == Phase::Starting {
            backoff(self.failures)
        } else {
            Duration::ZERO
        };
        self.next_start = Instant::now() + wait;
        self.enter(Phase::Restarting);
        format!(
            "{} ended ({}), starting it again",
            self.title(),
            why(status)
        )
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = clock::now();
    }

    pub(crate) fn reason(&self) -> String {
        self.probe.reason()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(identity) = self.identity() {
            identity.signal(signal);
        }
    }

    /// Whether no process of it is left; reaps it.
    pub(crate) fn gone(&mut self) -> bool {
        if let Some((child, _)) = &mut self.child
            && matches!(child.try_wait(), Ok(None))
        {
            return false;
        }
        if self.child.take().is_some() {
            self.enter(Phase::Stopped);
        }
        true
    }
}

fn why(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown cause".to_owned(),
    }
}

/// 0.1, 0.2, 0.4 ... 6.4 s.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(100 << failures.saturating_sub(1).min(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_is_bounded() {
        assert_eq!(backoff(1), Duration::from_millis(100));
        assert_eq!(backoff(3), Duration::from_millis(400));
        assert_eq!(backoff(100), Duration::from_millis(6400));
    }
}
