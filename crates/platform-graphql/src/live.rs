//! Subscriptions over WebSockets (`graphql-transport-ws`) and server-sent events, and queries and
//! mutations with them: limits, counts and the orderly end of what is open.
//!
//! One task serves a socket or a stream. It polls the operations itself, and only when the last
//! answer has left: a client that does not read costs its TCP buffers and one answer.

mod args;
mod close;
mod handshake;
mod message;
mod metrics;
mod operation;
mod operations;
mod seats;
mod single;
mod socket;
mod sse;

use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Fuse;
use platform::auth::{Caller, Verifier};
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub use args::LiveArgs;
pub(crate) use handshake::is_handshake;
pub(crate) use operation::{Pace, Run};
pub(crate) use single::Step;
pub(crate) use sse::{is_told_in_stream, refused};

use metrics::Metrics;
use seats::Seats;
use single::Reserved;

/// For operations to say why they end, when the right to them ends.
const LAST_WORD_TIME_MAX: Duration = Duration::from_millis(500);

/// The sockets and streams of a process.
pub struct Live {
    args: LiveArgs,
    seats: Mutex<Seats>,
    /// A seat was given back.
    left: Notify,
    /// In which time everything is closed, once that has begun.
    drain: watch::Sender<Option<Duration>>,
    reserved: Reserved,
    metrics: Metrics,
}

/// Why a socket or stream is closed from here.
enum Over {
    /// The caller's token is no longer accepted.
    Lapsed(Status),
    /// The process is about to end.
    Drained,
}

/// Ends when the socket or stream must; pending afterwards.
type UntilOver = Fuse<Pin<Box<dyn Future<Output = Over> + Send>>>;

impl Live {
    /// Nothing is open yet.
    pub fn new(args: &LiveArgs) -> Arc<Live> {
        Arc::new(Live {
            args: args.clone(),
            seats: Mutex::default(),
            left: Notify::new(),
            drain: watch::Sender::new(None),
            reserved: Reserved::default(),
            metrics: Metrics::default(),
        })
    }

    /// Shows what is open.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Waits for `stop`, then lets nothing new in and closes what is open, each at a moment of its
    /// own within two thirds of `grace`: clients come back by and by, not all at once. Ends when
    /// nothing is left.
    pub async fn run(
        self: Arc<Self>,
        stop: CancellationToken,
        grace: Duration,
    ) -> anyhow::Result<()> {
        stop.cancelled().await;
        self.drain.send_replace(Some(grace * 2 / 3));
        loop {
            let left = self.left.notified();
            if self.open() == 0 {
                return Ok(());
            }
            left.await;
        }
    }

    /// Whether the end has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.borrow().is_some()
    }

    /// Ends at the moment at which one socket or stream is closed.
    fn drained(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut drain = self.drain.subscribe();
        async move {
            let span = drain.wait_for(Option::is_some).await.ok();
            match span.and_then(|span| *span) {
                Some(span) => tokio::time::sleep(moment(span)).await,
                None => pending().await,
            }
        }
    }

    fn until_over(&self, verifier: &Verifier, caller: &Caller) -> UntilOver {
        let (lapse, drained) = (verifier.lapse(caller), self.drained());
        let over: Pin<Box<dyn Future<Output = Over> + Send>> = Box::pin(async move {
            tokio::select! {
                biased;
                status = lapse => Over::Lapsed(status),
                () = drained => Over::Drained,
            }
        });
        over.fuse()
    }
}

/// Any moment of the span, one as likely as another.
fn moment(span: Duration) -> Duration {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    span.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
impl Live {
    /// How many operations there are.
    pub(crate) fn operations(&self) -> i64 {
        self.metrics.operations.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_spread_over_its_span() {
        let span = Duration::from_secs(20);
        let moments: Vec<_> = (0..1_000).map(|_| moment(span)).collect();
        for quarter in 0..4 {
            let (from, to) = (span * quarter / 4, span * (quarter + 1) / 4);
            let within = moments.iter().filter(|at| (from..=to).contains(*at));
            assert!((150..350).contains(&within.count()), "{quarter}");
        }
    }
}
