//! Spans as they leave, and collectors that do not take them.

use std::{
    net::SocketAddr,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry::trace::Status;
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{
    Durations, Exporter, Kind, Span,
    export::{Counts, NOT_TAKEN, Outlet, Pace, QUEUE_FULL, QUEUE_MAX, otlp},
};
use crate::{
    grpc::testing::eventually,
    trace::{self, TraceContext},
};

/// All spans of this process.
static ENDED: LazyLock<Mutex<Vec<SpanData>>> = LazyLock::new(|| {
    let (outlet, mut ended) = Outlet::new(1.0, &Counts::default());
    assert!(outlet.open());
    std::thread::spawn(move || {
        while let Some(span) = ended.blocking_recv() {
            ENDED.lock().unwrap().push(span);
        }
    });
    Mutex::default()
});

/// Records spans from now on.
pub(crate) fn recording() -> TraceContext {
    LazyLock::force(&ENDED);
    TraceContext::new()
}

/// The spans of a trace, in the order of their ends, once there are so many.
pub(crate) async fn recorded(trace: TraceContext, count: usize) -> Vec<SpanData> {
    let of_trace = || {
        let all = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |span: &&SpanData| span.span_context.trace_id() == trace.trace_id.into();
        all.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    eventually(|| of_trace().len() >= count).await;
    of_trace()
}

/// An attribute as text; empty if there is none.
pub(crate) fn attribute(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key.as_str() == key);
    found.map_or_else(String::new, |pair| pair.value.to_string())
}

#[tokio::test]
async fn a_span_that_is_given_up_says_so() {
    let context = recording();
    let _ = tokio::time::timeout(Duration::ZERO, async {
        let _span = Span::begin(context, Kind::Internal, |span| span.name("work"));
        std::future::pending::<()>().await;
    })
    .await;
    let spans = recorded(context, 1).await;
    assert_eq!(attribute(&spans[0], "error.type"), "cancelled");
    assert_eq!(spans[0].status, Status::error(""));
}

#[tokio::test]
async fn outside_a_trace_and_in_one_that_is_not_sampled_nothing_is_described() {
    let sampled = recording();
    let not = TraceContext {
        sampled: false,
        ..sampled
    };
    let describe = |_: &mut Span| panic!("described");
    drop(Span::within(Kind::Client, describe));
    drop(Span::begin(not, Kind::Client, describe));
    trace::scope(not, async { drop(Span::within(Kind::Client, describe)) }).await;
}

#[tokio::test]
async fn a_duration_names_the_trace_of_its_span() {
    let context = recording();
    let mut registry = Default::default();
    let durations = Durations::new(&mut registry, "work_duration", "Work");
    let span = Span::begin(context, Kind::Internal, |span| span.name("work"));
    durations.observe(&[("kind", "a")], 0.3, &span);
    durations.observe(&[("kind", "a")], 3.0, &Span::default());
    span.end();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let example = format!(
        r#"work_duration_seconds_bucket{{le="0.5",kind="a"}} 1 # {{trace_id="{}"}} 0.3"#,
        context.trace_id()
    );
    assert!(text.contains(&example), "{text}");
    assert_eq!(text.matches('#').count(), 4 + 1, "{text}");
}

#[test]
fn of_traces_that_begin_here_so_many_are_recorded_as_are_wanted() {
    for share in [0.0, 0.25, 1.0] {
        let (outlet, _) = Outlet::new(share, &Counts::default());
        let sampled = (0..4000).filter(|_| outlet.samples(TraceContext::new().trace_id));
        let found = sampled.count() as f64 / 4000.0;
        assert!((found - share).abs() < 0.05, "{found} instead of {share}");
        // Numbers, not luck: others with the same share choose the same traces.
        assert_eq!(outlet.samples(0), share > 0.0);
        assert_eq!(outlet.samples(u128::MAX), share == 1.0);
    }
}

/// What a collector does with a batch.
#[derive(Clone, Copy, Debug)]
enum Takes {
    All,
    Never,
    Refuses,
}

#[derive(Debug)]
struct Collector {
    takes: Takes,
    batches: mpsc::UnboundedSender<usize>,
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let _ = self.batches.send(batch.len());
        match self.takes {
            Takes::All => Ok(()),
            Takes::Never => std::future::pending().await,
            Takes::Refuses => Err(OTelSdkError::InternalFailure("refused".to_owned())),
        }
    }
}

