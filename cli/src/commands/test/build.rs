//! One build for everything, which tells clippy's opinion along the way.
//!
//! `cargo clippy` would check every outside crate a second time. As wrapper of the compiler for our
//! own crates, clippy speaks up in the build that is needed anyway.

use std::collections::BTreeSet;

use anyhow::{Context, bail};

use super::Session;
use crate::{
    cargo::{self, Targets},
    packages,
    progress::Progress,
};

/// Makes clippy the compiler of our own crates. Another wrapper that is given stays: cargo keeps
/// what it makes apart, so that two copies of a checkout can share all outside crates.
pub(super) fn wrapper() -> (&'static str, String) {
    let variable = "RUSTC_WORKSPACE_WRAPPER";
    let given = std::env::var(variable)
        .ok()
        .filter(|given| !given.is_empty());
    (
        variable,
        given.unwrap_or_else(|| "clippy-driver".to_owned()),
    )
}

/// Arguments of clippy, in cargo-clippy's own notation. A wrapper without them would be a plain
/// compiler; warnings stay warnings, so that one of them does not keep the tests from running.
pub(super) fn lints() -> (&'static str, String) {
    ("CLIPPY_ARGS", "-Wclippy::all__CLIPPY_HACKERY__".to_owned())
}

/// Builds programs and then tests; answers the warnings.
pub(super) fn run(session: &Session<'_>) -> anyhow::Result<BTreeSet<String>> {
    if !packages::runs("clippy-driver", &["--version"]) {
        bail!("clippy is missing; `rustup component add clippy` adds it");
    }
    let variables = [wrapper(), lints()];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let mut progress = Progress::new();
    let mut build = |targets| {
        cargo::build(
            session.checkout,
            targets,
            &variables,
            &session.stop,
            &mut progress,
        )
    };
    let programs = build(Targets::Programs)?;
    let all = build(Targets::All)?;
    // Programs came first: a crate of theirs that the tests compile anew has other features there.
    let twice: Vec<&str> = all
        .compiled
        .intersection(&programs.outside)
        .map(String::as_str)
        .collect();
    if !twice.is_empty() {
        bail!(
            "a dev-dependency changes features, so these were compiled again: {}",
            twice.join(", ")
        );
    }
    Ok(programs.warnings.union(&all.warnings).cloned().collect())
}

/// Fails if the build warned.
pub(super) fn judge(warnings: Option<&BTreeSet<String>>) -> anyhow::Result<()> {
    let warnings = warnings.context("the build failed, so clippy has not seen everything")?;
    for warning in warnings {
        eprintln!("{warning}");
    }
    if !warnings.is_empty() {
        bail!("{} warnings", warnings.len());
    }
    Ok(())
}
