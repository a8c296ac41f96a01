//! Kafka's jars, by Maven into `.homeward/tools`, and what makes Java start quickly.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{Kafka, metadata, remove};
use crate::{
    checkout::Checkout,
    os::{
        hash, ports,
        process::{Identity, Signal},
        signals::{Stop, wait_until},
    },
    progress::Progress,
    stack::supervisor,
};

const POM: &str = include_str!("../../../kafka/pom.xml");
/// Kafka 4 does not run on less.
const JAVA_MIN: u32 = 17;
const JARS: usize = 44;

/// What a broker is started with.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) java: PathBuf,
    pub(crate) class_path: OsString,
    pub(crate) archive: Archive,
}

/// Classes as Java has them in memory: without them a start takes twice as long.
#[derive(Clone, Debug)]
pub(crate) enum Archive {
    /// Used if it is there and fits.
    Read(PathBuf),
    /// Made when the process ends.
    Write(PathBuf),
}

impl Tools {
    pub(crate) fn find(checkout: &Checkout) -> anyhow::Result<Self> {
        let folder = folder(checkout);
        let java = java().context("Java is not installed")?;
        let mut jars = Vec::new();
        for entry in fs::read_dir(folder.join("jars")).context("Kafka is not installed")? {
            jars.push(entry?.path());
        }
        // The archive is for one order of them.
        jars.sort();
        let class_path =
            std::env::join_paths(jars).context("the path of the checkout has a `:`")?;
        // Java believes in archives of its own build only.
        let build = hash::hex(release(&java).unwrap_or_default().as_bytes());
        Ok(Self {
            java,
            class_path,
            archive: Archive::Read(folder.join(format!("{build}.jsa"))),
        })
    }

    pub(super) fn sharing(&self) -> Option<OsString> {
        let (option, path) = match &self.archive {
            Archive::Read(path) if path.is_file() => ("-XX:SharedArchiveFile=", path),
            Archive::Read(_) => return None,
            Archive::Write(path) => ("-XX:ArchiveClassesAtExit=", path),
        };
        let mut argument = OsString::from(option);
        argument.push(path);
        Some(argument)
    }
}

/// Kafka's, as the pom says it.
pub(crate) fn version() -> &'static str {
    let of_kafka = POM.split_once("<artifactId>kafka_2.13</artifactId>");
    let version = of_kafka.and_then(|(_, rest)| rest.split_once("<version>"));
    let version = version.and_then(|(_, rest)| rest.split_once("</version>"));
    version.map_or("unknown", |(version, _)| version)
}

fn folder(checkout: &Checkout) -> PathBuf {
    checkout.tools().join(format!("kafka-{}", version()))
}

/// Java of a version that will do: that in `PATH`, else the oldest of the system's.
pub(crate) fn java() -> Option<PathBuf> {
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&in_path).map(|folder| folder.join("java"));
    let mut of_system: Vec<PathBuf> = fs::read_dir("/usr/lib/jvm")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/java"))
        .collect();
    of_system.sort();
    in_path
        .chain(of_system)
        .filter_map(|java| java.canonicalize().ok())
        .find(|java| {
            let major = release(java).and_then(|release| major(&release));
            major.is_some_and(|major| major >= JAVA_MIN)
        })
}

/// What a Java says of itself, in a file beside `bin`.
fn release(java: &Path) -> Option<String> {
    fs::read_to_string(java.parent()?.parent()?.join("release")).ok()
}

/// From `JAVA_VERSION="17.0.15"` in the file `release` of a Java.
fn major(release: &str) -> Option<u32> {
    let mut versions = release
        .lines()
        .filter_map(|line| line.strip_prefix("JAVA_VERSION=\""));
    versions
        .next()?
        .split(['.', '"', '-', '+'])
        .next()?
        .parse()
        .ok()
}

/// Gets the jars if they are not there yet. Call it from the main thread, as all that starts
/// processes.
pub(crate) fn ensure(
    checkout: &Checkout,
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let tools = checkout.tools();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&tools)?;
    // `up` and `test` may both be the first.
    let _lock = loop {
        if let Some(lock) = supervisor::lock_file(&tools.join("kafka.lock"))? {
            break lock;
        }
        stop.check()?;
        progress.step("waiting for another command that gets Apache Kafka");
        thread::sleep(Duration::from_millis(100));
    };
    let folder = folder(checkout);
    let installed = folder.join("installed");
    let wanted = hash::hex(POM.as_bytes());
    if !fs::read_to_string(&installed).is_ok_and(|have| have == wanted) {
        let new = tools.join("kafka.new");
        remove(&new)?;
        resolve(checkout, &new.join("jars"), stop, progress)?;
        remove(&folder)?;
        fs::rename(&new, &folder)?;
        fs::write(&installed, wanted)?;
    }
    let found = Tools::find(checkout)?;
    if let Archive::Read(path) = &found.archive
        && !path.is_file()
        && let Err(error) = train(&found, &tools, path, stop, progress)
    {
        stop.check()?;
        progress.note(&format!("Kafka will start slowly: {error:#}"));
    }
    Ok(())
}

