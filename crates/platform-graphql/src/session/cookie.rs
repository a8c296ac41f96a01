//! The cookie, in as many parts as its value needs.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

/// Browsers keep 4096 bytes of name, value and attributes.
const PART_BYTES: usize = 3_800;
/// More would not leave room for anything else in the head of a request.
const PARTS_MAX: usize = 4;

/// Names and attributes. With TLS the name begins with `__Host-`, which only this host can set.
pub(super) struct Cookie {
    name: &'static str,
    attributes: &'static str,
}

impl Cookie {
    pub(super) fn new(secure: bool) -> Cookie {
        if secure {
            Cookie {
                name: "__Host-session",
                attributes: "Path=/; HttpOnly; SameSite=Strict; Secure",
            }
        } else {
            Cookie {
                name: "session",
                attributes: "Path=/; HttpOnly; SameSite=Strict",
            }
        }
    }

    /// What a request carries; empty if parts are missing, `None` if there is no such cookie.
    pub(super) fn read(&self, headers: &HeaderMap) -> Option<String> {
        let pairs = || {
            let lines = headers.get_all(COOKIE).iter();
            let lines = lines.filter_map(|line| line.to_str().ok());
            lines
                .flat_map(|line| line.split(';'))
                .filter_map(|pair| pair.trim().split_once('='))
        };
        let find = |name: &str| Some(pairs().find(|(found, _)| *found == name)?.1);
        let first = find(self.name)?;
        Some(self.join(first, find).unwrap_or_default())
    }

    fn join<'a>(&self, first: &'a str, find: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
        let (count, chunk) = first.split_once('.')?;
        let count: usize = count.parse().ok()?;
        let mut value = chunk.to_owned();
        for part in 1..count.min(PARTS_MAX) {
            value.push_str(find(&self.part(part))?);
        }
        Some(value)
    }

    /// Whether a value of this length can be kept.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        bytes <= PARTS_MAX * PART_BYTES
    }

    /// Keeps the value for so many seconds.
    pub(super) fn set(&self, headers: &mut HeaderMap, value: &str, seconds: i64) {
        if !self.fits(value.len()) {
            tracing::error!(bytes = value.len(), "a session does not fit into cookies");
            return;
        }
        let count = value.len().div_ceil(PART_BYTES).max(1);
        for part in 0..count {
            let chunk = &value[part * PART_BYTES..value.len().min((part + 1) * PART_BYTES)];
            let head = if part == 0 {
                format!("{count}.")
            } else {
                String::new()
            };
            self.put(headers, part, &format!("{head}{chunk}"), seconds.max(0));
        }
    }

    /// Takes all parts back.
    pub(super) fn clear(&self, headers: &mut HeaderMap) {
        for part in 0..PARTS_MAX {
            self.put(headers, part, "", 0);
        }
    }

    fn put(&self, headers: &mut HeaderMap, part: usize, value: &str, seconds: i64) {
        let (name, attributes) = (self.part(part), self.attributes);
        let line = format!("{name}={value}; Max-Age={seconds}; {attributes}");
        let mut line = HeaderValue::try_from(line).expect("base64url, digits and fixed words");
        line.set_sensitive(true);
        headers.append(SET_COOKIE, line);
    }

    fn part(&self, part: usize) -> String {
        match part {
            0 => self.name.to_owned(),
            part => format!("{}.{part}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser sends back.
    fn sent(set: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in set.get_all(SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            headers.append(COOKIE, pair.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_value_of_any_length_comes_back_in_parts_below_4_kilobytes() {
        let cookie = Cookie::new(true);
        for (bytes, parts) in [(0, 1), (1, 1), (3_800, 1), (3_801, 2), (15_200, 4)] {
            let value = "v".repeat(bytes);
            let mut set = HeaderMap::new();
            cookie.set(&mut set, &value, 60);
            assert_eq!(set.get_all(SET_COOKIE).iter().count(), parts);
            assert!(set.get_all(SET_COOKIE).iter().all(|line| line.len() < 4096));
            assert_eq!(cookie.read(&sent(&set)), Some(value));
        }
        let mut set = HeaderMap::new();
        cookie.set(&mut set, &"v".repeat(15_201), 60);
        assert!(set.is_empty());
    }

    #[test]
    fn parts_that_are_missing_are_no_value_and_other_cookies_are_none() {
        let cookie = Cookie::new(false);
        let mut headers = HeaderMap::new();
        headers.insert(
            COOKIE,
            "a=b; sessions=1.x; __Host-session=1.x".parse().unwrap(),
        );
        assert_eq!(cookie.read(&headers), None);
        for broken in ["session=2.abc", "session=", "session=x", "session=.x"] {
            headers.insert(COOKIE, broken.parse().unwrap());
            assert_eq!(cookie.read(&headers), Some(String::new()), "{broken}");
        }
        headers.insert(COOKIE, "a=b; session.1=d; session=2.c".parse().unwrap());
        assert_eq!(cookie.read(&headers), Some("cd".to_owned()));
    }

    #[test]
    fn name_and_attributes_follow_the_scheme() {
        for (secure, name) in [(true, "__Host-session"), (false, "session")] {
            let mut set = HeaderMap::new();
            Cookie::new(secure).set(&mut set, "v", 60);
            let line = set[SET_COOKIE].to_str().unwrap();
            assert!(
                line.starts_with(&format!("{name}=1.v; Max-Age=60; Path=/; ")),
                "{line}"
            );
            assert!(line.contains("HttpOnly") && line.contains("SameSite=Strict"));
            assert!(!line.contains("Domain"));
            assert_eq!(line.ends_with("Secure"), secure);
        }
    }
}
