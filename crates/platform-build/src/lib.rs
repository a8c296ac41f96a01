//! Reads contracts from protos, refuses what breaks the platform's rules, and writes the code.
//!
//! A crate that holds contracts has this `build.rs`:
//!
//! ```no_run
//! fn main() -> platform_build::Result {
//!     platform_build::Contracts::new("acme").root("../proto").generate()
//! }
//! ```
//!
//! and this `lib.rs`: `include!(concat!(env!("OUT_DIR"), "/contracts.rs"));`

mod check;
mod emit;
mod load;
mod names;
mod options;
mod report;

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;

pub use report::Violation;

use report::Violations;

/// What a build script returns.
pub type Result = std::result::Result<(), Error>;

/// Why there is no code. Both of its forms are for people, since cargo shows the one for debugging.
pub struct Error(anyhow::Error);

impl Error {
    /// The broken rules; empty when it was something else.
    pub fn violations(&self) -> &[Violation] {
        self.0
            .downcast_ref()
            .map_or(&[], |Violations(violations)| violations)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All causes, and never a backtrace.
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Error {}

/// The contracts of one company, in one folder of protos.
#[derive(Clone, Debug)]
pub struct Contracts {
    brand: String,
    root: PathBuf,
    out_dir: Option<PathBuf>,
}

impl Contracts {
    /// Contracts under a brand: the first word of every package, the domain of errors
    /// (`catalog.homeward`) and of event sources (`/homeward/catalog`).
    pub fn new(brand: impl Into<String>) -> Self {
        Self {
            brand: brand.into(),
            root: PathBuf::from("proto"),
            out_dir: None,
        }
    }

    /// The folder that imports are relative to; every `.proto` below it is read.
    pub fn root(mut self, root: impl AsRef<Path>) -> Self {
        self.root = root.as_ref().to_path_buf();
        self
    }

    /// Where the code goes; cargo's `OUT_DIR` unless stated.
    pub fn out_dir(mut self, out_dir: impl AsRef<Path>) -> Self {
        self.out_dir = Some(out_dir.as_ref().to_path_buf());
        self
    }

    /// Checks everything, then writes `contracts.rs` and the files that it includes.
    ///
    /// # Errors
    ///
    /// All broken rules at once; or the first syntax error; or a file that cannot be read or written.
    pub fn generate(self) -> Result {
        println!("cargo:rerun-if-changed={}", self.root.display());
        self.try_generate().map_err(Error)
    }

    /// The catalogue of all events as an AsyncAPI 3.0 document, in YAML.
    ///
    /// # Errors
    ///
    /// As [`Contracts::generate`].
    pub fn asyncapi(&self) -> std::result::Result<String, Error> {
        self.read(emit::asyncapi)
    }

    /// All error reasons with cause and remedy, in Markdown: a table per service, and first those
    /// that the platform itself answers. `homeward errors` reads it.
    ///
    /// # Errors
    ///
    /// As [`Contracts::generate`].
    pub fn errors(&self) -> std::result::Result<String, Error> {
        self.read(emit::errors)
    }

    /// What the chart of each service must know of its contract, as values in YAML by the name of
    /// the service; also of `others`, programs without one.
    ///
    /// # Errors
    ///
    /// As [`Contracts::generate`].
    pub fn charts(
        &self,
        others: &[String],
    ) -> std::result::Result<BTreeMap<String, String>, Error> {
        self.read(|contracts| emit::charts(contracts, others))
    }

    /// The topics of all events, as resources of Strimzi in YAML.
    ///
    /// # Errors
    ///
    /// As [`Contracts::generate`].
    pub fn topics(&self) -> std::result::Result<String, Error> {
        self.read(emit::topics)
    }

    fn read<T>(&self, emit: impl FnOnce(&load::Loaded) -> T) -> std::result::Result<T, Error> {
        let read = || {
            let contracts = load::load(&self.brand, &self.root)?;
            check::check(&contracts)?;
            Ok(emit(&contracts))
        };
        read().map_err(Error)
    }

    fn try_generate(self) -> anyhow::Result<()> {
        let contracts = load::load(&self.brand, &self.root)?;
        check::check(&contracts)?;
        emit::contracts(&contracts, &out_dir(self.out_dir)?)
    }
}

/// Writes `reasons.rs`, the platform's own error reasons, for `platform-contract`.
///
/// # Errors
///
/// When `OUT_DIR` is not set or cannot be written to.
pub fn platform_reasons() -> Result {
    println!("cargo:rerun-if-changed=build.rs");
    let write = || emit::platform_reasons(&load::platform()?, &out_dir(None)?);
    write().map_err(Error)
}

fn out_dir(stated: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    stated
        .or_else(|| env::var_os("OUT_DIR").map(PathBuf::from))
        .context("OUT_DIR is not set; call this from a build script")
}