fn resolve(
    checkout: &Checkout,
    to: &Path,
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let step = format!(
        "getting Apache Kafka {} with Maven: {JARS} jars, 43 MB, once",
        version()
    );
    progress.step(&step);
    let mut output_folder = OsString::from("-DoutputDirectory=");
    output_folder.push(to);
    let mut mvn = Command::new("mvn")
        .args(["--batch-mode", "-Dstyle.color=never", "--file"])
        .arg(checkout.root.join("cli/kafka/pom.xml"))
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(output_folder)
        .current_dir(checkout.tools())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot run mvn")?;
    let lines = mvn.stdout.take().context("mvn has no output")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(lines).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut errors = Vec::new();
    let mut count = 0;
    loop {
        if stop.asked() {
            let _ = mvn.kill();
            let _ = mvn.wait();
        }
        stop.check()?;
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(line) if line.contains("ERROR") => errors.push(line),
            Ok(line) => {
                if let Some(jar) = downloaded(&line) {
                    count += 1;
                    progress.detail(&format!("{step}; {count} files so far, {jar}"));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if !mvn.wait()?.success() {
        errors.truncate(5);
        bail!("Maven cannot get Apache Kafka:\n{}", errors.join("\n"));
    }
    Ok(())
}

/// The file that a line of Maven is about.
fn downloaded(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("Downloaded from ")?;
    let (url, size) = rest.split_once(" (")?;
    let jar = url.rsplit('/').next()?;
    size.contains("at").then_some(jar)
}

/// A first start and an orderly end, at which Java keeps the classes that it has loaded.
fn train(
    tools: &Tools,
    folder: &Path,
    archive: &Path,
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    progress.step("starting Apache Kafka once, so that it starts in half the time later on");
    let new = archive.with_extension("new");
    let kafka = Kafka::new(
        folder.join("kafka.training"),
        Tools {
            archive: Archive::Write(new.clone()),
            ..tools.clone()
        },
        folder.join("kafka.training.log"),
        (ports::any()?, ports::any()?),
        false,
    );
    kafka.forget()?;
    // Its formatting is not what the archive is for.
    Kafka {
        tools: tools.clone(),
        ..kafka.clone()
    }
    .prepare()?;
    let spec = kafka.spec();
    let _ = fs::remove_file(&spec.launch.log);
    let mut child = spec.launch.start()?;
    let identity = Identity::of(child.id());
    let began = Instant::now();
    while !metadata::brokers(kafka.port, Duration::from_secs(2)).is_ok_and(|count| count > 0)
        && matches!(child.try_wait(), Ok(None))
        && began.elapsed() < PATIENCE
        && !stop.asked()
    {
        thread::sleep(Duration::from_millis(50));
    }
    if let Some(identity) = identity {
        identity.signal(Signal::TERM);
        if !wait_until(PATIENCE, || {
            stop.asked() || !matches!(child.try_wait(), Ok(None))
        }) || stop.asked()
        {
            identity.signal(Signal::KILL);
        }
    }
    let _ = child.wait();
    kafka.forget()?;
    stop.check()?;
    if !new.is_file() {
        bail!(
            "no archive was made\n{}",
            supervisor::tail(&spec.launch.log)
        );
    }
    let _ = fs::remove_file(&spec.launch.log);
    fs::rename(&new, archive)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_pom() {
        assert!(version().starts_with("4."), "{}", version());
    }

    #[test]
    fn the_version_of_a_java_is_read_from_its_release() {
        let release = |version: &str| format!("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"{version}\"\n");
        assert_eq!(major(&release("17.0.15")), Some(17));
        assert_eq!(major(&release("25")), Some(25));
        assert_eq!(major(&release("1.8.0_402")), Some(1));
        assert_eq!(major(""), None);
    }

    #[test]
    fn what_maven_has_downloaded_is_told_by_its_file() {
        let line = "[INFO] Downloaded from central: https://host/a/kafka-clients-4.4.0.jar (11 MB at 3 MB/s)";
        assert_eq!(downloaded(line), Some("kafka-clients-4.4.0.jar"));
        assert_eq!(
            downloaded("[INFO] Downloading from central: https://host/a.jar"),
            None
        );
    }
}
