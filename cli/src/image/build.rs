//! Builds programs that need nothing of the system they run on: those of images, which are also
//! what is measured.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{
    checkout::Checkout,
    packages::{self, Need},
};

/// Cargo's name of the target, and OCI's of the architecture.
pub(crate) fn platform() -> anyhow::Result<(&'static str, &'static str)> {
    match env::consts::ARCH {
        "x86_64" => Ok(("x86_64-unknown-linux-musl", "amd64")),
        "aarch64" => Ok(("aarch64-unknown-linux-musl", "arm64")),
        other => bail!("images are built for x86_64 and aarch64, not for {other}"),
    }
}

/// Builds these packages in one go; answers the folder of the programs.
///
/// The same source is the same program, whatever the folders are called and whatever the time is.
pub(crate) fn programs(
    checkout: &Checkout,
    names: &[String],
    folder: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    packages::ensure(&[Need::Compiler, Need::Static])?;
    let (triple, _) = platform()?;
    add_target(checkout, triple)?;
    let target = match (folder, env::var_os("CARGO_TARGET_DIR")) {
        (Some(folder), _) => folder.to_owned(),
        (None, Some(folder)) => checkout.root.join(folder),
        (None, None) => checkout.root.join("target"),
    };
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--target", triple])
        .args(names.iter().flat_map(|name| ["--package", name]))
        .env("CARGO_TARGET_DIR", &target)
        // With a target these are not for build scripts and macros.
        .env("CARGO_ENCODED_RUSTFLAGS", flags(checkout, &target)?)
        // What is compiled for this machine has another C library than what is built.
        .env("HOST_CC", "cc")
        .env("CC", "musl-gcc")
        .env("CXX", "g++")
        // OpenSSL writes down when it was built, and from which folder it would load modules.
        // There are none.
        .env("SOURCE_DATE_EPOCH", "0")
        .env("GNUMAKEFLAGS", "ENGINESDIR=/engines MODULESDIR=/modules")
        .current_dir(&checkout.root)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the build failed");
    }
    Ok(target.join(triple).join("release"))
}

/// Other names for the folders of this machine, which messages of panics tell.
fn flags(checkout: &Checkout, target: &Path) -> anyhow::Result<String> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(home).context("no CARGO_HOME and no HOME")?;
    // The last one that fits counts, and folders may lie in each other.
    let names = [
        (cargo.as_path(), "/cargo"),
        (checkout.root.as_path(), "/homeward"),
        (target, "/target"),
    ];
    let flags = names.map(|(folder, name)| {
        let folder = folder.to_str().context("a folder's name is not UTF-8")?;
        Ok(format!("--remap-path-prefix={folder}={name}"))
    });
    let flags: anyhow::Result<Vec<String>> = flags.into_iter().collect();
    Ok(flags?.join("\x1f"))
}

/// Adds the standard library of the target to the toolchain of the checkout.
fn add_target(checkout: &Checkout, triple: &str) -> anyhow::Result<()> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", triple])
        .current_dir(&checkout.root)
        .output()
        .context("cannot run rustc")?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && Path::new(&folder).is_dir() {
        return Ok(());
    }
    eprintln!("adding the Rust target {triple}");
    let status = Command::new("rustup")
        .args(["target", "add", triple])
        .current_dir(&checkout.root)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status();
    if !status.is_ok_and(|status| status.success()) {
        bail!("the Rust target {triple} is missing, and rustup does not add it");
    }
    Ok(())
}
