//! The tests' own Redis: not that of `up`, and new each time.

use std::{fs, process::Child, time::Duration};

use anyhow::bail;

use super::Session;
use crate::{
    os::{
        ports,
        process::{Identity, Signal},
        signals::wait_until,
    },
    stack::{
        redis::{self, Redis},
        supervisor::tail,
    },
};

pub(crate) struct Cache {
    redis: Redis,
    child: Child,
    identity: Option<Identity>,
}

impl Cache {
    /// Call it from the main thread, as all that starts processes.
    pub(super) fn start(session: &Session<'_>) -> anyhow::Result<Self> {
        let redis = Redis::new(&session.folder, ports::any()?)?;
        redis.prepare()?;
        let spec = redis.spec();
        let _ = fs::remove_file(&spec.launch.log);
        let child = spec.launch.start()?;
        let cache = Self {
            identity: Identity::of(child.id()),
            child,
            redis,
        };
        let up = || redis::serves(cache.redis.port, Duration::from_secs(2)).is_ok();
        if !wait_until(Duration::from_secs(30), up) {
            bail!(
                "the tests' Redis does not start\n{}",
                tail(&spec.launch.log)
            );
        }
        Ok(cache)
    }

    pub(super) fn url(&self) -> String {
        self.redis.url()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if let Some(identity) = self.identity {
            identity.end(Signal::KILL, Duration::from_secs(5));
        }
        let _ = self.child.wait();
    }
}
