//! From spans that have ended to the collector, in batches, on a task of its own.
//!
//! Nobody waits for it: what finds no place in the queue, or no collector that takes it in time, is dropped
//! and counted. The processor of the SDK would do neither: it counts nothing that can be read, and its end
//! blocks a thread.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{RetryPolicy, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::TelemetryArgs;
use crate::config::Environment;

/// Spans that wait to be sent: about 4 MB.
pub(super) const QUEUE_MAX: usize = 4096;
const BATCH_MAX: usize = 512;
const SAY_EVERY: Duration = Duration::from_mins(1);

/// One per process, like the log: spans end in all crates, most of them far from any configuration.
static OUTLET: OnceLock<Outlet> = OnceLock::new();

/// Where a span goes when it has ended.
pub(super) struct Outlet {
    queue: mpsc::Sender<SpanData>,
    counts: Counts,
    /// Traces whose number is below are recorded.
    threshold: u64,
}

#[derive(Clone, Default)]
pub(super) struct Counts {
    pub(super) exported: Counter,
    pub(super) dropped: Family<Why, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Why {
    pub(super) reason: &'static str,
}

pub(super) const QUEUE_FULL: Why = Why {
    reason: "queue_full",
};
pub(super) const NOT_TAKEN: Why = Why {
    reason: "not_taken",
};

/// How long is waited for what.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// The spans of a request end within a moment, and are sent together.
    pub(super) gather: Duration,
    /// Longest wait for the collector to take a batch.
    pub(super) send: Duration,
}

const PACE: Pace = Pace {
    gather: Duration::from_millis(500),
    send: Duration::from_secs(5),
};

/// Whether spans are recorded in this process.
pub fn is_on() -> bool {
    OUTLET.get().is_some()
}

/// Whether a trace that begins here is recorded; where nothing is recorded, others may.
pub(crate) fn samples(trace_id: u128) -> bool {
    OUTLET.get().is_none_or(|outlet| outlet.samples(trace_id))
}

pub(super) fn send(span: SpanData) {
    if let Some(outlet) = OUTLET.get() {
        outlet.send(span);
    }
}

impl Outlet {
    pub(super) fn new(share: f64, counts: &Counts) -> (Outlet, mpsc::Receiver<SpanData>) {
        let (queue, ended) = mpsc::channel(QUEUE_MAX);
        // As the sampler of the SDK does it, so that others with the same share choose the same traces.
        let threshold = (share * (1_u64 << 63) as f64) as u64;
        let outlet = Outlet {
            queue,
            counts: counts.clone(),
            threshold,
        };
        (outlet, ended)
    }

    pub(super) fn samples(&self, trace_id: u128) -> bool {
        (trace_id as u64) >> 1 < self.threshold
    }

    pub(super) fn send(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.counts.dropped.get_or_create(&QUEUE_FULL).inc();
        }
    }

    /// Makes it the one of this process; false if there is one.
    pub(super) fn open(self) -> bool {
        OUTLET.set(self).is_ok()
    }
}

impl Counts {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "telemetry_spans_exported",
            "Spans that the collector has taken",
            self.exported.clone(),
        );
        registry.register(
            "telemetry_spans_dropped",
            "Spans that no collector has got, by reason: queue_full or not_taken",
            self.dropped.clone(),
        );
    }
}

/// The task that sends spans; without its end it is cut off in the middle.
#[derive(Debug)]
pub struct Exporter {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Records spans from now on and sends them, if a collector is configured. Once per process, inside a Tokio
/// runtime; a later call changes nothing. Never waits for the collector.
pub fn start(
    args: &TelemetryArgs,
    service: &'static str,
    environment: Environment,
    registry: &mut Registry,
) -> anyhow::Result<Option<Exporter>> {
    let Some(endpoint) = &args.otel_exporter_otlp_endpoint else {
        return Ok(None);
    };
    let mut exporter = otlp(endpoint, PACE.send)?;
    exporter.set_resource(&resource(service, environment));
    let counts = Counts::default();
    let (outlet, ended) = Outlet::new(args.otel_traces_sampler_arg, &counts);
    if !outlet.open() {
        return Ok(None);
    }
    counts.register(registry);
    Ok(Some(Exporter::spawn(exporter, ended, counts, PACE)))
}

pub(super) fn otlp(
    endpoint: &str,
    time_max: Duration,
) -> anyhow::Result<opentelemetry_otlp::SpanExporter> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(time_max)
        // What fails now fails for the next batch as well; the queue is the patience that there is.
        .with_retry_policy(RetryPolicy::disabled());
    Ok(exporter.build()?)
}

/// Who says it: with what the variable `OTEL_RESOURCE_ATTRIBUTES` adds.
fn resource(service: &'static str, environment: Environment) -> Resource {
    let environment = match environment {
        Environment::Development => "development",
        Environment::Test => "test",
        Environment::Production => "production",
    };
    Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", Uuid::now_v7().to_string()),
            KeyValue::new("deployment.environment.name", environment),
        ])
        .build()
}

impl Exporter {
    pub(super) fn spawn(
        exporter: impl SpanExporter + 'static,
        ended: mpsc::Receiver<SpanData>,
        counts: Counts,
        pace: Pace,
    ) -> Exporter {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(exporter, ended, counts, pace, stop.clone()));
        Exporter { stop, task }
    }

    /// Sends what has ended by now, and ends; gives up what takes longer than `limit`.
    pub async fn flush(mut self, limit: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(limit, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn run(
    exporter: impl SpanExporter,
    mut ended: mpsc::Receiver<SpanData>,
    counts: Counts,
    pace: Pace,
    stop: CancellationToken,
) {
    let mut trouble: Option<Instant> = None;
    let mut batch = Vec::new();
    loop {
        if stop.is_cancelled() {
            ended.close();
        }
        tokio::select! {
            count = ended.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return },
            () = stop.cancelled(), if !ended.is_closed() => continue,
        }
        if batch.len() < BATCH_MAX {
            stop.run_until_cancelled(tokio::time::sleep(pace.gather))
                .await;
            while batch.len() < BATCH_MAX
                && let Ok(span) = ended.try_recv()
            {
                batch.push(span);
            }
        }
        let spans = std::mem::take(&mut batch);
        let count = spans.len() as u64;
        let problem = match tokio::time::timeout(pace.send, exporter.export(spans)).await {
            Ok(Ok(())) => {
                counts.exported.inc_by(count);
                if trouble.take().is_some() {
                    tracing::info!("spans are exported again");
                }
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        counts.dropped.get_or_create(&NOT_TAKEN).inc_by(count);
        if trouble.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            tracing::warn!("spans are dropped: {problem}; said once a minute");
            trouble = Some(Instant::now());
        }
    }
}
