//! What anybody may read over HTTP: the key set, and where it is.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::keys::Keys;

/// Shorter than a new key is published before it signs.
const CACHED: &str = "public, max-age=60";

pub(crate) fn router(keys: Arc<Keys>, issuer: &str) -> Router {
    let discovery = discovery(issuer);
    Router::new()
        .route("/.well-known/jwks.json", get(jwks))
        .route(
            "/.well-known/openid-configuration",
            get(async move || document(&discovery)),
        )
        .with_state(keys)
}

async fn jwks(State(keys): State<Arc<Keys>>) -> Response {
    match keys.current() {
        Ok(set) => document(&set.jwks),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            [(CACHE_CONTROL, "no-store")],
        )
            .into_response(),
    }
}

fn document(json: &Value) -> Response {
    let head = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, CACHED)];
    (head, json.to_string()).into_response()
}

/// Only what there is: endpoints join it as they are built.
fn discovery(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "claims_supported": [
            "iss", "aud", "sub", "client_id", "iat", "nbf", "exp", "jti",
            "sid", "kind", "roles", "ver", "org", "org_role",
        ],
    })
}
