//! What the head of a request says beside its media types.

use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName};
use platform::config::duration;

use crate::refusal::{Refusal, RequestReason};

/// How long the client will wait for the answer.
const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");
/// A client application that says who it is.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The time for a request: what the client gives, at most `max`.
pub(super) fn time(
    headers: &HeaderMap,
    default: Duration,
    max: Duration,
) -> Result<Duration, Refusal> {
    let mut values = headers.get_all(REQUEST_TIMEOUT).iter();
    let given = match (values.next(), values.next()) {
        (None, _) => return Ok(default.min(max)),
        (Some(value), None) => value.to_str().ok().and_then(timeout),
        _ => None,
    };
    given.map(|given| given.min(max)).ok_or_else(|| {
        let message = "`request-timeout` is no time like 1500ms, 1.5s, 2m or 10 (seconds)";
        Refusal::bad(RequestReason::GraphqlRequestMalformed, message)
    })
}

/// A number with a unit; a bare one, or one with a point, is of seconds.
fn timeout(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.len() > 16 {
        return None;
    }
    if let Ok(time) = duration(text) {
        return Some(time);
    }
    let seconds = text.strip_suffix('s').unwrap_or(text);
    let plain = seconds.starts_with(|c: char| c.is_ascii_digit())
        && seconds
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = plain.then(|| seconds.parse().ok()).flatten()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Whether the request says in any way whose it is. Then its answer is for nobody else.
pub(super) fn says_who(headers: &HeaderMap) -> bool {
    [AUTHORIZATION, COOKIE, API_KEY]
        .iter()
        .any(|name| headers.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_time_is_read_and_cut_to_the_maximum() {
        let (default, max) = (Duration::from_secs(10), Duration::from_secs(30));
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(REQUEST_TIMEOUT, value.parse().unwrap());
            }
            time(&headers, default, max)
        };
        assert_eq!(read(&[]).unwrap(), default);
        for (text, millis) in [
            ("1500ms", 1_500),
            ("2s", 2_000),
            ("1.5s", 1_500),
            ("2", 2_000),
            ("0.25", 250),
            ("0ms", 0),
            ("1m", 30_000),
            ("9999999h", 30_000),
        ] {
            assert_eq!(
                read(&[text]).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
        for bad in [
            "",
            "soon",
            "-1s",
            "1e9",
            "inf",
            "NaN",
            ".5",
            "1 s",
            "1.2.3",
            "12345678901234567",
        ] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
        assert!(read(&["1s", "1s"]).is_err());
    }
}
