//! What is open, what is sent, and how it ends.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Default)]
pub(super) struct Metrics {
    pub(super) connections: Family<Connection, Gauge>,
    pub(super) operations: Gauge<i64, AtomicI64>,
    pub(super) messages: Family<Connection, Counter>,
    pub(super) closes: Family<Closed, Counter>,
}

/// How answers travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Socket,
    Events,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Connection {
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Closed {
    transport: &'static str,
    /// The close code, or a word.
    code: String,
}

impl Transport {
    fn word(self) -> &'static str {
        match self {
            Transport::Socket => "ws",
            Transport::Events => "sse",
        }
    }

    pub(super) fn label(self) -> Connection {
        let transport = self.word();
        Connection { transport }
    }

    pub(super) fn closed(self, code: impl Into<String>) -> Closed {
        let transport = self.word();
        let code = code.into();
        Closed { transport, code }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "live_connections",
            "Open sockets and event streams",
            self.connections.clone(),
        );
        registry.register(
            "live_operations",
            "Operations on sockets and event streams",
            self.operations.clone(),
        );
        registry.register(
            "live_messages",
            "Messages sent on sockets and event streams",
            self.messages.clone(),
        );
        registry.register(
            "live_closes",
            "Sockets and event streams that have ended, by close code",
            self.closes.clone(),
        );
    }
}
