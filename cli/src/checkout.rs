//! Where things lie: the checkout, and the folder of each stack in it.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::os::{account, hash};

/// The working copy that the command belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Checkout {
    pub(crate) root: PathBuf,
}

impl Checkout {
    /// The launcher names the root; without it, the folder at hand or one above it.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let start = match std::env::var_os("HOMEWARD_ROOT") {
            Some(root) => PathBuf::from(root),
            None => std::env::current_dir().context("cannot tell the current folder")?,
        };
        let root = start.ancestors().find(|folder| {
            folder.join("cli/Cargo.toml").is_file() && folder.join("services").is_dir()
        });
        match root {
            Some(root) => Ok(Self {
                root: root.canonicalize()?,
            }),
            None => bail!("{} is not in a checkout of Homeward", start.display()),
        }
    }

    /// Names of all services: each folder of `services/`, and the BFF.
    pub(crate) fn services(&self) -> anyhow::Result<Vec<String>> {
        let mut names = vec!["bff".to_owned()];
        for entry in fs::read_dir(self.root.join("services")).context("cannot read services/")? {
            let path = entry?.path();
            if let Some(name) = path.file_name().and_then(|name| name.to_str())
                && path.join("Cargo.toml").is_file()
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Where programs lie that no package of the system has; they are no part of a stack.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join(".homeward/tools")
    }

    pub(crate) fn folder(&self, name: impl ToString) -> Folder {
        Folder {
            root: self.root.clone(),
            name: name.to_string(),
        }
    }

    /// The folders of all stacks that were ever started and not purged.
    pub(crate) fn port_bases(&self) -> Vec<u16> {
        let entries = fs::read_dir(self.root.join(".homeward"))
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut bases: Vec<u16> = names.filter_map(|name| name.parse().ok()).collect();
        bases.sort_unstable();
        bases
    }
}

/// The folder of one stack, named by its port base, or that of the tests.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    pub(crate) name: String,
}

impl Folder {
    /// Makes the folder and those in it, readable by nobody else.
    pub(crate) fn make(&self) -> anyhow::Result<()> {
        let private = |path: &Path| {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
        };
        for path in [self.path(), self.logs(), self.secrets()] {
            private(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        }
        let owner = fs::metadata(self.path())?.uid();
        let me = rustix::process::geteuid().as_raw();
        if owner != me && me != 0 {
            bail!(
                "{} belongs to another user (uid {owner})",
                self.path().display()
            );
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.join(".homeward").join(&self.name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.path().join("lock")
    }

    /// What a person has answered about what to start.
    pub(crate) fn answers(&self) -> PathBuf {
        self.path().join("answers.json")
    }

    /// What the supervisor in the background is to start.
    pub(crate) fn wish(&self) -> PathBuf {
        self.path().join("wish.json")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.path().join("logs")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.path().join("secrets")
    }

    pub(crate) fn demo(&self) -> PathBuf {
        self.path().join("demo.json")
    }

    /// Where infrastructure keeps its data.
    ///
    /// Postgres refuses to run as root, and its own account cannot enter a checkout under `/root`:
    /// as root the data lie where that account can reach.
    pub(crate) fn data(&self) -> PathBuf {
        if account::am_root() {
            self.data_of_root()
        } else {
            self.path()
        }
    }

    fn data_of_root(&self) -> PathBuf {
        let checkout = hash::hex(self.root.as_os_str().as_encoded_bytes());
        Path::new("/var/lib/homeward")
            .join(checkout)
            .join(&self.name)
    }

    /// Deletes everything that the stack has kept.
    pub(crate) fn purge(&self) -> anyhow::Result<()> {
        let mut folders = vec![self.path()];
        if account::am_root() {
            folders.push(self.data_of_root());
        }
        for folder in folders {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot delete {}", folder.display()));
                }
                _ => {}
            }
        }
        if account::am_root()
            && let Some(parent) = self.data_of_root().parent()
        {
            // Goes only when this was the checkout's last stack.
            let _ = fs::remove_dir(parent);
        }
        Ok(())
    }
}
