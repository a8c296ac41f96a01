use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};
use url::Url;

use super::{Secret, duration, http_url};
use crate::telemetry::TelemetryArgs;

/// What every service is told.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Address of the admin port: `/live`, `/ready` and `/metrics`.
    #[arg(env = "LISTEN_ADMIN", default_value = "127.0.0.1:9090")]
    pub listen_admin: SocketAddr,

    /// Time for requests in flight to finish after SIGTERM; what is left then is cut off.
    #[arg(env = "SHUTDOWN_GRACE", default_value = "20s", value_parser = duration)]
    pub shutdown_grace: Duration,

    /// How log lines look.
    #[arg(env = "LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,

    /// What is logged, as a filter: `info`, or `warn,catalog=debug`.
    #[arg(env = "LOG_LEVEL", default_value = "info", value_parser = super::log_filter)]
    pub log_level: String,

    /// Where the service runs; development tools refuse to work in production.
    #[arg(env = "ENVIRONMENT", default_value = "production")]
    pub environment: Environment,

    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For reading in a terminal.
    Human,
}

/// Where a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    Development,
    Test,
    Production,
}

/// The gRPC server and its limits.
#[derive(Args, Clone, Debug)]
pub struct GrpcArgs {
    /// Address of the gRPC server.
    #[arg(env = "LISTEN_GRPC", default_value = "127.0.0.1:8081")]
    pub listen_grpc: SocketAddr,

    /// Time for a call whose caller names no deadline.
    #[arg(env = "DEADLINE_DEFAULT", default_value = "10s", value_parser = duration)]
    pub deadline_default: Duration,

    /// Longest time that a caller can ask for; more is cut to it.
    #[arg(env = "DEADLINE_MAX", default_value = "60s", value_parser = duration)]
    pub deadline_max: Duration,

    /// Calls worked on at once; more wait for a moment and are then refused. One connection has at most as
    /// many as it leaves free.
    #[arg(env = "CALLS_MAX", default_value_t = 256, value_parser = super::at_least_one)]
    pub calls_max: usize,

    /// Calls that wait for their turn; beyond, what matters least is refused. One connection has at most as
    /// many as it leaves free.
    #[arg(env = "CALL_QUEUE_MAX", default_value_t = 512)]
    pub call_queue_max: usize,

    /// Longest wait of a call for its turn; a tenth of it while the queue does not empty.
    #[arg(env = "CALL_QUEUE_AGE_MAX", default_value = "200ms", value_parser = duration)]
    pub call_queue_age_max: Duration,

    /// Calls at once on one connection.
    #[arg(env = "STREAMS_PER_CONNECTION_MAX", default_value_t = 200)]
    pub streams_per_connection_max: u32,

    /// Connections at once.
    #[arg(env = "CONNECTIONS_MAX", default_value_t = 4096, value_parser = super::at_least_one)]
    pub connections_max: usize,

    /// Largest request message.
    #[arg(env = "REQUEST_BYTES_MAX", default_value_t = 1 << 20)]
    pub request_bytes_max: usize,

    /// Largest answer.
    #[arg(env = "RESPONSE_BYTES_MAX", default_value_t = 4 << 20)]
    pub response_bytes_max: usize,

    /// Largest metadata of a call.
    #[arg(env = "METADATA_BYTES_MAX", default_value_t = 16 << 10)]
    pub metadata_bytes_max: u32,
}

/// The HTTP server.
#[derive(Args, Clone, Debug)]
pub struct HttpArgs {
    /// Address of the HTTP server.
    #[arg(env = "LISTEN_HTTP", default_value = "127.0.0.1:8080")]
    pub listen_http: SocketAddr,

    /// The address under which clients see the HTTP server.
    #[arg(env = "PUBLIC_URL")]
    pub public_url: Option<Url>,

    /// Time for a request until its answer begins, reading its body included.
    #[arg(env = "HTTP_DEADLINE", default_value = "30s", value_parser = duration)]
    pub http_deadline: Duration,

    /// HTTP connections at once.
    #[arg(env = "HTTP_CONNECTIONS_MAX", default_value_t = 4096, value_parser = super::at_least_one)]
    pub http_connections_max: usize,
}

/// Whose tokens are believed.
#[derive(Args, Clone, Debug)]
pub struct AuthArgs {
    /// The issuer of access tokens, as it stands in their `iss`.
    #[arg(env = "ISSUER_URL", value_parser = http_url)]
    pub issuer_url: String,

    /// Where the issuer's keys are; without it, `/.well-known/jwks.json` under `ISSUER_URL`.
    #[arg(env = "JWKS_URL", value_parser = http_url)]
    pub jwks_url: Option<String>,

    /// The audience that access tokens are made for.
    #[arg(env = "TOKEN_AUDIENCE", default_value = "api")]
    pub token_audience: String,
}

impl AuthArgs {
    /// Where the issuer's keys are.
    pub fn jwks_url(&self) -> String {
        match &self.jwks_url {
            Some(url) => url.clone(),
            None => format!("{}/.well-known/jwks.json", self.issuer_url),
        }
    }
}

/// The keys of what a service seals: page tokens, cursors, cookies.
#[derive(Args, Clone, Debug)]
pub struct SealArgs {
    /// Key for sealing, shared by the replicas of this service only: 32 bytes in hexadecimal or base64.
    #[arg(env = "SEAL_KEY")]
    pub seal_key: Secret,

    /// The key before the present one; what it sealed can still be opened.
    #[arg(env = "SEAL_KEY_PREVIOUS")]
    pub seal_key_previous: Option<Secret>,
}
