//! What is known about a stack: written by its supervisor, read by every other command.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::PathBuf, time::Duration};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::replicas::Replicas;
use crate::{
    checkout::Folder,
    os::process::{Identity, Signal},
};

/// The file `state.json` of a stack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) supervisor: Identity,
    /// Another wish needs `down` first.
    #[serde(flatten)]
    pub(crate) wanted: Wanted,
    /// What is being done, for people.
    pub(crate) step: String,
    pub(crate) status: Status,
    /// Everything that was started, infrastructure included.
    pub(crate) processes: Vec<Running>,
    /// Where the infrastructure has its data.
    pub(crate) data: String,
    /// Where the programs lie.
    #[serde(default)]
    pub(crate) programs: PathBuf,
}

/// What `up` was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) replicas: Replicas,
    /// Empty for all services.
    pub(crate) only: Vec<String>,
    /// Whether demo data are loaded.
    #[serde(default)]
    pub(crate) demo: bool,
    #[serde(default)]
    pub(crate) environment: Environment,
}

/// Variables of services that the stack does not decide, by the service.
pub(crate) type Environment = BTreeMap<String, BTreeMap<String, String>>;

/// A started process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) replica: u16,
    #[serde(flatten)]
    pub(crate) identity: Identity,
    /// The number of the signal that asks it to stop.
    pub(crate) stop: i32,
}

/// What `status --json` prints. Programs read this: names stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Everything runs and answers, and the demo data are loaded.
    pub(crate) ready: bool,
    /// One URL per replica of the BFF.
    pub(crate) graphql: Vec<String>,
    pub(crate) identity: Option<String>,
    /// For its superuser.
    pub(crate) postgres: Option<String>,
    /// For its clients.
    pub(crate) redis: Option<String>,
    /// For its clients: `host:port`.
    pub(crate) kafka: Option<String>,
    pub(crate) demo: Demo,
    pub(crate) services: Vec<Service>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Demo {
    pub(crate) password: Option<String>,
    pub(crate) accounts: Vec<Account>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) email: String,
    /// As in GraphQL: `MOVER`, `CLIENT`, `BUSINESS`.
    pub(crate) kind: String,
}

/// One replica of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) replica: u16,
    pub(crate) pid: Option<i32>,
    pub(crate) grpc: Option<String>,
    pub(crate) admin: Option<String>,
    pub(crate) state: Phase,
    /// Since when it is in this state, RFC 3339.
    pub(crate) since: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Has not been ready since its process began.
    Starting,
    Ready,
    /// Was ready, and says that it is not now.
    Unready,
    /// Its process ended; another follows.
    Restarting,
    Stopped,
}

impl Phase {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
        }
    }
}

impl State {
    pub(crate) fn read(folder: &Folder) -> anyhow::Result<Option<Self>> {
        let path = folder.state();
        match fs::read(&path) {
            Ok(json) => Ok(serde_json::from_slice(&json).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub(crate) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Whether somebody looks after the stack.
    pub(crate) fn supervised(&self) -> bool {
        self.supervisor.alive()
    }

    /// The state as it is now, if the supervisor did not end by itself.
    pub(crate) fn status_now(&self) -> Status {
        let mut status = self.status.clone();
        if !self.supervised() {
            status.ready = false;
            for service in &mut status.services {
                service.pid = None;
                service.state = Phase::Stopped;
            }
        }
        status
    }

    /// Ends what a supervisor that is gone has left.
    pub(crate) fn clear_leftovers(&self) {
        for process in self.processes.iter().rev() {
            let stop = Signal::from_named_raw(process.stop).unwrap_or(Signal::KILL);
            process.identity.end(stop, Duration::from_secs(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_has_the_shape_that_programs_rely_on() {
        let status = Status {
            ready: true,
            graphql: vec!["http://127.0.0.1:4600/graphql".to_owned()],
            identity: Some("http://127.0.0.1:4610".to_owned()),
            postgres: Some("postgres://postgres:x@127.0.0.1:4620/postgres".to_owned()),
            redis: Some("redis://:x@127.0.0.1:4621".to_owned()),
            kafka: Some("127.0.0.1:4622".to_owned()),
            demo: Demo {
                password: Some("p".to_owned()),
                accounts: vec![Account {
                    email: "a@b".to_owned(),
                    kind: "MOVER".to_owned(),
                }],
            },
            services: vec![Service {
                name: "catalog".to_owned(),
                replica: 1,
                pid: Some(7),
                grpc: Some("http://127.0.0.1:4631".to_owned()),
                admin: Some("http://127.0.0.1:4632".to_owned()),
                state: Phase::Ready,
                since: "2026-01-01T00:00:00.000Z".to_owned(),
            }],
        };
        let expected = serde_json::json!({
            "ready": true,
            "graphql": ["http://127.0.0.1:4600/graphql"],
            "identity": "http://127.0.0.1:4610",
            "postgres": "postgres://postgres:x@127.0.0.1:4620/postgres",
            "redis": "redis://:x@127.0.0.1:4621",
            "kafka": "127.0.0.1:4622",
            "demo": {"password": "p", "accounts": [{"email": "a@b", "kind": "MOVER"}]},
            "services": [{
                "name": "catalog", "replica": 1, "pid": 7, "grpc": "http://127.0.0.1:4631",
                "admin": "http://127.0.0.1:4632", "state": "ready", "since": "2026-01-01T00:00:00.000Z"
            }]
        });
        assert_eq!(serde_json::to_value(&status).unwrap(), expected);
    }
}
