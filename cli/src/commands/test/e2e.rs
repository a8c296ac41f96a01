//! The scripts of `tests/e2e`, against a stack with two replicas of what is asked most.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::bail;

use super::{Session, build};
use crate::{
    checkout::Checkout,
    commands::down,
    os::{hash, secret},
    stack::plan::{self, collector_port, url},
};

const REPLICAS: &str = "bff=2,catalog=2,recommendations=2";

/// Brings a stack up, runs every script as a stage of its own, takes the stack down.
pub(super) fn run(session: &mut Session<'_>, only: Option<&str>) -> anyhow::Result<()> {
    let scripts = scripts(session.root(), only)?;
    if scripts.is_empty() {
        eprintln!("\nthere is no end-to-end test to run");
        return Ok(());
    }
    let noted = session.folder.path().join("port-base");
    remove(session.checkout, &noted)?;
    let base = plan::free_base()?;
    secret::write(&noted, &base.to_string())?;

    let outcome = with_stack(session, base, &scripts);
    let removed = remove(session.checkout, &noted);
    outcome.and(removed)
}

fn with_stack(session: &mut Session<'_>, base: u16, scripts: &[PathBuf]) -> anyhow::Result<()> {
    let status = session.folder.path().join("status.json");
    // Where mostly nobody listens, which must not matter to anything; scripts start the stack again.
    let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", url(collector_port(base)));
    let mut python = PathBuf::from("python3");
    session.stage("e2e: stack", |session| {
        python = python_for(session)?;
        let mut up = homeward(session.checkout);
        up.arg("up")
            .args(["--detach", "--json", "--replicas", REPLICAS]);
        up.arg("--port-base").arg(base.to_string());
        up.env(collector.0, &collector.1);
        up.stdout(fs::File::create(&status)?);
        session.command(up, "homeward up")
    })?;
    if session.failed("e2e: stack") {
        return Ok(());
    }
    for script in scripts {
        let name = script
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        session.stage(&format!("e2e: {name}"), |session| {
            let mut command = Command::new(&python);
            command
                .arg(script)
                .envs([build::wrapper(), build::lints()])
                .env(collector.0, &collector.1)
                .env("HOMEWARD_STATUS", &status)
                .env("HOMEWARD_CLI", session.root().join("homeward"))
                .env("HOMEWARD_PORT_BASE", base.to_string())
                .env("HOMEWARD_REPLICAS", REPLICAS);
            session.command(command, &format!("tests/e2e/{name}.py"))
        })?;
    }
    Ok(())
}

/// The launcher, with the compiler that the build has used: another would build everything anew.
fn homeward(checkout: &Checkout) -> Command {
    let mut command = Command::new(checkout.root.join("homeward"));
    command.envs([build::wrapper(), build::lints()]);
    command
}

/// Stops and deletes the stack of a run, if there is one.
fn remove(checkout: &Checkout, noted: &Path) -> anyhow::Result<()> {
    let base: Option<u16> = fs::read_to_string(noted)
        .ok()
        .and_then(|base| base.trim().parse().ok());
    if let Some(base) = base {
        let folder = checkout.folder(base);
        down::stop(&folder)?;
        folder.purge()?;
        fs::remove_file(noted)?;
    }
    Ok(())
}

fn scripts(root: &Path, only: Option<&str>) -> anyhow::Result<Vec<PathBuf>> {
    let folder = root.join("tests/e2e");
    let mut scripts = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What does nothing by itself is shared by scripts.
        let wanted = name.ends_with(".py") && fs::read_to_string(&path)?.contains("__main__");
        if wanted && only.is_none_or(|text| name.contains(text)) {
            scripts.push(path.clone());
        }
    }
    scripts.sort();
    Ok(scripts)
}

/// Python with what `requirements.txt` lists, in a venv that is kept.
pub(crate) fn python_for(session: &Session<'_>) -> anyhow::Result<PathBuf> {
    let requirements = session.root().join("tests/e2e/requirements.txt");
    let Ok(text) = fs::read_to_string(&requirements) else {
        return Ok("python3".into());
    };
    let venv = session.checkout.tools().join("e2e");
    let python = venv.join("bin/python3");
    let installed = venv.join("installed");
    let wanted = hash::hex(text.as_bytes());
    if python.is_file() && fs::read_to_string(&installed).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    eprintln!("installing Python packages into {}", venv.display());
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    session.command(make, "python3 -m venv")?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
    ]);
    pip.arg(&requirements).stdout(Stdio::inherit());
    session.command(pip, "pip install")?;
    if !python.is_file() {
        bail!("the venv has no Python");
    }
    fs::write(&installed, wanted)?;
    Ok(python)
}
