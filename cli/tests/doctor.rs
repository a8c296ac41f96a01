//! `doctor` in checkouts and on machines that have something wrong with them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

/// An empty checkout, and a range of ports that this test alone uses.
struct Patient {
    root: PathBuf,
    base: u16,
}

impl Patient {
    fn new(name: &str) -> Self {
        let pid = std::process::id();
        let root = std::env::temp_dir().join(format!("homeward-doctor-{pid}-{name}"));
        for folder in ["cli", "services/catalog", "path"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["cli/Cargo.toml", "services/catalog/Cargo.toml"] {
            fs::write(root.join(file), "").unwrap();
        }
        Self {
            root: root.canonicalize().unwrap(),
            base: range(),
        }
    }

    fn state(&self, supervisor: Value, processes: &Value) {
        let folder = self.root.join(".homeward").join(self.base.to_string());
        fs::create_dir_all(&folder).unwrap();
        let state = json!({
            "supervisor": supervisor, "replicas": {}, "only": [], "step": "running",
            "status": {"ready": true, "graphql": [], "identity": null, "postgres": null,
                "redis": null, "kafka": null, "demo": {"password": null, "accounts": []},
                "services": []},
            "processes": processes, "data": "",
        });
        fs::write(folder.join("state.json"), state.to_string()).unwrap();
    }

    fn doctor(&self) -> Command {
        self.run(Command::new(env!("CARGO_BIN_EXE_homeward")))
    }

    fn run(&self, mut command: Command) -> Command {
        command
            .args(["doctor", "--json", "--port-base"])
            .arg(self.base.to_string())
            .env("HOMEWARD_ROOT", &self.root)
            .env_remove("CARGO_TARGET_DIR");
        command
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Below the ports that the kernel and the test kit give out; no two tests of this program share one.
fn range() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 6).unwrap() * 1000;
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    loop {
        let base = 10_000 + first + NEXT.fetch_add(100, Ordering::Relaxed);
        if (base..base + 100).all(free) {
            return base;
        }
    }
}

/// Exit code and what was found at a level.
fn found(mut doctor: Command, check: &str, level: &str) -> (i32, Vec<Value>) {
    let output = doctor.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).expect(&said);
    let code = output.status.code().unwrap();
    assert_eq!(report["healthy"], json!(code == 0));
    let findings = report["findings"].as_array().unwrap().iter();
    let found: Vec<Value> = findings
        .filter(|finding| finding["check"] == check && finding["level"] == level)
        .cloned()
        .collect();
    for finding in &found {
        let remedy = finding.get("remedy").map(|remedy| remedy.as_str().unwrap());
        assert_eq!(remedy.is_some(), level != "ok", "{finding}");
        assert!(remedy.is_none_or(|remedy| remedy.lines().count() == 1));
    }
    (code, found)
}

fn text<'a>(finding: &'a Value, field: &str) -> &'a str {
    finding[field].as_str().unwrap()
}

#[test]
fn a_taken_port_is_found_with_its_holder() {
    let patient = Patient::new("ports");
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (_, free) = found(patient.doctor(), "ports", "ok");
    assert_eq!(free.len(), 1);

    let _postgres = bind(patient.base + 20);
    let _replica = bind(patient.base + 99);
    let (code, problems) = found(patient.doctor(), "ports", "problem");
    assert_eq!((code, problems.len()), (1, 1));
    let what = text(&problems[0], "what");
    let me = format!("(pid {})", std::process::id());
    assert!(
        what.contains(&(patient.base + 20).to_string()) && what.contains(&me),
        "{what}"
    );
    let (_, warnings) = found(patient.doctor(), "ports", "warning");
    assert!(text(&warnings[0], "what").contains(&(patient.base + 99).to_string()));
}

#[test]
fn a_missing_package_is_found_with_the_line_that_installs_it() {
    let patient = Patient::new("tools");
    let apt = patient.root.join("path/apt-get");
    fs::write(&apt, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&apt, fs::Permissions::from_mode(0o755)).unwrap();
    let mut doctor = patient.doctor();
    doctor.env("PATH", patient.root.join("path"));
    let (code, problems) = found(doctor, "tools", "problem");
    assert_eq!(code, 1);
    let remedy = |what: &str| {
        let finding = problems
            .iter()
            .find(|finding| text(finding, "what") == what);
        text(finding.unwrap(), "remedy")
    };
    assert!(remedy("Maven is missing").contains("apt-get install -y maven"));
    assert_eq!(remedy("rustfmt is missing"), "rustup component add rustfmt");
}

#[test]
fn a_full_disk_is_found_where_builds_go() {
    let patient = Patient::new("disk");
    let mut doctor = patient.doctor();
    // This file system has no room at all.
    doctor.env("CARGO_TARGET_DIR", "/proc/target");
    let (code, problems) = found(doctor, "disk", "problem");
    assert_eq!(code, 1);
    assert!(text(&problems[0], "what").starts_with("the disk of builds has 0.0 GB free"));
}

#[test]
fn too_few_open_files_are_found() {
    let patient = Patient::new("files");
    let limited = |most: u32| {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_homeward")]);
        patient.run(shell)
    };
    let (code, problems) = found(limited(256), "open files", "problem");
    assert_eq!((code, problems.len()), (1, 1));
    assert_eq!(found(limited(1024), "open files", "warning").1.len(), 1);
}

#[test]
fn a_clock_behind_the_files_is_found() {
    let patient = Patient::new("clock");
    let (_, none) = found(patient.doctor(), "clock", "problem");
    assert!(none.is_empty());
    let file = File::create(patient.root.join("Cargo.lock")).unwrap();
    let later = SystemTime::now() + Duration::from_secs(3600 * 50);
    file.set_modified(later).unwrap();
    let (code, problems) = found(patient.doctor(), "clock", "problem");
    assert_eq!(code, 1);
    let what = text(&problems[0], "what");
    assert!(
        what.contains("Cargo.lock was written 2 days from now"),
        "{what}"
    );
}

#[test]
fn what_a_killed_stack_has_left_is_found() {
    let patient = Patient::new("stack");
    let gone = json!({"pid": 1, "started": u64::MAX});
    let running = |identity: &Value| {
        json!([{"name": "catalog", "replica": 1, "stop": 15,
            "pid": identity["pid"], "started": identity["started"]}])
    };
    // One that ended by itself has nothing to say.
    patient.state(gone.clone(), &json!([]));
    for level in ["ok", "warning", "problem"] {
        assert!(found(patient.doctor(), "stack", level).1.is_empty());
    }

    patient.state(gone.clone(), &running(&gone));
    let (_, warnings) = found(patient.doctor(), "stack", "warning");
    assert!(text(&warnings[0], "what").contains("its pid 1 is gone"));

    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    patient.state(gone, &running(&identity(child.id())));
    let (code, problems) = found(patient.doctor(), "stack", "problem");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(code, 1);
    let what = text(&problems[0], "what");
    assert!(
        what.contains(&format!("catalog (pid {})", child.id())),
        "{what}"
    );
    assert!(text(&problems[0], "remedy").contains("homeward down"));
}

/// A pid, and when its process started.
fn identity(pid: u32) -> Value {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let started: u64 = fields.split(' ').nth(19).unwrap().parse().unwrap();
    json!({"pid": pid, "started": started})
}
