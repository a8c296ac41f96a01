use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tonic::Code;

use crate::grpc::{BUCKETS, code_name};

/// Measurements of all channels of a process; make it once.
#[derive(Clone, Debug)]
pub struct Metrics {
    durations: Family<Labels, Histogram>,
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
        let durations =
            Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let resent = Family::default();
        registry.register_with_unit(
            "rpc_client_call_duration",
            "Time until the last frame of the answer",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register(
            "rpc_client_calls_resent",
            "Calls sent again to another replica",
            resent.clone(),
        );
        Metrics { durations, resent }
    }

    pub(super) fn begin(&self, server: &'static str, path: &str) -> Call {
        Call {
            metrics: self.clone(),
            server,
            method: path.trim_start_matches('/').to_owned(),
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
        self.metrics
            .durations
            .get_or_create(&labels)
            .observe(self.started.elapsed().as_secs_f64());
    }
}
