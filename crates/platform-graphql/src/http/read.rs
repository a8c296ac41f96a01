//! From a body or a query string to what is asked.

use async_graphql::{Value, Variables};
use axum::body::Body;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use platform_contract::PlatformReason;
use serde::Deserialize;
use serde_json::Map;

use crate::guard::Limits;
use crate::refusal::{Refusal, RequestReason};

/// A GraphQL request before anything of it is checked.
pub(super) struct Asked {
    pub(super) query: String,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Variables,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<Map<String, serde_json::Value>>,
    /// Must be an object if it is there; nothing is read from it.
    #[serde(rename = "extensions")]
    _extensions: Option<Map<String, serde_json::Value>>,
}

/// A query string keeps JSON in two of its fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

pub(super) fn query(text: &str, limits: &Limits) -> Result<Asked, Refusal> {
    if text.len() > limits.body_bytes {
        return Err(Refusal::new(
            PlatformReason::MessageTooLarge,
            StatusCode::URI_TOO_LONG,
            format!(
                "the query string is longer than {} bytes",
                limits.body_bytes
            ),
        ));
    }
    let uri = http::Uri::builder()
        .path_and_query(format!("/?{text}"))
        .build();
    let uri = uri.map_err(|_| malformed("the query string is malformed"))?;
    let axum::extract::Query(parts) = axum::extract::Query::<Query>::try_from_uri(&uri)
        .map_err(|error| malformed(format!("the query string is malformed: {error}")))?;
    let object = |name: &str, text: Option<String>| match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| malformed(format!("`{name}` is no JSON object: {error}"))),
    };
    asked(Parameters {
        query: parts.query,
        operation_name: parts.operation_name,
        variables: object("variables", parts.variables)?,
        _extensions: object("extensions", parts.extensions)?,
    })
}

pub(super) async fn body(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<Asked, Refusal> {
    media_type(headers)?;
    let too_large = || {
        Refusal::new(
            PlatformReason::MessageTooLarge,
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {} bytes", limits.body_bytes),
        )
    };
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits.body_bytes as u64) {
        return Err(too_large());
    }
    let bytes = match Limited::new(body, limits.body_bytes).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(_) => return Err(malformed("the body ended early")),
    };
    asked(
        serde_json::from_slice(&bytes)
            .map_err(|error| malformed(format!("the body is no GraphQL request: {error}")))?,
    )
}

/// `application/json` in UTF-8, without encoding; a form or `text/plain` could be sent by any web
/// page without a preflight.
fn media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let text = match (types.next(), types.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        _ => "",
    };
    let mut parts = text.split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|encoding| encoding == "identity");
    if json && utf8 && plain {
        return Ok(());
    }
    Err(Refusal::new(
        RequestReason::MediaTypeUnsupported,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "send the request as application/json in UTF-8",
    ))
}

fn asked(parameters: Parameters) -> Result<Asked, Refusal> {
    let query = parameters
        .query
        .filter(|query| !query.is_empty())
        .ok_or_else(|| malformed("`query` is missing"))?;
    let variables = match parameters.variables {
        Some(map) => Value::from_json(serde_json::Value::Object(map))
            .map(Variables::from_value)
            .map_err(|error| malformed(format!("`variables` cannot be read: {error}")))?,
        None => Variables::default(),
    };
    Ok(Asked {
        query,
        operation_name: parameters.operation_name,
        variables,
    })
}

fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::bad(RequestReason::RequestMalformed, message)
}
