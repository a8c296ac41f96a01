//! The tests' own Kafka: not that of `up`, and new each time.

use std::{fs, process::Child, time::Duration};

use anyhow::bail;

use super::Session;
use crate::{
    checkout::{Checkout, Folder},
    os::{
        ports,
        process::{Identity, Signal},
        signals::{Stop, wait_until},
    },
    progress::Progress,
    stack::{
        kafka::{self, Kafka, metadata},
        supervisor::tail,
    },
};

pub(crate) struct Broker {
    kafka: Kafka,
    child: Child,
    identity: Option<Identity>,
}

impl Broker {
    pub(super) fn start(session: &Session<'_>) -> anyhow::Result<Self> {
        Self::in_folder(session.checkout, &session.folder, &session.stop)
    }

    /// Does not wait for it. Call it from the main thread, as all that starts processes.
    pub(crate) fn in_folder(
        checkout: &Checkout,
        folder: &Folder,
        stop: &Stop,
    ) -> anyhow::Result<Self> {
        kafka::ensure(checkout, stop, &mut Progress::new())?;
        let ports = (ports::any()?, ports::any()?);
        let kafka = Kafka::throwaway(checkout, folder, ports)?;
        kafka.prepare()?;
        let spec = kafka.spec();
        let _ = fs::remove_file(&spec.launch.log);
        let child = spec.launch.start()?;
        Ok(Self {
            identity: Identity::of(child.id()),
            child,
            kafka,
        })
    }

    pub(crate) fn until_ready(&self) -> anyhow::Result<()> {
        let answers = || metadata::brokers(self.kafka.port, Duration::from_secs(2));
        if !wait_until(Duration::from_secs(60), || {
            answers().is_ok_and(|count| count > 0)
        }) {
            let log = self.kafka.spec().launch.log;
            bail!("the tests' Kafka does not start\n{}", tail(&log));
        }
        Ok(())
    }

    pub(crate) fn address(&self) -> String {
        self.kafka.brokers()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(identity) = self.identity {
            identity.end(Signal::KILL, Duration::from_secs(5));
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.kafka.folder);
    }
}
