use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use secrecy::{ExposeSecret, SecretString};

/// A value that nobody may see: it comes from the variable `X` or from the file that `X_FILE`
/// names, never from a flag, and prints as `***`.
///
/// A file is read again when it has changed, so that a secret can be rotated under a running
/// service; while it cannot be read, the last value stands.
#[derive(Clone)]
pub struct Secret(Arc<Source>);

enum Source {
    Value(SecretString),
    File { path: PathBuf, last: Mutex<Last> },
}

struct Last {
    modified: Option<SystemTime>,
    value: SecretString,
}

impl Secret {
    /// A fixed value, for tests and for secrets that come by other ways.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Arc::new(Source::Value(value.into().into())))
    }

    /// The content of a file without line feeds at its end.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, String> {
        let path = path.into();
        let last = Mutex::new(read(&path)?);
        Ok(Self(Arc::new(Source::File { path, last })))
    }

    /// The value as it is now.
    pub fn expose(&self) -> String {
        match &*self.0 {
            Source::Value(value) => value.expose_secret().to_owned(),
            Source::File { path, last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if modified(path) != last.modified {
                    match read(path) {
                        Ok(new) => *last = new,
                        Err(error) => {
                            tracing::warn!(%error, "kept the last value of a secret");
                        }
                    }
                }
                last.value.expose_secret().to_owned()
            }
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn read(path: &Path) -> Result<Last, String> {
    // The time is taken first: a change in between is then seen the next time.
    let modified = modified(path);
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the file {}: {error}", path.display()))?;
    let value = text.trim_end_matches(['\n', '\r']);
    if value.is_empty() {
        return Err(format!("the file {} is empty", path.display()));
    }
    Ok(Last {
        modified,
        value: value.to_owned().into(),
    })
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How [`super::parse`] hands a secret through clap.
pub(super) enum Given<'a> {
    Value(&'a str),
    File(&'a str),
}

impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Given::Value(value) => write!(f, "value:{value}"),
            Given::File(path) => write!(f, "file:{path}"),
        }
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        if let Some(path) = given.strip_prefix("file:") {
            Self::from_file(path)
        } else if let Some(value) = given.strip_prefix("value:") {
            Ok(Self::new(value))
        } else {
            Err("a secret is not given on the command line".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_lost_one_keeps_the_last_value() {
        let path = std::env::temp_dir().join(format!("secret-{}", uuid::Uuid::now_v7()));
        std::fs::write(&path, "one\n").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        assert_eq!(secret.expose(), "one");

        std::fs::write(&path, "two\n").unwrap();
        // The clock of a file system can be coarse; the test must not depend on its step.
        let later = SystemTime::now() + std::time::Duration::from_secs(10);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert_eq!(secret.expose(), "two");

        std::fs::remove_file(&path).unwrap();
        assert_eq!(secret.expose(), "two");
    }

    #[test]
    fn an_empty_or_missing_file_is_refused() {
        let path = std::env::temp_dir().join(format!("secret-{}", uuid::Uuid::now_v7()));
        assert!(
            Secret::from_file(&path)
                .unwrap_err()
                .contains("cannot read")
        );
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::from_file(&path).unwrap_err().contains("is empty"));
        std::fs::remove_file(&path).unwrap();
    }
}
