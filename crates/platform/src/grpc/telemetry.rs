//! One log line and one measurement per call.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::error::Details;
use crate::trace::{self, TraceContext};

/// The boundaries that the semantic conventions recommend, in seconds.
pub(crate) const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

#[derive(Clone)]
pub(super) struct Telemetry(Arc<Metrics>);

struct Metrics {
    durations: Family<Labels, Histogram>,
    in_flight: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    rpc_method: &'static str,
    rpc_response_status_code: &'static str,
}

/// A call that is being answered. Whatever becomes of it, it is logged and counted once.
pub(super) struct Call {
    metrics: Arc<Metrics>,
    context: TraceContext,
    method: &'static str,
    /// Health and reflection are too many to be worth a line each.
    quiet: bool,
    started: Instant,
    finished: bool,
}

impl Telemetry {
    pub(super) fn new(registry: &mut Registry) -> Telemetry {
        let durations =
            Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let in_flight = Gauge::default();
        registry.register_with_unit(
            "rpc_server_call_duration",
            "Time until the last frame of the answer",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register(
            "rpc_server_calls_in_flight",
            "Calls that are being answered",
            in_flight.clone(),
        );
        Telemetry(Arc::new(Metrics {
            durations,
            in_flight,
        }))
    }

    pub(super) fn begin(&self, method: &'static str, quiet: bool, context: TraceContext) -> Call {
        self.0.in_flight.inc();
        Call {
            metrics: self.0.clone(),
            context,
            method,
            quiet,
            started: Instant::now(),
            finished: false,
        }
    }
}

impl Call {
    /// The call was answered with this status; `None` is OK.
    pub(super) fn finish(mut self, status: Option<&Status>) {
        self.record(status.map_or(Code::Ok, Status::code), status);
    }

    fn record(&mut self, code: Code, status: Option<&Status>) {
        self.finished = true;
        self.metrics.in_flight.dec();
        let seconds = self.started.elapsed().as_secs_f64();
        let labels = Labels {
            rpc_method: self.method,
            rpc_response_status_code: code_name(code),
        };
        self.metrics
            .durations
            .get_or_create(&labels)
            .observe(seconds);

        let reason = status.and_then(|status| Details::of(status).reason);
        let (method, code_name) = (self.method, code_name(code));
        let duration_ms = (seconds * 1e6).round() / 1e3;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    rpc.method = method,
                    rpc.code = code_name,
                    rpc.reason = reason,
                    duration_ms,
                    "answered {method} with {code_name}"
                )
            };
        }
        trace::sync_scope(self.context, || match code {
            Code::Internal | Code::Unknown | Code::DataLoss => line!(error),
            _ if self.quiet => line!(debug),
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => line!(warn),
            _ => line!(info),
        });
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.finished {
            // Nobody answered: the handler panicked, or the caller went away and the call was dropped.
            let code = if std::thread::panicking() {
                Code::Internal
            } else {
                Code::Cancelled
            };
            self.record(code, None);
        }
    }
}

/// The name of a code as the specification writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
