//! What the client reads: media types and encodings, by their weights (RFC 9110, section 12.5).

use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

/// In which form an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// For clients from before the media type below: whoever answers 4xx may be a proxy, so a
    /// request that was understood is answered 200.
    Json,
    GraphqlResponse,
}

impl Media {
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Media::Json => "application/json; charset=utf-8",
            Media::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
        })
    }
}

/// What the `accept` header allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The form that the client likes best; `None` if it reads neither.
    pub(super) media: Option<Media>,
    /// Plain JSON can be read as well.
    pub(super) json: bool,
    /// A page is asked for by name, and liked best: a person with a browser.
    pub(super) page: bool,
    /// A stream of events can be read; it is asked for by name.
    pub(super) stream: bool,
    /// It is liked better than one answer.
    pub(super) only_stream: bool,
}

impl Accepted {
    /// For what only newer clients send.
    pub(super) const STRICT: Accepted = Accepted {
        media: Some(Media::GraphqlResponse),
        json: false,
        page: false,
        stream: false,
        only_stream: false,
    };

    pub(super) fn of(headers: &HeaderMap) -> Accepted {
        let ranges = List::of(headers, &ACCEPT);
        if ranges.0.iter().all(|range| range.essence.is_empty()) {
            return Accepted {
                media: Some(Media::Json),
                json: true,
                page: false,
                stream: false,
                only_stream: false,
            };
        }
        let json = ranges.media("application", "json");
        let graphql = ranges.media("application", "graphql-response+json");
        let html = ranges.media("text", "html");
        let events = ranges.media("text", "event-stream");
        let stream = events.rank == Rank::Exact && events.weight > 0;
        // Where both weigh the same, the new one is for those who know its name.
        let media = if graphql.weight > json.weight
            || (graphql.weight == json.weight && graphql.rank == Rank::Exact)
        {
            (graphql.weight > 0).then_some(Media::GraphqlResponse)
        } else {
            (json.weight > 0).then_some(Media::Json)
        };
        Accepted {
            media,
            json: json.weight > 0,
            page: html.rank == Rank::Exact
                && html.weight > 0
                && html.weight >= json.weight.max(graphql.weight),
            stream,
            only_stream: stream && events.weight > json.weight.max(graphql.weight),
        }
    }
}

/// Whether gzip can be read, and is not less welcome than no encoding.
pub(crate) fn gzip(headers: &HeaderMap) -> bool {
    let list = List::of(headers, &ACCEPT_ENCODING);
    let weight = |name: &str| {
        let mut items = list.0.iter().filter(|item| item.essence == name);
        items.next().map(|item| item.weight)
    };
    let any = weight("*");
    let gzip = weight("gzip").or_else(|| weight("x-gzip")).or(any);
    gzip.is_some_and(|gzip| gzip > 0 && gzip >= weight("identity").unwrap_or(0))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    None,
    Any,
    Kind,
    Exact,
}

#[derive(Clone, Copy, Debug)]
struct Match {
    rank: Rank,
    weight: u16,
}

struct Item {
    /// In lower case, without parameters.
    essence: String,
    /// In thousandths.
    weight: u16,
}

struct List(Vec<Item>);

impl List {
    /// What is malformed matches nothing.
    fn of(headers: &HeaderMap, name: &HeaderName) -> List {
        let values = headers.get_all(name).iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        List(
            texts
                .flat_map(|text| text.split(','))
                .filter_map(item)
                .collect(),
        )
    }

    /// The most specific range decides.
    fn media(&self, kind: &str, subtype: &str) -> Match {
        let mut best = Match {
            rank: Rank::None,
            weight: 0,
        };
        for item in &self.0 {
            let rank = match item.essence.split_once('/') {
                Some(("*", "*")) => Rank::Any,
                Some((of, "*")) if of == kind => Rank::Kind,
                Some((of, sub)) if of == kind && sub == subtype => Rank::Exact,
                _ => continue,
            };
            if rank > best.rank || (rank == best.rank && item.weight > best.weight) {
                best = Match {
                    rank,
                    weight: item.weight,
                };
            }
        }
        best
    }
}

/// `None` for a weight that is none. Nothing can be had in another charset than ours.
fn item(text: &str) -> Option<Item> {
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mut weight = 1000;
    let mut readable = true;
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            continue;
        };
        if name.eq_ignore_ascii_case("q") {
            weight = thousandths(value)?;
        } else if name.eq_ignore_ascii_case("charset") && !is_utf8(value) {
            readable = false;
        }
    }
    let weight = if readable { weight } else { 0 };
    Some(Item { essence, weight })
}

/// `0`, `0.5`, `1.000`: at most three digits behind the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rest: u16 = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(rest),
        "1" if rest == 0 => Some(1000),
        _ => None,
    }
}

/// The name of a charset as it stands in a parameter, maybe quoted.
pub(super) fn is_utf8(value: &str) -> bool {
    let value = value.trim_matches('"');
    value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &str) -> Accepted {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        Accepted::of(&headers)
    }

    #[test]
    fn the_media_type_is_the_one_asked_for() {
        let (json, graphql) = (Some(Media::Json), Some(Media::GraphqlResponse));
        assert_eq!(Accepted::of(&HeaderMap::new()).media, json);
        for (accept, media) in [
            ("", json),
            ("*/*", json),
            ("application/*", json),
            ("application/json", json),
            ("APPLICATION/JSON; Charset=\"UTF-8\"", json),
            ("application/graphql-response+json", graphql),
            ("application/graphql-response+json, */*", graphql),
            (
                "application/json, application/graphql-response+json",
                graphql,
            ),
            (
                "application/graphql-response+json, application/json;q=0.9",
                graphql,
            ),
            (
                "application/graphql-response+json;q=0.5, application/json",
                json,
            ),
            ("application/graphql-response+json;q=0.5, */*", json),
            ("application/graphql-response+json;q=0, */*;q=0.1", json),
            ("application/json;q=0, */*", graphql),
            ("application/json;q=0, application/*;q=0.2", graphql),
            ("application/graphql-response+json;q=0", None),
            ("application/json;q=2, text/plain", None),
            ("application/json;charset=latin-1", None),
            ("text/html", None),
            ("image/*", None),
            ("garbage", None),
        ] {
            assert_eq!(accepted(accept).media, media, "{accept}");
        }
    }

    #[test]
    fn a_page_is_for_browsers() {
        for (accept, page) in [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("text/html", true),
            ("*/*", false),
            ("text/*", false),
            ("text/html;q=0", false),
            ("application/json, text/html;q=0.5", false),
        ] {
            assert_eq!(accepted(accept).page, page, "{accept}");
        }
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (encodings, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5, br", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("identity, gzip;q=0.5", false),
            ("br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, encodings.parse().unwrap());
            assert_eq!(gzip(&headers), expected, "{encodings}");
        }
        assert!(!gzip(&HeaderMap::new()));
    }
}
