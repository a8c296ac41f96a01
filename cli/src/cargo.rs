//! Builds the workspace in one go, and shows how far it is.
//!
//! Always the whole workspace with one profile: a selection of packages would have other features
//! and compile outside crates a second time.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{checkout::Checkout, os::signals::Stop, progress::Progress};

/// A crate of our own takes as long as this many others.
const OWN_WEIGHT: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Targets {
    /// What runs.
    Programs,
    /// Tests as well.
    All,
}

#[derive(Debug, Default)]
pub(crate) struct Built {
    /// The folder of the programs.
    pub(crate) programs: PathBuf,
    /// Warnings in our own crates, as the compiler prints them.
    pub(crate) warnings: BTreeSet<String>,
    /// Outside crates that a build had to do with, and those that it compiled; one that build
    /// scripts need is another than the same one in a program, and has another level.
    pub(crate) outside: BTreeSet<String>,
    pub(crate) compiled: BTreeSet<String>,
}

enum Event {
    Message(Value),
    Line(String),
    /// How many crates there are, and how many of them are ours.
    Total(usize, usize),
}

/// Runs `cargo build` with these extra variables.
pub(crate) fn build(
    checkout: &Checkout,
    targets: Targets,
    variables: &[(&str, &str)],
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<Built> {
    progress.step("building");
    let mut cargo = Command::new("cargo")
        .args([
            "build",
            "--workspace",
            "--message-format=json",
            "--color=never",
        ])
        .arg(if targets == Targets::All {
            "--all-targets"
        } else {
            "--bins"
        })
        .envs(variables.iter().copied())
        .current_dir(&checkout.root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let (sender, events) = mpsc::channel();
    let stdout = cargo.stdout.take().context("cargo has no output")?;
    let stderr = cargo.stderr.take().context("cargo has no output")?;
    read(stdout, sender.clone(), |line| {
        serde_json::from_str(&line).ok().map(Event::Message)
    });
    read(stderr, sender.clone(), |line| Some(Event::Line(line)));
    count(checkout, targets, sender);

    let mut watch = Watch::new(checkout);
    loop {
        match events.recv_timeout(Duration::from_millis(200)) {
            Ok(event) => watch.see(event, progress),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if stop.asked() {
            let _ = cargo.kill();
            let _ = cargo.wait();
        }
        stop.check()?;
        progress.detail(&watch.text());
    }
    let status = cargo.wait()?;
    if !status.success() {
        for text in watch.errors.iter().chain(&watch.lines) {
            progress.note(text);
        }
        bail!("the build failed");
    }
    Ok(watch.built)
}

fn read(from: impl Read + Send + 'static, to: Sender<Event>, event: fn(String) -> Option<Event>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Some(event) = event(line)
                && to.send(event).is_err()
            {
                return;
            }
        }
    });
}

/// How many crates the build has, as far as this machine's platform needs them.
fn count(checkout: &Checkout, targets: Targets, to: Sender<Event>) {
    let edges = if targets == Targets::All {
        "normal,build,dev"
    } else {
        "normal,build"
    };
    let mut tree = Command::new("cargo");
    tree.args([
        "tree",
        "--workspace",
        "--prefix=none",
        "--no-dedupe",
        "--format={p}",
        "--edges",
        edges,
    ])
    .current_dir(&checkout.root)
    .stdin(Stdio::null())
    .stderr(Stdio::null());
    thread::spawn(move || {
        if let Ok(output) = tree.output() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let crates: BTreeSet<&str> = text.lines().filter(|line| !line.is_empty()).collect();
            // Only what lies in a folder of ours has its path behind it.
            let own = crates.iter().filter(|line| line.contains(" (/")).count();
            let _ = to.send(Event::Total(crates.len(), own));
        }
    });
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Never,
    AtOnce,
    WhenItFails,
}

/// When people are told what cargo itself says.
fn told(line: &str) -> Told {
    match line.split_whitespace().next().unwrap_or_default() {
        "Compiling" | "Fresh" | "Finished" | "Dirty" => Told::Never,
        // For a moment, by the one that counts.
        "Blocking" if line.ends_with("package cache") => Told::Never,
        "Blocking" | "Updating" | "Downloading" | "Downloaded" | "Locking" => Told::AtOnce,
        _ => Told::WhenItFails,
    }
}

struct Watch {
    /// How ids of our own packages begin.
    own: String,
    began: Instant,
    total: Option<usize>,
    done: BTreeSet<String>,
    done_fresh: usize,
    own_total: usize,
    own_done: usize,
    errors: Vec<String>,
    /// What cargo itself has to say, without its list of crates.
    lines: Vec<String>,
    built: Built,
}

impl Watch {
    fn new(checkout: &Checkout) -> Self {
        Self {
            own: format!("path+file://{}", checkout.root.display()).replace(' ', "%20"),
            began: Instant::now(),
            total: None,
            done: BTreeSet::new(),
            done_fresh: 0,
            own_total: 0,
            own_done: 0,
            errors: Vec::new(),
            lines: Vec::new(),
            built: Built::default(),
        }
    }

