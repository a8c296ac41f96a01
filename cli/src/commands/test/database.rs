//! The tests' own Postgres: not that of `up`, new each time, and without regard for crashes.

use std::{fs, process::Child, time::Duration};

use anyhow::bail;

use super::Session;
use crate::{
    checkout::Folder,
    os::{
        ports,
        process::{Identity, Signal},
        signals::wait_until,
    },
    stack::{postgres::Postgres, supervisor::tail},
};

pub(crate) struct Database {
    pub(crate) postgres: Postgres,
    child: Child,
    identity: Option<Identity>,
}

impl Database {
    pub(super) fn start(session: &Session<'_>) -> anyhow::Result<Self> {
        Self::in_folder(&session.folder)
    }

    /// Call it from the main thread, as all that starts processes.
    pub(crate) fn in_folder(folder: &Folder) -> anyhow::Result<Self> {
        let postgres = Postgres::throwaway(folder, ports::any()?)?;
        postgres.clear_leftover()?;
        let _ = fs::remove_dir_all(&postgres.data);
        postgres.prepare()?;
        let spec = postgres.spec();
        let _ = fs::remove_file(&spec.launch.log);
        let child = spec.launch.start()?;
        let database = Self {
            identity: Identity::of(child.id()),
            child,
            postgres,
        };
        let up = || database.postgres.sql("postgres", "SELECT 1").is_ok();
        if !wait_until(Duration::from_secs(30), up) {
            bail!(
                "the tests' Postgres does not start\n{}",
                tail(&spec.launch.log)
            );
        }
        Ok(database)
    }

    pub(super) fn url(&self) -> String {
        self.postgres.url()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(identity) = self.identity {
            identity.end(Signal::QUIT, Duration::from_secs(5));
        }
        let _ = self.child.wait();
    }
}