const PACE: Pace = Pace {
    gather: Duration::from_millis(1),
    send: Duration::from_millis(20),
};

struct Sending {
    outlet: Outlet,
    counts: Counts,
    exporter: Exporter,
    batches: mpsc::UnboundedReceiver<usize>,
}

impl Sending {
    fn to(takes: Takes, pace: Pace) -> Sending {
        let (batches, seen) = mpsc::unbounded_channel();
        let counts = Counts::default();
        let (outlet, ended) = Outlet::new(1.0, &counts);
        let collector = Collector { takes, batches };
        Sending {
            outlet,
            exporter: Exporter::spawn(collector, ended, counts.clone(), pace),
            counts,
            batches: seen,
        }
    }

    fn send(&self, span: &SpanData, count: usize) {
        for _ in 0..count {
            self.outlet.send(span.clone());
        }
    }

    fn dropped(&self) -> [u64; 2] {
        [QUEUE_FULL, NOT_TAKEN].map(|why| self.counts.dropped.get_or_create(&why).get())
    }
}

async fn some_span() -> SpanData {
    let context = recording();
    Span::begin(context, Kind::Internal, |span| span.name("work")).end();
    recorded(context, 1).await.remove(0)
}

#[tokio::test]
async fn what_has_ended_is_sent_in_batches_and_all_of_it_at_the_end() {
    let span = some_span().await;
    let hour = Duration::from_secs(3600);
    let mut sending = Sending::to(
        Takes::All,
        Pace {
            gather: hour,
            ..PACE
        },
    );
    sending.send(&span, 1300);
    sending.exporter.flush(hour).await;
    assert_eq!(sending.counts.exported.get(), 1300);
    let mut sizes = Vec::new();
    while let Some(size) = sending.batches.recv().await {
        sizes.push(size);
    }
    assert_eq!(sizes, [512, 512, 276]);
}

#[tokio::test]
async fn a_collector_that_does_not_take_them_loses_spans_and_these_are_counted() {
    let span = some_span().await;
    for takes in [Takes::Never, Takes::Refuses] {
        let sending = Sending::to(takes, PACE);
        sending.send(&span, 10);
        eventually(|| sending.dropped() == [0, 10]).await;
        // Nobody reads the queue before this task waits for something.
        sending.send(&span, QUEUE_MAX + 7);
        assert_eq!(sending.dropped(), [7, 10], "{takes:?}");
        let all = 10 + QUEUE_MAX as u64;
        eventually(|| sending.dropped() == [7, all]).await;
        assert_eq!(sending.counts.exported.get(), 0);
    }
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_collector() {
    let span = some_span().await;
    let hour = Duration::from_secs(3600);
    let mut sending = Sending::to(Takes::Never, Pace { send: hour, ..PACE });
    sending.send(&span, 1);
    sending.batches.recv().await.unwrap();
    let began = Instant::now();
    sending.exporter.flush(Duration::from_millis(50)).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    // The exporter is gone with its task.
    let gone = tokio::time::timeout(Duration::from_secs(10), sending.batches.recv());
    assert_eq!(gone.await, Ok(None));
}

/// A peer that is none, and what it does with a connection.
async fn peer(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept: Vec<TcpStream> = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.write_all(answer).await;
            kept.push(socket);
        }
    });
    addr
}

#[tokio::test]
async fn over_the_wire_a_collector_may_be_away_silent_or_mad() {
    let span = some_span().await;
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = away.local_addr().unwrap();
    for addr in [
        away,
        peer(b"").await,
        peer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhm").await,
        peer(&[0xff; 4096]).await,
    ] {
        let counts = Counts::default();
        let (outlet, ended) = Outlet::new(1.0, &counts);
        let exporter = otlp(&format!("http://{addr}"), PACE.send).unwrap();
        let exporter = Exporter::spawn(exporter, ended, counts.clone(), PACE);
        for round in 1..=3 {
            outlet.send(span.clone());
            eventually(|| counts.dropped.get_or_create(&NOT_TAKEN).get() == round).await;
        }
        exporter.flush(Duration::from_secs(1)).await;
        assert_eq!(counts.exported.get(), 0);
    }
}
