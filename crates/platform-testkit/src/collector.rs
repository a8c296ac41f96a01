//! A collector of spans for all tests of a process.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use platform::config::Environment;
use platform::telemetry::{self, TelemetryArgs};
use platform::trace::TraceContext;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::service::Vars;
use crate::wait::until_or;

/// What came from this process.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Vec<Span>>>);

/// A span as it came.
#[derive(Clone, Debug)]
pub struct Span {
    /// In hexadecimal, as are the other ids.
    pub trace_id: String,
    /// Its own.
    pub id: String,
    /// Empty for the first of a trace.
    pub parent_id: String,
    /// What was done.
    pub name: String,
    /// `Internal`, `Server`, `Client`, `Producer` or `Consumer`.
    pub kind: &'static str,
    /// Whether its status is an error.
    pub failed: bool,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Those of the process.
    pub resource: BTreeMap<String, String>,
}

/// The collector to which this process sends its spans from the first call on, statements of SQL among them.
pub fn collector() -> &'static Collector {
    static COLLECTOR: LazyLock<Collector> = LazyLock::new(|| {
        let collector = Collector::default();
        let service = collector.clone();
        let (started, is_started) = mpsc::channel();
        // Longer than any test, whose runtimes end with them.
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let endpoint = format!("http://{}", listener.local_addr().unwrap());
                let vars = Vars::from([("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint)]);
                let args: TelemetryArgs = platform::config::parse("test", &vars).unwrap();
                let mut registry = Registry::default();
                let exporter = telemetry::start(&args, "test", Environment::Test, &mut registry);
                let exporter = exporter.unwrap().expect("nobody else exports");
                started.send(()).unwrap();
                let service = TowerToHyperService::new(TraceServiceServer::new(service));
                while let Ok((socket, _)) = listener.accept().await {
                    let builder = http2::Builder::new(TokioExecutor::new());
                    let socket = TokioIo::new(socket);
                    tokio::spawn(builder.serve_connection(socket, service.clone()));
                }
                drop(exporter);
            });
        });
        is_started.recv().unwrap();
        // Where a test logs, there are no spans of statements.
        let _ = tracing_subscriber::registry()
            .with(telemetry::statements())
            .try_init();
        collector
    });
    &COLLECTOR
}

impl Collector {
    /// The spans of a trace, once there are `count` of each of these names.
    pub async fn trace(&self, trace: TraceContext, names: &[(&str, usize)]) -> Vec<Span> {
        let trace_id = trace.trace_id();
        until_or(
            || format!("{names:?} in {:#?}", self.of(&trace_id)),
            async || {
                let spans = self.of(&trace_id);
                let enough = names.iter().all(|(name, count)| {
                    spans.iter().filter(|span| span.name == *name).count() >= *count
                });
                enough.then_some(spans)
            },
        )
        .await
    }

    fn of(&self, trace_id: &str) -> Vec<Span> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_trace = all.iter().filter(|span| span.trace_id == trace_id);
        of_trace.cloned().collect()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in request.into_inner().resource_spans {
            let resource = texts(of_resource.resource.unwrap_or_default().attributes);
            let scopes = of_resource.scope_spans.into_iter();
            all.extend(scopes.flat_map(|scope| scope.spans).map(|span| Span {
                trace_id: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent_id: hex(&span.parent_span_id),
                kind: ["", "Internal", "Server", "Client", "Producer", "Consumer"]
                    [usize::try_from(span.kind).unwrap()],
                name: span.name,
                failed: span.status.is_some_and(|status| status.code == 2),
                attributes: texts(span.attributes),
                resource: resource.clone(),
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .into_iter()
        .map(|attribute| (attribute.key, text(attribute.value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use platform::telemetry::{Kind, Span};
    use platform::trace;

    use super::*;

    #[tokio::test]
    async fn a_span_arrives_with_who_says_it() {
        let collector = collector();
        let root = TraceContext::new();
        let span = Span::begin(root, Kind::Internal, |span| {
            span.name("whole");
            span.set("some.count", 7);
        });
        trace::scope(root, async {
            Span::within(Kind::Client, |span| span.name("part")).fail("broken");
        })
        .await;
        span.end();
        let spans = collector.trace(root, &[("whole", 1), ("part", 1)]).await;
        let [part, whole] = &spans[..] else {
            panic!("{spans:?}");
        };
        assert_eq!((whole.kind, part.kind), ("Internal", "Client"));
        assert_eq!((whole.failed, part.failed), (false, true));
        assert_eq!((whole.parent_id.as_str(), &part.parent_id), ("", &whole.id));
        assert_eq!(whole.id, root.span_id());
        assert_eq!(whole.attributes["some.count"], "7");
        assert_eq!(part.attributes["error.type"], "broken");
        for (name, value) in [
            ("service.name", "test"),
            ("service.version", "0.0.0"),
            ("deployment.environment.name", "test"),
        ] {
            assert_eq!(whole.resource[name], value, "{name}");
        }
        assert_eq!(whole.resource["service.instance.id"].len(), 36);
    }

    #[tokio::test]
    async fn a_trace_whose_caller_does_not_record_it_is_not_recorded() {
        let collector = collector();
        let sent = |flag| {
            format!(
                "00-{}-00f067aa0ba902b7-{flag}",
                TraceContext::new().trace_id()
            )
        };
        let [silent, loud] = ["00", "01"].map(|flag| sent(flag).parse().unwrap());
        for context in [silent, loud] {
            Span::begin(TraceContext::child(context), Kind::Server, |span| {
                span.name("call")
            })
            .end();
        }
        // Sent in the order of their ends.
        collector.trace(loud, &[("call", 1)]).await;
        assert!(collector.of(&silent.trace_id()).is_empty());
    }
}
