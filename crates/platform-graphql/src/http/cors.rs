//! Pages of other origins that may use the endpoint (CORS), by list.

use std::str::FromStr;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderValue};

/// More than that no page of ours asks for.
const REQUEST_HEADERS_BYTES_MAX: usize = 1 << 10;

/// Origins, as browsers write them. Nobody is on the list unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Arc<[HeaderValue]>);

/// An entry of the list is not an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnOrigin(String);

impl std::fmt::Display for NotAnOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let NotAnOrigin(text) = self;
        write!(f, "{text:?} is no origin like https://app.example.org:8443")
    }
}

impl std::error::Error for NotAnOrigin {}

impl FromStr for Origins {
    type Err = NotAnOrigin;

    /// A list separated by commas. There is no `*`: with credentials it would be everybody.
    fn from_str(text: &str) -> Result<Origins, NotAnOrigin> {
        let entries = text.split(',').map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty());
        entries
            .map(|entry| origin(entry).ok_or_else(|| NotAnOrigin(entry.to_owned())))
            .collect::<Result<_, _>>()
            .map(Origins)
    }
}

/// Scheme and authority in lower case, and nothing behind them.
fn origin(text: &str) -> Option<HeaderValue> {
    let (scheme, authority) = text.split_once("://")?;
    let host =
        |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':' | b'[' | b']');
    let fine =
        matches!(scheme, "http" | "https") && !authority.is_empty() && authority.bytes().all(host);
    fine.then(|| HeaderValue::from_str(text).ok()).flatten()
}

impl Origins {
    /// Whether the origin is on the list.
    pub fn contains(&self, origin: &HeaderValue) -> bool {
        self.0.contains(origin)
    }

    /// What a browser must read before it shows the answer to a page.
    pub(super) fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) -> bool {
        let Some(origin) = request.get(ORIGIN).filter(|origin| self.contains(origin)) else {
            return false;
        };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        response.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        response.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("etag, retry-after, x-request-id"),
        );
        true
    }

    /// The answer to the question that comes before a request, for a page on the list.
    pub(super) fn preflight(&self, request: &HeaderMap, response: &mut HeaderMap) {
        if !request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) || !self.allow(request, response) {
            return;
        }
        response.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        response.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, PUT, DELETE"),
        );
        // A page that is trusted with the answers is trusted with its headers.
        let headers = request.get(ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(headers) = headers.filter(|text| text.len() <= REQUEST_HEADERS_BYTES_MAX) {
            response.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
        response.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_origins_and_nothing_else() {
        let list: Origins = "https://a.example, http://127.0.0.1:5173,".parse().unwrap();
        let contains = |text: &'static str| list.contains(&HeaderValue::from_static(text));
        assert!(contains("https://a.example") && contains("http://127.0.0.1:5173"));
        for other in [
            "http://a.example",
            "https://a.example.evil.example",
            "https://a.example:444",
            "null",
            "",
        ] {
            assert!(!contains(other), "{other}");
        }
        assert_eq!("".parse(), Ok(Origins::default()));
        for bad in [
            "*",
            "null",
            "a.example",
            "https://",
            "https://a.example/",
            "https://*.example",
            "https://A.example",
            "file:///x",
        ] {
            assert!(bad.parse::<Origins>().is_err(), "{bad}");
        }
    }
}
