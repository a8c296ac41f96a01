//! The answer: bounded errors, no `data` where nothing was executed, the status of the media type,
//! and who may keep it.

use async_graphql::{Response as Executed, ServerError, Value};
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    RETRY_AFTER, SET_COOKIE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use platform_contract::Reason;

use super::accept::{Accepted, Media, gzip};
use super::compress;
use crate::error;
use crate::guard::Limits;
use crate::json;
use crate::refusal::{Refusal, RequestReason};

/// Places in the document told with one error.
const LOCATIONS_MAX: usize = 10;

/// For answers that nobody may keep.
pub(crate) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
/// The methods that are answered.
pub(super) const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
/// Those where streams are served.
pub(super) const METHODS_OF_STREAMS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS");

/// How an answer leaves.
pub(super) struct Form {
    pub(super) media: Media,
    /// It is a query, so it holds no secret that its length could tell: what gives out tokens is a
    /// mutation.
    pub(super) query: bool,
    /// For how many seconds anybody may keep the answer, if it turns out fine.
    pub(super) public_s: Option<u64>,
}

/// The answer of the executor, which refuses requests too: then it answers no data, and errors
/// that are of no field.
pub(super) fn executed(
    mut answer: Executed,
    form: &Form,
    request: &HeaderMap,
    limits: &Limits,
) -> Response {
    let refused = settle(&mut answer, limits);
    let data = (!refused).then_some(&answer.data);
    let body = body(&answer.errors, data);
    let status = match form.media {
        Media::GraphqlResponse if refused => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };

    let mut headers = headers(form.media);
    for cookie in answer.http_headers.get_all(SET_COOKIE) {
        headers.append(SET_COOKIE, cookie.clone());
    }
    let personal = headers.contains_key(SET_COOKIE);
    if let Some(seconds) = form
        .public_s
        .filter(|_| !personal && answer.errors.is_empty())
    {
        let tag = tag(&body);
        let control = format!("public, max-age={seconds}");
        headers.insert(CACHE_CONTROL, value(&control));
        headers.insert(ETAG, value(&tag));
        if has(request, &tag) {
            headers.remove(CONTENT_TYPE);
            return respond(StatusCode::NOT_MODIFIED, headers, Vec::new());
        }
    }
    let small = form.query && !personal && gzip(request);
    if let Some(gzip) = small.then(|| compress::gzip(&body)).flatten() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return respond(status, headers, gzip);
    }
    respond(status, headers, body)
}

/// Completes and bounds the errors; says whether they refuse the request, which then has no data.
pub(crate) fn settle(answer: &mut Executed, limits: &Limits) -> bool {
    let refused = answer.data == Value::Null
        && !answer.errors.is_empty()
        && answer.errors.iter().all(|error| error.path.is_empty());
    answer.errors.truncate(limits.errors);
    for error in &mut answer.errors {
        error::complete(error, !refused);
        bound(error, limits);
    }
    refused
}

/// What a refusal says.
pub(crate) fn entry(refusal: &Refusal, limits: &Limits) -> ServerError {
    let mut entry = error::entry(refusal);
    bound(&mut entry, limits);
    entry
}

/// The answer to a request that was not executed.
pub(super) fn refused(refusal: &Refusal, accepted: &Accepted, limits: &Limits) -> Response {
    let soft = refusal.http == StatusCode::OK;
    let media = match accepted.media {
        // Clients look at such an answer only where its status is fine, which the new media type
        // forbids for an answer without data.
        Some(_) if soft && accepted.json => Media::Json,
        Some(media) => media,
        None => Media::Json,
    };
    let malformed = refusal.word == RequestReason::GraphqlRequestMalformed.word();
    let status = match (media, refusal.http) {
        (Media::Json, StatusCode::BAD_REQUEST) if !malformed => StatusCode::OK,
        (Media::GraphqlResponse, StatusCode::OK) => StatusCode::BAD_REQUEST,
        (_, status) => status,
    };
    let entry = entry(refusal, limits);
    let mut headers = headers(media);
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, METHODS);
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        _ => {}
    }
    if let Some(delay) = refusal.retry_after {
        let seconds = delay.as_millis().div_ceil(1000).max(1);
        headers.insert(RETRY_AFTER, value(&seconds.to_string()));
    }
    respond(status, headers, body(&[entry], None))
}

/// Errors and data as JSON.
pub(crate) fn body(errors: &[ServerError], data: Option<&Value>) -> Vec<u8> {
    let mut out = vec![b'{'];
    if !errors.is_empty() {
        out.extend_from_slice(b"\"errors\":");
        json::scalar(errors, &mut out);
    }
    if let Some(data) = data {
        if !errors.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(b"\"data\":");
        json::write(data, &mut out);
    }
    out.push(b'}');
    out
}

/// Messages quote the request, which can be long.
fn bound(error: &mut ServerError, limits: &Limits) {
    if let Some((end, _)) = error.message.char_indices().nth(limits.message_chars) {
        error.message.truncate(end);
        error.message.push('…');
    }
    error.locations.truncate(LOCATIONS_MAX);
}

/// Those of every answer. Unless it is said otherwise, an answer depends on who asks and when.
fn headers(media: Media) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, media.content_type());
    headers.insert(CACHE_CONTROL, PRIVATE);
    headers.insert(
        VARY,
        HeaderValue::from_static("accept, accept-encoding, authorization, cookie, origin"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
}

/// Weak, since the same answer can leave compressed and not.
fn tag(body: &[u8]) -> String {
    let hash = digest(&SHA256, body);
    let text = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]);
    format!("W/\"{text}\"")
}

/// Whether the client has the answer with this tag already.
fn has(request: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let tag = opaque(tag);
    let lists = request.get_all(IF_NONE_MATCH).iter();
    let mut tags = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    tags.any(|one| one.trim() == "*" || opaque(one) == tag)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("printable characters")
}

fn respond(status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
