use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tonic::Code;

use crate::grpc::{code_name, describe};
use crate::telemetry::{Durations, Kind, Span};
use crate::trace::TraceContext;

/// Health and reflection, which are asked for without end.
const QUIET: &str = "/grpc.";

/// Measurements of all channels of a process; make it once.
#[derive(Clone, Debug)]
pub struct Metrics {
    durations: Durations<Labels>,
    resent: Family<Peer, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    server: &'static str,
    rpc_method: String,
    rpc_response_status_code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    server: &'static str,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Metrics {
        let durations = Durations::new(
            registry,
            "rpc_client_call_duration",
            "Time until the last frame of the answer",
        );
        let resent = Family::default();
        registry.register(
            "rpc_client_calls_resent",
            "Calls sent again to another replica",
            resent.clone(),
        );
        Metrics { durations, resent }
    }

    pub(super) fn begin(&self, server: &'static str, path: &str, context: TraceContext) -> Call {
        let method = path.trim_start_matches('/').to_owned();
        let span = match path.starts_with(QUIET) {
            true => Span::default(),
            false => Span::begin(context, Kind::Client, |span| {
                describe(span, method.clone());
                span.set("server.address", server);
            }),
        };
        Call {
            metrics: self.clone(),
            server,
            method,
            span,
            started: Instant::now(),
            // What holds if the caller drops the call.
            code: Code::Cancelled,
        }
    }

    pub(super) fn resent(&self, server: &'static str) {
        self.resent.get_or_create(&Peer { server }).inc();
    }
}

/// One call; it is counted when it is dropped, with the code known by then.
pub(super) struct Call {
    metrics: Metrics,
    server: &'static str,
    method: String,
    span: Span,
    started: Instant,
    pub(super) code: Code,
}

impl Call {
    /// The call is over.
    pub(super) fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let labels = Labels {
            server: self.server,
            rpc_method: std::mem::take(&mut self.method),
            rpc_response_status_code: code_name(self.code),
        };
        let mut span = std::mem::take(&mut self.span);
        let seconds = self.started.elapsed().as_secs_f64();
        self.metrics.durations.observe(&labels, seconds, &span);
        span.set("rpc.response.status_code", code_name(self.code));
        match self.code {
            Code::Ok => span.end(),
            code => span.fail(code_name(code)),
        }
    }
}
