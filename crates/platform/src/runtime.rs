//! What a service starts: servers, tasks, readiness, metrics, and their orderly end.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ::http::{Request, Response};
use anyhow::{Context, anyhow};
use axum::Router;
use futures_util::FutureExt;
use platform_contract::Served;
use prometheus_client::{
    metrics::{gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;

use crate::{
    admin::{self, Phase, Readiness},
    auth::Verifier,
    config::{Environment, GrpcArgs, HttpArgs},
    grpc, http,
    telemetry::{self, Exporter, TelemetryArgs},
};

/// For what was cut off at the end of the grace period to say so to its callers.
const ABORT_TIME_MAX: Duration = Duration::from_millis(500);

/// For the last spans to leave: of what is left of the grace period, or a moment if nothing is.
const FLUSH_TIME_MIN: Duration = Duration::from_millis(200);
const FLUSH_TIME_MAX: Duration = Duration::from_secs(2);

/// Connections at once on the admin port, which only probes and scrapers use.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// How often readiness is looked at, for the log and for gRPC health checks.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Given to a service's `start`, which puts into it whatever the service runs.
pub struct Runtime {
    name: &'static str,
    environment: Environment,
    /// Nothing is said about it in a test that has no [`crate::App`].
    hears: Option<&'static [&'static str]>,
    grace: Duration,
    registry: Registry,
    readiness: Readiness,
    stop: CancellationToken,
    tasks: JoinSet<Ended>,
    grpc: Option<(TcpListener, grpc::Services)>,
    http: Option<(TcpListener, Router, usize)>,
    grpc_addr: Option<SocketAddr>,
    http_addr: Option<SocketAddr>,
    admin: AdminPort,
    exporter: Option<Exporter>,
    /// The first thing that could not be set up; told after `start`, which then needs no `?` for
    /// each line of wiring.
    broken: Option<anyhow::Error>,
}

/// A task that has ended, by its name.
type Ended = (&'static str, anyhow::Result<()>);

struct AdminPort {
    addr: SocketAddr,
    registry: Arc<OnceLock<Registry>>,
    _server: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Runtime {
    /// Opens the admin port; from here on the service is alive, and not ready.
    pub(crate) async fn new(
        name: &'static str,
        environment: Environment,
        listen_admin: SocketAddr,
        grace: Duration,
    ) -> anyhow::Result<Self> {
        let (listener, addr) = bind("LISTEN_ADMIN", listen_admin)?;
        let readiness = Readiness::default();
        let registry = Arc::new(OnceLock::new());
        let router = admin::router(readiness.clone(), Arc::clone(&registry));
        // The admin port answers until the process ends, so that a drain can be watched.
        let never = CancellationToken::new();
        let server = http::serve(
            listener,
            router,
            http::Limits::of(ADMIN_CONNECTIONS_MAX),
            never.clone(),
            never,
        );
        Ok(Self {
            name,
            environment,
            hears: None,
            grace,
            registry: process_metrics(name),
            readiness,
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            grpc: None,
            http: None,
            grpc_addr: None,
            http_addr: None,
            admin: AdminPort {
                addr,
                registry,
                _server: AbortOnDrop(tokio::spawn(server)),
            },
            exporter: None,
            broken: None,
        })
    }

    /// Restricts the topics that can be read.
    pub(crate) fn hear_only(&mut self, topics: &'static [&'static str]) {
        self.hears = Some(topics);
    }

    /// Records spans and sends them to the collector, if there is to be one.
    pub(crate) fn record_spans(&mut self, args: &TelemetryArgs) -> anyhow::Result<()> {
        self.exporter = telemetry::start(args, self.name, self.environment, &mut self.registry)?;
        Ok(())
    }

    /// The name of the service.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where the service runs.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// The topics that the service has declared to read; `None` where nothing is declared, in tests.
    pub fn hears(&self) -> Option<&'static [&'static str]> {
        self.hears
    }

    /// How long a drain may take, from the signal to the end of the process.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Where metrics are registered.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Serves a gRPC service, with the server stack around it and health and reflection beside it.
    /// Several services share the listener of the first.
    pub fn grpc<S>(&mut self, args: &GrpcArgs, verifier: Arc<Verifier>, server: S)
    where
        S: Served + Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        if self.grpc.is_none() {
            match bind("LISTEN_GRPC", args.listen_grpc) {
                Err(error) => return self.break_with(error),
                Ok((listener, addr)) => {
                    let services =
                        grpc::Services::new(self.name, verifier, args, &mut self.registry);
                    self.grpc = Some((listener, services));
                    self.grpc_addr = Some(addr);
                }
            }
        }
        if let Some((_, services)) = &mut self.grpc {
            services.add(server);
        }
    }

    /// Serves HTTP on a listener of its own; at most once.
    pub fn http(&mut self, args: &HttpArgs, router: Router) {
        if self.http.is_some() {
            return self.break_with(anyhow!("there is one HTTP server: merge the routers"));
        }
        match bind("LISTEN_HTTP", args.listen_http) {
            Err(error) => self.break_with(error),
            Ok((listener, addr)) => {
                let router = http::stack(router, args.http_deadline, &mut self.registry);
                self.http = Some((listener, router, args.http_connections_max));
                self.http_addr = Some(addr);
            }
        }
    }

    /// Runs a task beside the servers, until its token is cancelled. One that ends before, or
    /// fails, ends the process: half a service is worse than one that is started again.
    pub fn spawn<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let task = AssertUnwindSafe(task(self.stop.clone())).catch_unwind();
        self.tasks.spawn(async move {
            let result = task.await.unwrap_or_else(|_| Err(anyhow!("panicked")));
            (name, result)
        });
    }

    /// Adds a condition of readiness. It is asked often, must be cheap, and answers within a
    /// second or does not hold.
    pub fn ready_when<F>(
        &mut self,
        name: &'static str,
        check: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.readiness.require(name, check);
    }

    /// The address of the gRPC server, once there is one.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc_addr
    }

    /// The address of the HTTP server, once there is one.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// The address of the admin port.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.addr
    }

    fn break_with(&mut self, error: anyhow::Error) {
        self.broken.get_or_insert(error);
    }

    /// Whatever `start` could not set up.
    pub(crate) fn started(&mut self) -> anyhow::Result<()> {
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Serves until `drain` is cancelled or a task ends, then lets everything finish within
    /// the grace period.
    pub(crate) async fn serve(mut self, drain: CancellationToken) -> anyhow::Result<()> {
        let grace = self.grace;
        let exporter = self.exporter.take();
        let abort = CancellationToken::new();
        let mut servers = JoinSet::new();
        let health = self.grpc.as_ref().map(|(_, services)| services.health());
        let readiness = self.readiness.clone();
        self.spawn("readiness", |stop| watch(readiness, health, stop));
        if let Some((listener, services)) = self.grpc.take() {
            servers.spawn(services.serve(listener, drain.clone(), abort.clone()));
        }
        if let Some((listener, router, max)) = self.http.take() {
            servers.spawn(http::serve(
                listener,
                router,
                http::Limits::of(max),
                drain.clone(),
                abort.clone(),
            ));
        }
        let _ = self.admin.registry.set(self.registry);
        self.readiness.enter(Phase::Serving);
        tracing::info!(
            grpc = self.grpc_addr.map(tracing::field::display),
            http = self.http_addr.map(tracing::field::display),
            admin = %self.admin.addr,
            "{} serves",
            self.name,
        );

        let failed = tokio::select! {
            // First: the servers end by it as well.
            biased;
            () = drain.cancelled() => None,
            Some(ended) = self.tasks.join_next() => Some(early(ended)),
            Some(ended) = servers.join_next() => Some(early(ended.map(|()| ("server", Ok(()))))),
        };
        if let Some(error) = &failed {
            tracing::error!("{error:#}; the process ends");
        }

        let drained = Instant::now();
        self.readiness.enter(Phase::Draining);
        drain.cancel();
        self.stop.cancel();
        let finish = async {
            while servers.join_next().await.is_some() {}
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok((name, Err(error))) = ended {
                    tracing::error!("task {name} failed while stopping: {error:#}");
                }
            }
        };
        tokio::pin!(finish);
        if tokio::time::timeout(grace, &mut finish).await.is_err() {
            tracing::warn!("not all was finished within {grace:?}; the rest is cut off");
            abort.cancel();
            let _ = tokio::time::timeout(ABORT_TIME_MAX, finish).await;
        }
        if let Some(exporter) = exporter {
            let left = grace.saturating_sub(drained.elapsed());
            exporter
                .flush(left.clamp(FLUSH_TIME_MIN, FLUSH_TIME_MAX))
                .await;
        }
        tracing::info!("{} has stopped", self.name);
        failed.map_or(Ok(()), Err)
    }
}