    fn see(&mut self, event: Event, progress: &Progress) {
        match event {
            Event::Total(total, own) => (self.total, self.own_total) = (Some(total), own),
            Event::Line(line) => self.line(line, progress),
            Event::Message(message) => match message["reason"].as_str() {
                Some("compiler-artifact") => self.artifact(&message),
                Some("compiler-message") => self.message(&message),
                _ => {}
            },
        }
    }

    fn line(&mut self, line: String, progress: &Progress) {
        match told(&line) {
            Told::Never => {}
            Told::AtOnce => progress.note(line.trim()),
            Told::WhenItFails => self.lines.push(line),
        }
    }

    fn artifact(&mut self, artifact: &Value) {
        let id = artifact["package_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let own = self.is_own(&id);
        if let Some(path) = artifact["executable"].as_str().map(PathBuf::from)
            && artifact["target"]["kind"][0] == "bin"
            && artifact["profile"]["test"] == false
            && let Some(folder) = path.parent()
        {
            self.built.programs = folder.to_owned();
        }
        let fresh = artifact["fresh"] == true;
        if !own {
            let level = &artifact["profile"]["opt_level"];
            let unit = format!("{id} at opt-level {level}");
            if !fresh {
                self.built.compiled.insert(unit.clone());
            }
            self.built.outside.insert(unit);
        }
        let build_script = artifact["target"]["kind"][0] == "custom-build";
        if !build_script && self.done.insert(id) {
            self.own_done += usize::from(own);
            self.done_fresh += usize::from(fresh);
        }
    }

    fn message(&mut self, message: &Value) {
        let id = message["package_id"].as_str().unwrap_or_default();
        let Some(text) = message["message"]["rendered"].as_str() else {
            return;
        };
        match message["message"]["level"].as_str() {
            Some("error") => self.errors.push(text.to_owned()),
            // "3 warnings emitted" has no place in the source.
            Some("warning") if self.is_own(id) && message["message"]["spans"][0].is_object() => {
                self.built.warnings.insert(text.to_owned());
            }
            _ => {}
        }
    }

    fn is_own(&self, id: &str) -> bool {
        id.strip_prefix(&self.own)
            .is_some_and(|rest| rest.starts_with(['/', '#']))
    }

    fn text(&self) -> String {
        let Some(total) = self.total else {
            return format!("building: {} crates", self.done.len());
        };
        let total = total.max(self.done.len());
        let mut text = format!("building: crate {} of {total}", self.done.len());
        let compiled = self.done.len() - self.done_fresh;
        let elapsed = self.began.elapsed();
        if compiled > 10 && elapsed > Duration::from_secs(10) {
            let own_left = self.own_total.saturating_sub(self.own_done) * (OWN_WEIGHT - 1);
            let done = compiled + self.own_done * (OWN_WEIGHT - 1);
            let left = total - self.done.len() + own_left;
            let seconds = elapsed.as_secs() as usize * left / done;
            text += &match seconds {
                0..60 => ", less than a minute left".to_owned(),
                _ => format!(", about {} min left", seconds.div_ceil(60)),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new(&Checkout {
            root: PathBuf::from("/a b"),
        })
    }

    fn artifact(id: &str, fresh: bool) -> Value {
        serde_json::json!({
            "reason": "compiler-artifact", "package_id": id, "fresh": fresh,
            "target": {"kind": ["lib"]}, "profile": {"test": false}
        })
    }

    #[test]
    fn crates_are_counted_once_and_ours_are_told_from_others() {
        let mut watch = watch();
        watch.artifact(&artifact("registry+https://index#clap@4.6.0", false));
        watch.artifact(&artifact("registry+https://index#clap@4.6.0", true));
        watch.artifact(&artifact("path+file:///a%20b/api#0.0.0", false));
        watch.total = Some(7);
        assert_eq!(watch.text(), "building: crate 2 of 7");
        assert_eq!(watch.built.compiled.len(), 1);
        assert_eq!(watch.own_done, 1);
    }

    #[test]
    fn people_are_told_that_another_build_is_waited_for_and_not_that_we_wait_for_ourselves() {
        let waits = "    Blocking waiting for file lock on build directory";
        assert_eq!(told(waits), Told::AtOnce);
        let ours = "    Blocking waiting for file lock on package cache";
        assert_eq!(told(ours), Told::Never);
        assert_eq!(told("   Compiling tokio v1.50.0"), Told::Never);
        assert_eq!(told("error: no such package"), Told::WhenItFails);
    }

    #[test]
    fn the_folder_of_the_programs_is_that_of_a_binary() {
        let mut watch = watch();
        watch.artifact(&serde_json::json!({
            "package_id": "path+file:///a%20b/bff#0.0.0", "fresh": true, "target": {"kind": ["bin"]},
            "profile": {"test": false}, "executable": "/a b/target/debug/bff"
        }));
        assert_eq!(watch.built.programs, PathBuf::from("/a b/target/debug"));
    }
}
