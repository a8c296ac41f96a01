//! One log line, one measurement and one span per call.

use std::borrow::Cow;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::error::Details;
use crate::telemetry::{Durations, Kind, Span};
use crate::trace::{self, TraceContext};

#[derive(Clone)]
pub(super) struct Telemetry(Arc<Metrics>);

struct Metrics {
    durations: Durations<Labels>,
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
    /// Health and reflection are too many to be worth a line and a span each.
    quiet: bool,
    span: Span,
    started: Instant,
    finished: bool,
}

impl Telemetry {
    pub(super) fn new(registry: &mut Registry) -> Telemetry {
        let durations = Durations::new(
            registry,
            "rpc_server_call_duration",
            "Time until the last frame of the answer",
        );
        let in_flight = Gauge::default();
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
        let span = match quiet {
            true => Span::default(),
            false => Span::begin(context, Kind::Server, |span| describe(span, method)),
        };
        Call {
            metrics: self.0.clone(),
            context,
            method,
            quiet,
            span,
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
        let mut span = std::mem::take(&mut self.span);
        self.metrics.durations.observe(&labels, seconds, &span);
        span.set("rpc.response.status_code", code_name(code));
        match is_fault(code) {
            true => span.fail(code_name(code)),
            false => span.end(),
        }

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

/// What client and server say of a call; `method` is `package.Service/Method`.
pub(crate) fn describe(span: &mut Span, method: impl Into<Cow<'static, str>>) {
    let method = method.into();
    span.name(method.clone());
    span.set("rpc.system.name", "grpc");
    span.set("rpc.method", method);
}

/// Whether the conventions count the code against the server; all else is the caller's affair.
fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
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