/// Tells the log, and gRPC health checks, when readiness is lost and found.
async fn watch(
    readiness: Readiness,
    health: Option<grpc::Health>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut known = None;
    let mut interval = tokio::time::interval(WATCH_INTERVAL);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        let unready = readiness.check().await;
        if let Some(health) = &health {
            health.set(unready.is_empty());
        }
        let change = known.replace(unready.clone()).as_ref() != Some(&unready);
        match change {
            true if unready.is_empty() => tracing::info!("ready"),
            true => tracing::warn!(?unready, "not ready"),
            false => {}
        }
    }
    Ok(())
}

/// What it means that a task ended while the service was serving.
fn early(ended: Result<Ended, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok((name, Ok(()))) => anyhow!("task {name} ended"),
        Ok((name, Err(error))) => error.context(format!("task {name} failed")),
        Err(error) => anyhow!("a task ended: {error}"),
    }
}

/// Bound at once, so that a port that is taken is an error of the start.
fn bind(variable: &str, addr: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let bind = || {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let addr = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, addr))
    };
    bind().with_context(|| format!("cannot listen on {addr} ({variable})"))
}

fn process_metrics(name: &'static str) -> Registry {
    let mut registry = Registry::default();
    let labels = vec![("service", name), ("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "What runs here", Info::new(labels));
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    registry.register_with_unit(
        "process_start_time",
        "Start of the process since the epoch",
        Unit::Seconds,
        ConstGauge::new(started.as_secs_f64()),
    );
    registry
}

/// A service that runs inside a test.
pub struct Running {
    /// The address of the gRPC server, if there is one.
    pub grpc: Option<SocketAddr>,
    /// The address of the HTTP server, if there is one.
    pub http: Option<SocketAddr>,
    /// The address of the admin port.
    pub admin: SocketAddr,
    readiness: Readiness,
    drain: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Returns once the service is ready, or has ended.
    pub async fn ready(&self) {
        while !self.serving.is_finished() && !self.readiness.check().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Drains as after SIGTERM, with a grace period of five seconds, and tells what went wrong.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.drain.cancel();
        (&mut self.serving).await?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Starts a service in this process with the `start` that [`crate::App::main`] calls; the admin
/// port is any free one.
pub async fn run_in_process<C>(
    name: &'static str,
    start: impl AsyncFnOnce(&mut Runtime, C) -> anyhow::Result<()>,
    config: C,
) -> anyhow::Result<Running> {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let grace = Duration::from_secs(5);
    let mut runtime = Runtime::new(name, Environment::Test, any_port, grace).await?;
    start(&mut runtime, config).await?;
    runtime.started()?;
    let drain = CancellationToken::new();
    Ok(Running {
        grpc: runtime.grpc_addr(),
        http: runtime.http_addr(),
        admin: runtime.admin_addr(),
        readiness: runtime.readiness.clone(),
        drain: drain.clone(),
        serving: tokio::spawn(runtime.serve(drain)),
    })
}

#[cfg(test)]
mod tests;
