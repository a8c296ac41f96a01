use std::time::Duration;

use clap::Args;
use platform::config::{at_least_one, duration};

/// Sockets and event streams, and their limits.
#[derive(Args, Clone, Debug)]
pub struct LiveArgs {
    /// Sockets and event streams at once.
    #[arg(env = "LIVE_MAX", default_value_t = 20_000, value_parser = at_least_one)]
    pub live_max: usize,

    /// Those from one address, which may be a whole office.
    #[arg(env = "LIVE_ADDRESS_MAX", default_value_t = 10_000, value_parser = at_least_one)]
    pub live_address_max: usize,

    /// Those of one user.
    #[arg(env = "LIVE_USER_MAX", default_value_t = 50, value_parser = at_least_one)]
    pub live_user_max: usize,

    /// Operations at once on one socket or shared stream.
    #[arg(env = "LIVE_OPERATIONS_MAX", default_value_t = 100, value_parser = at_least_one)]
    pub live_operations_max: usize,

    /// Largest message from a client.
    #[arg(env = "LIVE_MESSAGE_BYTES_MAX", default_value_t = 64 << 10, value_parser = at_least_one)]
    pub live_message_bytes_max: usize,

    /// Time for a client to begin: its first message, or the stream that it has reserved.
    #[arg(env = "LIVE_INIT_TIME", default_value = "10s", value_parser = duration)]
    pub live_init_time: Duration,

    /// How long a socket or shared stream stays open without an operation.
    #[arg(env = "LIVE_IDLE_TIME", default_value = "5m", value_parser = duration)]
    pub live_idle_time: Duration,

    /// How long an answer may wait for a client that does not read.
    #[arg(env = "LIVE_WRITE_TIME", default_value = "10s", value_parser = duration)]
    pub live_write_time: Duration,

    /// How often a socket is asked whether somebody is there; it is dropped after two times in
    /// silence.
    #[arg(env = "LIVE_PING_INTERVAL", default_value = "25s", value_parser = duration)]
    pub live_ping_interval: Duration,

    /// How often an event stream that has nothing to say writes a comment.
    #[arg(env = "LIVE_KEEP_ALIVE_INTERVAL", default_value = "12s", value_parser = duration)]
    pub live_keep_alive_interval: Duration,
}

impl Default for LiveArgs {
    fn default() -> LiveArgs {
        LiveArgs {
            live_max: 20_000,
            live_address_max: 10_000,
            live_user_max: 50,
            live_operations_max: 100,
            live_message_bytes_max: 64 << 10,
            live_init_time: Duration::from_secs(10),
            live_idle_time: Duration::from_secs(300),
            live_write_time: Duration::from_secs(10),
            live_ping_interval: Duration::from_secs(25),
            live_keep_alive_interval: Duration::from_secs(12),
        }
    }
}
