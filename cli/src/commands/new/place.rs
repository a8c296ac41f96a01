//! Puts all files into the checkout, or none.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

use super::{
    BRAND, CONTRACTS, LISTS,
    names::{Names, module},
    template::Files,
};
use crate::checkout::Checkout;

/// Names that mean something to Postgres, Kafka or the platform already.
const RESERVED: &[&str] = &[
    "homeward", "options", "platform", "postgres", "root", "test", "type",
];

/// Refuses a name that something here has already.
pub(super) fn check_free(checkout: &Checkout, name: &str) -> anyhow::Result<()> {
    for place in places(name) {
        if checkout.root.join(&place).exists() {
            bail!("{} exists already", place.display());
        }
    }
    let lock =
        fs::read_to_string(checkout.root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let packages = [name.to_owned(), module(name)];
    if packages
        .iter()
        .any(|package| lock.contains(&format!("\nname = \"{package}\"\n")))
    {
        bail!("{name} is the name of a crate that is built here: choose another name");
    }
    if RESERVED.contains(&name) {
        bail!("{name} means something else here: choose another name");
    }
    Ok(())
}

/// What the service has for itself: two folders and a file.
fn places(name: &str) -> [PathBuf; 3] {
    [
        PathBuf::from(format!("proto/{BRAND}/{}", module(name))),
        PathBuf::from(format!("services/{name}")),
        PathBuf::from(format!("charts/values/{name}.yaml")),
    ]
}

/// Files that say something of all services.
fn shared(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = LISTS.iter().map(|file| root.join(file)).collect();
    files.push(root.join("Cargo.lock"));
    for entry in fs::read_dir(root.join(CONTRACTS))? {
        files.push(entry?.path());
    }
    Ok(files)
}

/// What was done, and how to undo it.
pub(super) struct Placed {
    root: PathBuf,
    moved: Vec<PathBuf>,
    /// Files that list all services, as they were, and the one that comes with this one.
    before: Vec<(PathBuf, Option<Vec<u8>>)>,
}

impl Placed {
    /// Writes and formats everything aside, then moves it into its places.
    pub(super) fn new(checkout: &Checkout, names: &Names, files: &Files) -> anyhow::Result<Self> {
        let root = checkout.root.clone();
        let aside = root.join(".homeward/new").join(&names.name);
        let _ = fs::remove_dir_all(&aside);
        let mut before = shared(&root)
            .and_then(|files| {
                let read = files
                    .into_iter()
                    .map(|file| fs::read(&file).map(|text| (file, Some(text))));
                read.collect::<std::io::Result<Vec<_>>>()
            })
            .context("cannot read what lists all services")?;
        let contract = root.join(CONTRACTS).join(format!("{}.yaml", names.name));
        before.push((contract, None));
        let mut placed = Self {
            before,
            root,
            moved: Vec::new(),
        };
        let outcome = write(&aside, files).and_then(|()| placed.move_in(&aside, names));
        let _ = fs::remove_dir_all(&aside);
        if let Err(error) = outcome {
            placed.undo()?;
            return Err(error);
        }
        Ok(placed)
    }

    fn move_in(&mut self, aside: &Path, names: &Names) -> anyhow::Result<()> {
        for path in places(&names.name) {
            let (from, place) = (aside.join(&path), self.root.join(&path));
            // Whoever has made it meanwhile keeps it: a folder takes the place of an empty one
            // only, a second name that of nothing.
            let moved = match from.is_dir() {
                true => fs::rename(&from, &place),
                false => fs::hard_link(&from, &place),
            };
            moved.with_context(|| format!("cannot make {}", place.display()))?;
            self.moved.push(place);
        }
        Ok(())
    }

    /// Leaves the checkout as it was.
    pub(super) fn undo(self) -> anyhow::Result<()> {
        for place in self.moved {
            let deleted = match place.is_dir() {
                true => fs::remove_dir_all(&place),
                false => fs::remove_file(&place),
            };
            deleted.with_context(|| format!("cannot delete {}", place.display()))?;
        }
        for (file, before) in self.before {
            let now = fs::read(&file).ok();
            // Untouched ones keep their time, by which builds go.
            let restored = match &before {
                _ if now == before => Ok(()),
                Some(text) => fs::write(&file, text),
                None => fs::remove_file(&file),
            };
            restored.with_context(|| format!("cannot restore {}", file.display()))?;
        }
        Ok(())
    }
}

fn write(aside: &Path, files: &Files) -> anyhow::Result<()> {
    for (path, text) in files {
        let path = aside.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // How lines are broken depends on how long the names are.
    let code = files
        .keys()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let said = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .args(code)
        .current_dir(aside)
        .stdin(Stdio::null())
        .output()
        .context("cannot run rustfmt; `rustup component add rustfmt` adds it")?;
    ensure!(
        said.status.success(),
        "rustfmt: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::new::names::Kind;

    /// A checkout with nothing in it but what lists services; goes with this value.
    struct Scratch(Checkout);

    impl Scratch {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("homeward-{name}-{}", std::process::id()));
            let folders = ["docs", "k8s/base/kafka", "proto/homeward", "services"];
            for folder in folders.into_iter().chain(["charts/values", CONTRACTS]) {
                fs::create_dir_all(root.join(folder)).unwrap();
            }
            for file in LISTS {
                fs::write(root.join(file), "as it was\n").unwrap();
            }
            fs::write(
                root.join("Cargo.lock"),
                "[[package]]\nname = \"bytes\"\nversion = \"1\"\n",
            )
            .unwrap();
            Self(Checkout { root })
        }

        fn files(&self) -> Vec<String> {
            let said = Command::new("find")
                .args(["-type", "f"])
                .current_dir(&self.0.root)
                .output()
                .unwrap();
            let mut files: Vec<String> = String::from_utf8(said.stdout)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect();
            files.sort();
            files
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0.root);
        }
    }

    fn names() -> Names {
        Names::new("pets", None, Kind::Plain).unwrap()
    }

    fn files() -> Files {
        Files::from([
            (
                "proto/homeward/pets/v1/pets.proto".into(),
                "// p\n".to_owned(),
            ),
            (
                "services/pets/src/main.rs".into(),
                "fn main(){}\n".to_owned(),
            ),
            ("charts/values/pets.yaml".into(), "name: pets\n".to_owned()),
        ])
    }

    #[test]
    fn all_files_are_written_and_formatted_and_can_be_taken_back() {
        let scratch = Scratch::new("placed");
        let before = scratch.files();
        let placed = Placed::new(&scratch.0, &names(), &files()).unwrap();
        let main = fs::read_to_string(scratch.0.root.join("services/pets/src/main.rs")).unwrap();
        assert_eq!(main, "fn main() {}\n");
        assert_eq!(scratch.files().len(), before.len() + 3);

        fs::write(scratch.0.root.join(LISTS[0]), "with pets\n").unwrap();
        fs::write(
            scratch.0.root.join(CONTRACTS).join("pets.yaml"),
            "contract: {}\n",
        )
        .unwrap();
        placed.undo().unwrap();
        assert_eq!(scratch.files(), before);
        assert_eq!(
            fs::read_to_string(scratch.0.root.join(LISTS[0])).unwrap(),
            "as it was\n"
        );
    }

    #[test]
    fn what_cannot_all_be_written_is_not_written_at_all() {
        let scratch = Scratch::new("refused");
        let mut broken = files();
        broken.insert(
            "services/pets/src/main.rs".into(),
            "fn main( {\n".to_owned(),
        );
        let before = scratch.files();
        assert!(Placed::new(&scratch.0, &names(), &broken).is_err());
        assert_eq!(scratch.files(), before);

        // The second of the two folders is in somebody's hands, then the file.
        fs::create_dir_all(scratch.0.root.join("services/pets/mine")).unwrap();
        assert!(Placed::new(&scratch.0, &names(), &files()).is_err());
        assert_eq!(scratch.files(), before);
        assert!(scratch.0.root.join("services/pets/mine").is_dir());
        fs::remove_dir_all(scratch.0.root.join("services/pets")).unwrap();

        let values = scratch.0.root.join("charts/values/pets.yaml");
        fs::write(&values, "mine\n").unwrap();
        assert!(Placed::new(&scratch.0, &names(), &files()).is_err());
        assert_eq!(fs::read_to_string(values).unwrap(), "mine\n");
        assert!(!scratch.0.root.join("services/pets").exists());
    }

    #[test]
    fn a_name_that_is_taken_is_refused() {
        let scratch = Scratch::new("taken");
        let refused = |name: &str| check_free(&scratch.0, name).unwrap_err().to_string();
        fs::create_dir_all(scratch.0.root.join("services/catalog")).unwrap();
        fs::create_dir_all(scratch.0.root.join("proto/homeward/move_plans")).unwrap();
        assert!(refused("catalog").contains("services/catalog exists"));
        assert!(refused("move-plans").contains("proto/homeward/move_plans exists"));
        assert!(refused("bytes").contains("crate"));
        assert!(refused("postgres").contains("something else"));
        check_free(&scratch.0, "pets").unwrap();
    }
}
