//! A connection to Redis that no request waits for.
//!
//! An answer that takes longer than the timeout is given up. After a few of these in a row Redis
//! counts as away, as it does at once when the connection is lost: then nothing is sent, and a
//! task of its own asks until there is an answer again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::config::{
    ConnectionConfig, CredentialProvider, PerformanceConfig, ReconnectPolicy, Server,
    UnresponsiveConfig,
};
use fred::types::{Builder, FromValue, Value};
use platform::telemetry::{Kind, Span};
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::args::RedisArgs;
use crate::metrics::Metrics;
use crate::script::Script;

/// Answers that may be late in a row before Redis counts as away.
const LATE_MAX: u32 = 3;
/// How often a Redis that is away is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest wait for anything that no request waits for.
const PATIENCE: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_mins(1);

/// Redis as a service sees it; cheap to clone. It may be away at any time: whatever is asked of
/// it, there is a way to go on without the answer.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    /// Ends with the last handle.
    _tasks: Arc<Tasks>,
}

struct Shared {
    client: Client,
    /// Stands before every key.
    prefix: String,
    timeout: Duration,
    turns: Semaphore,
    there: AtomicBool,
    late: AtomicU32,
    lost: Notify,
    why: Mutex<String>,
    metrics: Metrics,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// It was not asked.
    #[error("redis is away")]
    Away,
    /// It was not asked, since too many are waiting for it.
    #[error("too many commands are under way")]
    Busy,
    /// The command may or may not take effect, now or later.
    #[error("redis did not answer in time")]
    Late,
    /// The connection was lost, or Redis has refused.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Unavailable {
    /// For metrics and spans.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Unavailable::Away => "away",
            Unavailable::Busy => "busy",
            Unavailable::Late => "late",
            Unavailable::Failed(_) => "failed",
        }
    }
}

impl Redis {
    pub(crate) fn new(
        args: &RedisArgs,
        service: &'static str,
        registry: &mut Registry,
    ) -> anyhow::Result<Redis> {
        let mut config = args.server()?;
        // A Redis that is away at the start is one that is away later.
        config.fail_fast = false;
        config.credential_provider = Some(Arc::new(Credentials(args.clone())));
        let client = Builder::from_config(config)
            .set_policy(ReconnectPolicy::new_exponential(0, 20, 1000, 2))
            .set_performance_config(PerformanceConfig {
                default_command_timeout: PATIENCE,
                ..PerformanceConfig::default()
            })
            .set_connection_config(ConnectionConfig {
                connection_timeout: PATIENCE,
                internal_command_timeout: PATIENCE,
                max_command_attempts: 1,
                reconnect_on_auth_error: true,
                // A connection to something that stands still is made anew.
                unresponsive: UnresponsiveConfig {
                    max_timeout: Some(3 * PATIENCE),
                    interval: PATIENCE,
                },
                ..ConnectionConfig::default()
            })
            .build()?;
        let prefix = args.redis_prefix.as_deref().unwrap_or_default();
        let shared = Arc::new(Shared {
            prefix: format!("{prefix}{service}:"),
            timeout: args.redis_timeout,
            turns: Semaphore::new(args.redis_commands_max),
            there: AtomicBool::new(false),
            late: AtomicU32::new(0),
            lost: Notify::new(),
            why: Mutex::default(),
            metrics: Metrics::new(registry),
            client: client.clone(),
        });
        let connection = client.connect();
        let watch = tokio::spawn(watch(Arc::clone(&shared)));
        Ok(Redis {
            shared,
            _tasks: Arc::new(Tasks { connection, watch }),
        })
    }

