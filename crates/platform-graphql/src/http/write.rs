//! The answer: bounded errors, no `data` where nothing was executed, the status of the media type.

use async_graphql::{Response as Executed, ServerError, Value};
use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use crate::error;
use crate::guard::Limits;
use crate::refusal::Refusal;

/// What the client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    GraphqlResponse,
}

impl Media {
    /// The new media type for those who ask for it by name, plain JSON for everybody else.
    pub(super) fn accepted(headers: &HeaderMap) -> Media {
        let (mut json, mut graphql) = (0.0, 0.0);
        let ranges = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok());
        for range in ranges.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts
                .find_map(|part| part.strip_prefix("q="))
                .and_then(|q| q.parse().ok());
            let weight: f32 = weight.unwrap_or(1.0);
            match essence.as_str() {
                "application/json" => json = weight,
                "application/graphql-response+json" => graphql = weight,
                _ => {}
            }
        }
        if graphql > 0.0 && graphql >= json {
            Media::GraphqlResponse
        } else {
            Media::Json
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Media::Json => "application/json; charset=utf-8",
            Media::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
        })
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [ServerError],
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

/// The answer of the executor, which refuses requests too: then it answers no data, and errors
/// that are of no field.
pub(super) fn executed(mut answer: Executed, media: Media, limits: &Limits) -> Response {
    let refused = answer.data == Value::Null
        && !answer.errors.is_empty()
        && answer.errors.iter().all(|error| error.path.is_empty());
    answer.errors.truncate(limits.errors);
    for error in &mut answer.errors {
        error::complete(error, !refused);
        bound(error, limits);
    }
    let data = (!refused).then_some(&answer.data);
    let status = if refused {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    write(
        status,
        &Answer {
            errors: &answer.errors,
            data,
        },
        media,
    )
}

/// The answer to a request that was not executed.
pub(super) fn refused(refusal: &Refusal, media: Media, limits: &Limits) -> Response {
    let mut entry = error::entry(refusal);
    bound(&mut entry, limits);
    let mut response = write(
        refusal.http,
        &Answer {
            errors: &[entry],
            data: None,
        },
        media,
    );
    if refusal.http == StatusCode::METHOD_NOT_ALLOWED {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    response
}

/// Messages quote the request, which can be long.
fn bound(error: &mut ServerError, limits: &Limits) {
    if let Some((end, _)) = error.message.char_indices().nth(limits.message_chars) {
        error.message.truncate(end);
        error.message.push('…');
    }
    error.locations.truncate(10);
}

fn write(status: StatusCode, answer: &Answer<'_>, media: Media) -> Response {
    let body = serde_json::to_vec(answer).expect("names are text and numbers finite");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media.content_type());
    // Answers depend on who asks.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept, authorization"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &str) -> Media {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        Media::accepted(&headers)
    }

    #[test]
    fn the_media_type_is_the_one_asked_for() {
        assert_eq!(Media::accepted(&HeaderMap::new()), Media::Json);
        assert_eq!(accepted("*/*"), Media::Json);
        assert_eq!(accepted("application/json"), Media::Json);
        assert_eq!(
            accepted("application/graphql-response+json"),
            Media::GraphqlResponse
        );
        assert_eq!(
            accepted("application/graphql-response+json, application/json;q=0.9"),
            Media::GraphqlResponse
        );
        assert_eq!(
            accepted("application/graphql-response+json;q=0.5, application/json"),
            Media::Json
        );
        assert_eq!(
            accepted("application/graphql-response+json;q=0"),
            Media::Json
        );
    }
}
