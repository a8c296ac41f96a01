//! Where Redis is, and how long anybody waits for it.

use std::time::Duration;

use anyhow::Context;
use fred::types::config::Config;
use platform::config::{Secret, at_least_one, duration};
use prometheus_client::registry::Registry;

use crate::redis::Redis;

/// Redis and the limits of its use.
#[derive(Clone, Debug, clap::Args)]
pub struct RedisArgs {
    /// Where Redis is: `redis://:password@host:6379`, with TLS `rediss://`.
    #[arg(env = "REDIS_URL")]
    pub redis_url: Secret,

    /// Stands before every key, so that several installations can share a Redis.
    // An option of its own: clap wants one for each field, and topics have the same prefix.
    #[arg(env = "RESOURCE_PREFIX", value_parser = prefix)]
    pub redis_prefix: Option<String>,

    /// Longest wait for an answer; then the request goes on without.
    #[arg(env = "REDIS_TIMEOUT", default_value = "20ms", value_parser = duration)]
    pub redis_timeout: Duration,

    /// Commands under way at once; more are not sent.
    #[arg(env = "REDIS_COMMANDS_MAX", default_value_t = 4096, value_parser = at_least_one)]
    pub redis_commands_max: usize,
}

impl RedisArgs {
    /// Connects in the background, again and again for as long as the handle lives. Fails only if
    /// the URL is none, whose text the error does not hold.
    ///
    /// Once per process, since it registers the metrics; inside a Tokio runtime.
    pub fn connect(&self, service: &'static str, registry: &mut Registry) -> anyhow::Result<Redis> {
        Redis::new(self, service, registry)
    }

    /// As the URL says now: a password may have been changed under a running service.
    pub(crate) fn server(&self) -> anyhow::Result<Config> {
        let url = self.redis_url.expose();
        let scheme = url.starts_with("redis://") || url.starts_with("rediss://");
        // Its errors may hold parts of the URL.
        let server = Config::from_url_centralized(&url).ok();
        let server = server.filter(|_| scheme);
        server.context("REDIS_URL is not like redis://:password@host:6379")
    }
}

/// What the names of topics may begin with as well.
fn prefix(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.len() > 64 || !text.chars().all(allowed) {
        return Err("not up to 64 letters, digits, dots, hyphens and underscores".to_owned());
    }
    Ok(text.to_owned())
}
