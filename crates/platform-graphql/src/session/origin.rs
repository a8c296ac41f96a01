//! Where a request was made: what browsers say about the page behind it.

use http::header::{HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use crate::http::Origins;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Pages that may act for the person in front of the browser: those of this site, and those of
/// the origins on the list.
#[derive(Clone, Debug)]
pub struct Pages {
    own: HeaderValue,
    listed: Origins,
}

impl Pages {
    /// Pages of the origin of `public_url`, and of the listed ones.
    pub fn new(public_url: &Url, listed: Origins) -> Pages {
        let own = public_url.origin().ascii_serialization();
        Pages {
            own: HeaderValue::try_from(own).expect("an origin is ASCII"),
            listed,
        }
    }

    /// Whether the request was made by such a page, or by nobody's page: typed in, or by a program.
    ///
    /// For the handshake of a WebSocket too, which every page may begin and which is a GET: it
    /// comes with an `Origin`.
    pub fn admit(&self, method: &Method, headers: &HeaderMap) -> bool {
        match (one(headers, &SEC_FETCH_SITE), one(headers, &ORIGIN)) {
            (Sent::Twice, _) | (_, Sent::Twice) => false,
            (Sent::Once(site), _) if site == "same-origin" => true,
            (_, Sent::Once(origin)) => origin == self.own || self.listed.contains(origin),
            // Opened by hand, or by the link of another page.
            (Sent::Once(site), Sent::Never) => site == "none",
            // Every browser names the origin of what is not a plain read.
            (Sent::Never, Sent::Never) => matches!(*method, Method::GET | Method::HEAD),
        }
    }
}

enum Sent<'a> {
    Never,
    Once(&'a HeaderValue),
    Twice,
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Sent<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Sent::Never,
        (Some(value), None) => Sent::Once(value),
        (Some(_), Some(_)) => Sent::Twice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_site_and_of_the_list_may() {
        let url = Url::parse("https://api.example.org/path").unwrap();
        let pages = Pages::new(&url, "https://app.example.org".parse().unwrap());
        let own = "https://api.example.org";
        for (method, site, origin, may) in [
            (Method::POST, Some("same-origin"), Some(own), true),
            (Method::POST, Some("same-origin"), None, true),
            (Method::POST, None, Some(own), true),
            (
                Method::POST,
                Some("same-site"),
                Some("https://app.example.org"),
                true,
            ),
            (Method::POST, Some("none"), None, true),
            (Method::GET, None, None, true),
            (Method::POST, None, None, false),
            (
                Method::POST,
                Some("same-site"),
                Some("https://evil.example.org"),
                false,
            ),
            (
                Method::POST,
                Some("cross-site"),
                Some("https://evil.example"),
                false,
            ),
            (
                Method::POST,
                Some("none"),
                Some("https://evil.example"),
                false,
            ),
            (Method::POST, Some("cross-site"), Some("null"), false),
            (Method::GET, Some("cross-site"), None, false),
            (Method::GET, Some("same-site"), None, false),
            (Method::GET, Some("SAME-ORIGIN"), None, false),
            (Method::GET, None, Some("https://evil.example"), false),
            (Method::POST, None, Some("http://api.example.org"), false),
            (
                Method::POST,
                None,
                Some("https://api.example.org.evil.example"),
                false,
            ),
            (
                Method::POST,
                None,
                Some("https://api.example.org:8443"),
                false,
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(site) = site {
                headers.insert(SEC_FETCH_SITE, site.parse().unwrap());
            }
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(pages.admit(&method, &headers), may, "{method} {headers:?}");
        }
    }

    #[test]
    fn a_header_given_twice_convinces_nobody() {
        let url = Url::parse("https://api.example.org").unwrap();
        let pages = Pages::new(&url, Origins::default());
        let mut headers = HeaderMap::new();
        headers.append(ORIGIN, "https://api.example.org".parse().unwrap());
        headers.append(ORIGIN, "https://api.example.org".parse().unwrap());
        assert!(!pages.admit(&Method::POST, &headers));
    }
}
