//! From a body or a query string to what is asked.

use std::collections::HashMap;

use async_graphql::Variables;
use axum::body::Body;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use platform_contract::PlatformReason;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::guard::Limits;
use crate::persisted::Named;
use crate::refusal::{Refusal, RequestReason};

use super::accept::is_utf8;

/// A GraphQL request before anything of it is checked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) named: Named,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Variables,
    /// What its answers are called on a stream that is shared by several operations.
    pub(crate) operation_id: Option<String>,
}

/// A request as its sender writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Parameters {
    query: Option<String>,
    document_id: Option<String>,
    operation_name: Option<String>,
    variables: Option<Variables>,
    extensions: Option<Extensions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extensions {
    persisted_query: Option<PersistedQuery>,
    operation_id: Option<Value>,
    /// Those that others read.
    #[serde(flatten)]
    _others: HashMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PersistedQuery {
    version: u32,
    sha256_hash: String,
}

/// A query string keeps JSON in two of its fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    query: Option<String>,
    document_id: Option<String>,
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
    asked(Parameters {
        query: parts.query,
        document_id: parts.document_id,
        operation_name: parts.operation_name,
        variables: object("variables", parts.variables)?,
        extensions: object("extensions", parts.extensions)?,
    })
}

/// Whether a query string asks for anything; a page is for those that do not.
pub(super) fn asks(query: &str) -> bool {
    let names = query.split('&').filter_map(|pair| pair.split('=').next());
    let mut names = names.filter(|name| !name.is_empty());
    names.any(|name| matches!(name, "query" | "documentId" | "extensions"))
}

fn object<T: DeserializeOwned>(name: &str, text: Option<String>) -> Result<Option<T>, Refusal> {
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| malformed(format!("`{name}` is not what it must be: {error}"))),
    }
}

pub(crate) async fn body(
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
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => is_utf8(value),
        _ => true,
    });
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|encoding| encoding == "identity");
    if json && utf8 && plain {
        return Ok(());
    }
    Err(Refusal::new(
        RequestReason::GraphqlMediaTypeUnsupported,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "send the request as application/json in UTF-8",
    ))
}

pub(crate) fn asked(parameters: Parameters) -> Result<Asked, Refusal> {
    let (persisted, operation_id) = match parameters.extensions {
        Some(all) => (all.persisted_query, all.operation_id),
        None => (None, None),
    };
    if persisted.as_ref().is_some_and(|one| one.version != 1) {
        return Err(malformed("this version of `persistedQuery` is unknown"));
    }
    Ok(Asked {
        named: Named {
            query: parameters.query.filter(|query| !query.is_empty()),
            document_id: parameters.document_id,
            hash: persisted.map(|one| one.sha256_hash),
        },
        operation_name: parameters.operation_name.filter(|name| !name.is_empty()),
        variables: parameters.variables.unwrap_or_default(),
        operation_id: match operation_id {
            Some(Value::String(id)) => Some(id),
            _ => None,
        },
    })
}

fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::bad(RequestReason::GraphqlRequestMalformed, message)
}
