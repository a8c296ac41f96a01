//! For browsers and load balancers on the public port: does the process answer?

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

/// Serves GET and HEAD at `/healthz`, without asking anybody: what the process depends on is told
/// by `/ready` on the admin port, and whoever stops no longer accepts connections.
pub fn health() -> Router {
    Router::new().route("/healthz", get(healthy))
}

async fn healthy() -> Response {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, "{\"status\":\"ok\"}\n").into_response()
}
