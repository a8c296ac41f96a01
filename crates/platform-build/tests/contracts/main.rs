//! What is refused, and what comes of what is not.

#![allow(clippy::unwrap_used, reason = "a test may stop where it is")]

mod accepted;
mod refused;

use std::fs;
use std::path::{Path, PathBuf};

use platform_build::{Contracts, Result};

/// A folder of protos of the brand `acme`, and a folder for what is made of them.
struct Workspace {
    root: PathBuf,
    out: PathBuf,
}

impl Workspace {
    /// An empty workspace; the name is that of the test.
    fn new(name: &str) -> Self {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&base);
        let (root, out) = (base.join("proto"), base.join("out"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&out).unwrap();
        Self {
            root: root.canonicalize().unwrap(),
            out,
        }
    }

    /// Adds a file with the usual head; answers where its body begins, in lines.
    fn add(&self, name: &str, package: &str, body: &str) -> PathBuf {
        let head = format!(
            "syntax = \"proto3\"; package {package}; import \"homeward/options/v1/options.proto\";"
        );
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("{head}\n{body}")).unwrap();
        path
    }

    fn generate(&self) -> Result {
        Contracts::new("acme")
            .root(&self.root)
            .out_dir(&self.out)
            .generate()
    }

    fn generated(&self, name: &str) -> String {
        fs::read_to_string(self.out.join(name)).unwrap()
    }
}
