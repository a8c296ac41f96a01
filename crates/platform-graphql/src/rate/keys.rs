//! Applications and their keys.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, StatusCode};
use platform::config::Secret;

use super::Rate;
use crate::refusal::{Refusal, RequestReason};

const X_API_KEY: &str = "x-api-key";
/// Shorter ones could be guessed.
const CHARS_MIN: usize = 16;

/// An application that calls, and how much it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its name, for the log and the limits.
    pub name: String,
    /// Requests that it may make.
    pub quota: Rate,
}

/// The setting cannot be read; the text is not in the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("API_KEYS: entry {0} {1}")]
pub struct KeysMalformed(usize, &'static str);

pub(super) struct ApiKeys {
    /// Read anew for each use, so that keys can be changed while running.
    secret: Option<Secret>,
    required: bool,
    last: Mutex<(String, Arc<[Entry]>)>,
}

struct Entry {
    hash: [u8; 32],
    application: Arc<Application>,
}

impl ApiKeys {
    pub(super) fn new(secret: Option<Secret>, required: bool) -> Result<ApiKeys, KeysMalformed> {
        let text = secret.as_ref().map(Secret::expose).unwrap_or_default();
        let entries = parse(&text)?;
        Ok(ApiKeys {
            secret,
            required,
            last: Mutex::new((text, entries)),
        })
    }

    /// The application whose key the request carries. A key that is not known is refused, since
    /// whoever sends one means to be told that it no longer works.
    pub(super) fn find(&self, headers: &HeaderMap) -> Result<Option<Arc<Application>>, Refusal> {
        let refused = |message| {
            let reason = RequestReason::ApiKeyInvalid;
            Err(Refusal::new(reason, StatusCode::UNAUTHORIZED, message))
        };
        let mut keys = headers.get_all(X_API_KEY).iter();
        let key = match (keys.next(), keys.next()) {
            (None, _) if self.required => return refused("the key of the application is missing"),
            (None, _) => return Ok(None),
            (Some(key), None) => hash(key.as_bytes()),
            _ => return refused("more than one key is given"),
        };
        let mut found = None;
        // All are looked at, so that the time tells nothing.
        for entry in self.entries().iter() {
            if verify_slices_are_equal(&entry.hash, &key).is_ok() {
                found = Some(entry.application.clone());
            }
        }
        match found {
            None => refused("the key of the application is not known"),
            found => Ok(found),
        }
    }

    fn entries(&self) -> Arc<[Entry]> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = self.secret.as_ref().map(Secret::expose)
            && text != last.0
        {
            match parse(&text) {
                Ok(entries) => last.1 = entries,
                Err(error) => tracing::error!(%error, "kept the keys as they were: {error}"),
            }
            last.0 = text;
        }
        last.1.clone()
    }
}

fn parse(text: &str) -> Result<Arc<[Entry]>, KeysMalformed> {
    let lines = text.split(['\n', ',']).map(str::trim);
    let mut entries: Vec<Entry> = Vec::new();
    for (place, line) in (1..).zip(lines.filter(|line| !line.is_empty())) {
        let wrong = |problem| KeysMalformed(place, problem);
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[name, key, quota] = words.as_slice() else {
            return Err(wrong("is not `<name> <key> <quota>`"));
        };
        let hash = match key.strip_prefix("sha256:") {
            Some(digits) => hexadecimal(digits).ok_or(wrong("has no SHA-256 of a key"))?,
            None if key.len() >= CHARS_MIN => hash(key.as_bytes()),
            None => return Err(wrong("has a key of fewer than 16 characters")),
        };
        let quota = quota
            .parse()
            .map_err(|_| wrong("has no quota like 1000/1h"))?;
        if entries.iter().any(|entry| entry.hash == hash) {
            return Err(wrong("has the key of another one"));
        }
        let name = name.to_owned();
        let application = Arc::new(Application { name, quota });
        entries.push(Entry { hash, application });
    }
    Ok(entries.into())
}

fn hash(key: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, key).as_ref());
    out
}

fn hexadecimal(digits: &str) -> Option<[u8; 32]> {
    (digits.len() == 64).then(|| platform::sealed::parse_key(digits).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn find(keys: &ApiKeys, sent: &[&str]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for key in sent {
            headers.append(X_API_KEY, key.parse().unwrap());
        }
        let found = keys.find(&headers).map_err(|refusal| refusal.word)?;
        Ok(found.map(|application| application.name.clone()))
    }

    #[test]
    fn a_key_names_its_application_in_plain_or_hashed() {
        let hashed: String = hash(b"fedcba9876543210")
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let text = format!("web {KEY} 10/1m\nios sha256:{hashed} 1000/24h, other {KEY}x off");
        let keys = ApiKeys::new(Some(Secret::new(text)), false).unwrap();
        assert_eq!(find(&keys, &[KEY]), Ok(Some("web".to_owned())));
        assert_eq!(
            find(&keys, &["fedcba9876543210"]),
            Ok(Some("ios".to_owned()))
        );
        assert_eq!(find(&keys, &[]), Ok(None));
        for wrong in [
            &["0123456789abcdeX"] as &[&str],
            &[""],
            &[&hashed],
            &[KEY, KEY],
        ] {
            assert_eq!(find(&keys, wrong), Err("API_KEY_INVALID"), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_can_be_made_necessary() {
        let keys = ApiKeys::new(Some(Secret::new(format!("web {KEY} off"))), true).unwrap();
        assert_eq!(find(&keys, &[]), Err("API_KEY_INVALID"));
        assert!(find(&keys, &[KEY]).is_ok());
        let none = ApiKeys::new(None, false).unwrap();
        assert_eq!(find(&none, &[]), Ok(None));
        assert_eq!(find(&none, &[KEY]), Err("API_KEY_INVALID"));
    }

    #[test]
    fn a_setting_that_cannot_be_read_is_refused_without_showing_it() {
        for text in [
            "web",
            &format!("web {KEY}"),
            "web secret 1/1s",
            &format!("web {KEY} many"),
            "web sha256:abcd 1/1s",
            &format!("web {KEY} 1/1s,ios {KEY} 1/1s"),
        ] {
            let error = ApiKeys::new(Some(Secret::new(text)), false).err().unwrap();
            let shown = error.to_string();
            assert!(
                shown.starts_with("API_KEYS: entry ") && !shown.contains(KEY),
                "{shown}"
            );
        }
    }
}
