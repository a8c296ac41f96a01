//! An Apache Kafka of our own: one node on private ports and in a private folder, 127.0.0.1 only.

mod install;
pub(crate) mod metadata;

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use super::process::{Check, Spec};
use crate::{
    checkout::{Checkout, Folder},
    os::{
        process::{Launch, Signal},
        secret,
    },
};

pub(crate) use install::{Tools, ensure, java, version};

const SETTINGS: &str = include_str!("../../../kafka/server.properties");
/// Of a laptop's broker; the rest of its 200 MB is the runtime's own.
const HEAP: &str = "-Xmx256m";

#[derive(Clone, Debug)]
pub(crate) struct Kafka {
    pub(crate) port: u16,
    controller_port: u16,
    /// Everything of this broker: settings, data, and what it unpacks.
    pub(crate) folder: PathBuf,
    tools: Tools,
    log: PathBuf,
    durable: bool,
}

impl Kafka {
    pub(crate) fn durable(
        checkout: &Checkout,
        folder: &Folder,
        ports: (u16, u16),
    ) -> anyhow::Result<Self> {
        let log = folder.log("kafka");
        Ok(Self::new(
            folder.path().join("kafka"),
            Tools::find(checkout)?,
            log,
            ports,
            true,
        ))
    }

    /// For tests: new each time, and killed at the end.
    pub(crate) fn throwaway(
        checkout: &Checkout,
        folder: &Folder,
        ports: (u16, u16),
    ) -> anyhow::Result<Self> {
        let kafka = Self {
            durable: false,
            ..Self::durable(checkout, folder, ports)?
        };
        kafka.forget()?;
        Ok(kafka)
    }

    fn new(
        folder: PathBuf,
        tools: Tools,
        log: PathBuf,
        (port, controller_port): (u16, u16),
        durable: bool,
    ) -> Self {
        Self {
            port,
            controller_port,
            folder,
            tools,
            log,
            durable,
        }
    }

    /// The address for its clients.
    pub(crate) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Formats its folder if it is new, and readies it for a start.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        // Who is killed leaves the libraries that it has unpacked there.
        remove(&self.unpacked())?;
        for folder in [&self.folder, &self.unpacked()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let settings = self.settings();
        fs::write(&settings, self.properties())
            .with_context(|| format!("cannot write {}", settings.display()))?;
        let formatted = self.folder.join("formatted");
        if formatted.is_file() {
            return Ok(());
        }
        // Half a format would look like a whole one to the broker.
        remove(&self.data())?;
        self.format().context("cannot format a folder for Kafka")?;
        fs::write(&formatted, format!("{}\n", version()))?;
        Ok(())
    }

    fn format(&self) -> anyhow::Result<()> {
        let output = Command::new(&self.tools.java)
            .args(self.arguments(&["kafka.tools.StorageTool"]))
            .args(["format", "--standalone", "--cluster-id"])
            .arg(cluster_id(&secret::random()?))
            .arg("--config")
            .arg(self.settings())
            .current_dir(&self.folder)
            .output()
            .context("cannot run java")?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("{}", String::from_utf8_lossy(&said).trim());
        }
        Ok(())
    }

    fn properties(&self) -> String {
        let Self {
            port,
            controller_port,
            ..
        } = self;
        format!(
            "{SETTINGS}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}\n\
             log.dirs={}\n",
            escape(&self.data())
        )
    }

    pub(crate) fn spec(&self) -> Spec {
        let stop = if self.durable {
            Signal::TERM
        } else {
            Signal::KILL
        };
        let mut args = self.arguments(&["kafka.Kafka"]);
        args.push(self.settings().into());
        Spec {
            name: "kafka".to_owned(),
            replica: 0,
            launch: Launch {
                program: self.tools.java.clone(),
                args,
                env: Default::default(),
                folder: self.folder.clone(),
                log: self.log.clone(),
                run_as: None,
                on_parent_death: stop,
            },
            stop,
            check: Check::Kafka(self.port),
        }
    }

    /// Of the virtual machine, and of what it is to run.
    fn arguments(&self, main: &[&str]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = [
            "-XX:+UseSerialGC",
            HEAP,
            "-Xms64m",
            // It would be of no more use, and is started again.
            "-XX:+ExitOnOutOfMemoryError",
            // No file in /tmp for tools that watch it.
            "-XX:-UsePerfData",
            "-Xshare:auto",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX",
        ]
        .map(OsString::from)
        .into();
        let mut unpacked = OsString::from("-Djava.io.tmpdir=");
        unpacked.push(self.unpacked());
        arguments.push(unpacked);
        arguments.extend(self.tools.sharing());
        arguments.extend(["-cp".into(), self.tools.class_path.clone()]);
        arguments.extend(main.iter().map(OsString::from));
        arguments
    }

    /// Deletes everything of it.
    fn forget(&self) -> anyhow::Result<()> {
        remove(&self.folder)
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn unpacked(&self) -> PathBuf {
        self.folder.join("tmp")
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// 16 bytes in base64url. Hexadecimal digits are letters of that, too, and the last one of 22
/// stands for four bits that are not there.
fn cluster_id(random: &str) -> String {
    format!("{}A", random.get(..21).unwrap_or_default())
}

/// A path as a value in a file of properties.
fn escape(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka() -> Kafka {
        let tools = Tools {
            java: "/usr/bin/java".into(),
            class_path: "a.jar:b.jar".into(),
            archive: install::Archive::Read("/tools/x.jsa".into()),
        };
        Kafka::new(
            "/stack/kafka".into(),
            tools,
            "/stack/logs/kafka.log".into(),
            (4622, 4623),
            true,
        )
    }

    #[test]
    fn the_broker_listens_on_loopback_only_and_keeps_its_data_in_its_folder() {
        let properties = kafka().properties();
        let of = |name: &str| {
            let mut values = properties
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            let value = values.next().unwrap();
            assert_eq!(values.next(), None, "{name} is said once");
            value
        };
        assert_eq!(
            of("listeners"),
            "PLAINTEXT://127.0.0.1:4622,CONTROLLER://127.0.0.1:4623"
        );
        assert_eq!(of("advertised.listeners"), "PLAINTEXT://127.0.0.1:4622");
        assert_eq!(of("log.dirs"), "/stack/kafka/data");
        assert_eq!(of("auto.create.topics.enable"), "false");
    }

    #[test]
    fn what_is_kept_is_asked_to_stop_and_what_is_thrown_away_is_killed() {
        let kept = kafka();
        let thrown = Kafka {
            durable: false,
            ..kept.clone()
        };
        assert_eq!(kept.spec().stop, Signal::TERM);
        assert_eq!(kept.spec().launch.on_parent_death, Signal::TERM);
        assert_eq!(thrown.spec().launch.on_parent_death, Signal::KILL);
    }

    #[test]
    fn a_cluster_has_an_id_of_22_letters() {
        let id = cluster_id(&"0123456789abcdef".repeat(4));
        assert_eq!(id, "0123456789abcdef01234A");
    }
}
