//! The peer of a request that asks for nothing: axum alone, without anything around it.

use std::net::SocketAddr;

use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Router, serve};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;

const ANSWER: &str = "{\"data\":{\"__typename\":\"Query\"}}";

#[derive(clap::Args)]
pub(crate) struct Config {
    /// Where it listens.
    #[arg(env = "LISTEN_HTTP")]
    listen_http: SocketAddr,
}

/// Serves until the process is killed.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen_http)
        .await?
        .tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
    let router = Router::new().route("/probe", post(probe));
    serve(listener, router).await?;
    Ok(())
}

/// Reads the body, and does not look at it.
pub(super) async fn probe(_: Bytes) -> impl IntoResponse {
    let kind = "application/graphql-response+json; charset=utf-8";
    ([(CONTENT_TYPE, kind)], ANSWER)
}