    /// A key of this service: the prefix of the installation, the service's name, `name`.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.shared.prefix)
    }

    /// Whether it answered when it was last asked.
    pub fn there(&self) -> bool {
        self.shared.there.load(Ordering::Relaxed)
    }

    /// Sends a command, if there is somebody to answer it; `name` is what spans call it. Never waits
    /// for longer than `REDIS_TIMEOUT`, and not at all while Redis is away.
    pub async fn ask<T, F>(
        &self,
        name: &'static str,
        command: impl FnOnce(Client) -> F,
    ) -> Result<T, Unavailable>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let span = Span::within(Kind::Client, |span| {
            span.name(name);
            span.set("db.system.name", "redis");
            span.set("db.operation.name", name);
        });
        let answer = self.shared.ask(command).await;
        if let Err(error) = &answer {
            self.shared.metrics.failed(error);
        }
        span.close(&answer, Unavailable::word);
        answer
    }

    /// Runs a script; [`Redis::ask`] otherwise.
    pub async fn run<T: FromValue>(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<T, Unavailable> {
        self.ask("EVALSHA", async |client| {
            let known = client.evalsha(script.hash(), keys.clone(), args.clone());
            match known.await {
                Err(error) if error.details().starts_with("NOSCRIPT") => {
                    client.eval(script.source, keys, args).await
                }
                answer => answer,
            }
        })
        .await
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }
}

impl Shared {
    async fn ask<T, F>(&self, command: impl FnOnce(Client) -> F) -> Result<T, Unavailable>
    where
        F: Future<Output = Result<T, Error>>,
    {
        if !self.there.load(Ordering::Relaxed) {
            return Err(Unavailable::Away);
        }
        // The client would keep the command for when it is connected again.
        if !self.client.is_connected() {
            self.lose("the connection is lost");
            return Err(Unavailable::Away);
        }
        let _turn = self.turns.try_acquire().map_err(|_| Unavailable::Busy)?;
        match tokio::time::timeout(self.timeout, command(self.client.clone())).await {
            Ok(Ok(answer)) => {
                self.late.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => {
                if matches!(error.kind(), ErrorKind::IO | ErrorKind::Canceled) {
                    self.lose(&error.to_string());
                }
                Err(error.into())
            }
            Err(_) => {
                if self.late.fetch_add(1, Ordering::Relaxed) + 1 >= LATE_MAX {
                    self.lose("it does not answer in time");
                }
                Err(Unavailable::Late)
            }
        }
    }

    fn lose(&self, why: &str) {
        if self.there.swap(false, Ordering::Relaxed) {
            why.clone_into(&mut self.why.lock().unwrap_or_else(PoisonError::into_inner));
            self.lost.notify_one();
        }
    }
}

/// Looks for a Redis that is away, and says so once a minute.
async fn watch(shared: Arc<Shared>) {
    let mut said: Option<Instant> = None;
    let mut lost = true;
    loop {
        if !lost {
            shared.lost.notified().await;
        }
        let began = Instant::now();
        lost = match tokio::time::timeout(PATIENCE, shared.client.ping::<()>(None)).await {
            Ok(Ok(())) if began.elapsed() <= shared.timeout => {
                shared.late.store(0, Ordering::Relaxed);
                shared.there.store(true, Ordering::Relaxed);
                if said.take().is_some() {
                    info!("redis is there");
                }
                false
            }
            answer => {
                let problem = match answer {
                    Ok(Err(error)) => error.to_string(),
                    Ok(Ok(())) | Err(_) => "it does not answer in time".to_owned(),
                };
                if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                    said = Some(Instant::now());
                    let why = shared
                        .why
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone();
                    warn!(why, problem, "redis is away; going on without");
                }
                true
            }
        };
        if lost {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What runs for as long as there is a handle.
struct Tasks {
    connection: fred::types::ConnectHandle,
    watch: JoinHandle<()>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.connection.abort();
        self.watch.abort();
    }
}

/// Reads the URL again for every connection, so that a password can be changed.
struct Credentials(RedisArgs);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

type Answer = Result<(Option<String>, Option<String>), Error>;

impl CredentialProvider for Credentials {
    fn fetch<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _server: Option<&'life1 Server>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        let server = self.0.server();
        Box::pin(async {
            match server {
                Ok(server) => Ok((server.username, server.password)),
                Err(error) => Err(Error::new(ErrorKind::Config, error.to_string())),
            }
        })
    }
}
