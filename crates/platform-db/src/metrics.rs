//! What is measured of the pools.

use std::fmt;

use platform::Runtime;
use platform::telemetry::{Durations, Span};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::time::Instant;

/// The pool of the writer or of the reader, with its measurements.
#[derive(Clone)]
pub(crate) struct Pool {
    pub(crate) pool: PgPool,
    name: &'static str,
    metrics: Metrics,
}

#[derive(Clone)]
pub(crate) struct Metrics {
    /// Callers who wait for a connection.
    pending: Family<Of, Gauge>,
    waits: Durations<Of>,
    timeouts: Family<Of, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    pool: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connections {
    pool: &'static str,
    state: &'static str,
}

impl Metrics {
    pub(crate) fn new(rt: &mut Runtime) -> Metrics {
        let metrics = Metrics {
            pending: Family::default(),
            waits: Durations::new(
                rt.registry(),
                "db_client_connection_wait_time",
                "Time until a caller has a connection",
            ),
            timeouts: Family::default(),
        };
        rt.registry().register(
            "db_client_connection_pending_requests",
            "Callers who wait for a connection",
            metrics.pending.clone(),
        );
        rt.registry().register(
            "db_client_connection_timeouts",
            "Callers who have waited in vain",
            metrics.timeouts.clone(),
        );
        metrics
    }
}

impl Pool {
    pub(crate) fn new(name: &'static str, pool: PgPool, metrics: &Metrics) -> Pool {
        Pool {
            pool,
            name,
            metrics: metrics.clone(),
        }
    }

    /// A connection, as soon as there is one.
    pub(crate) async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        let of = Of { pool: self.name };
        let began = Instant::now();
        let waiting = Waiting::new(self.metrics.pending.get_or_create_owned(&of));
        let acquired = self.pool.acquire().await;
        drop(waiting);
        match &acquired {
            Ok(_) => {
                let seconds = began.elapsed().as_secs_f64();
                self.metrics.waits.observe(&of, seconds, &Span::default());
            }
            Err(sqlx::Error::PoolTimedOut) => {
                self.metrics.timeouts.get_or_create(&of).inc();
            }
            Err(_) => {}
        }
        acquired
    }
}

/// Somebody who waits, until they have a connection or go away.
struct Waiting(Gauge);

impl Waiting {
    fn new(gauge: Gauge) -> Waiting {
        gauge.inc();
        Waiting(gauge)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The connections that there are when somebody looks.
pub(crate) struct Counted(pub(crate) Vec<Pool>);

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = Family::<Connections, Gauge>::default();
        let most = Family::<Of, Gauge>::default();
        for Pool { pool, name, .. } in &self.0 {
            let (all, idle) = (i64::from(pool.size()), pool.num_idle() as i64);
            for (state, count) in [("idle", idle), ("used", all - idle)] {
                let connections = Connections { pool: name, state };
                counts.get_or_create(&connections).set(count.max(0));
            }
            let max = i64::from(pool.options().get_max_connections());
            most.get_or_create(&Of { pool: name }).set(max);
        }
        let all: [(_, _, &dyn EncodeMetric); 2] = [
            (
                "db_client_connection_count",
                "Connections by state",
                &counts,
            ),
            ("db_client_connection_max", "Most connections", &most),
        ];
        for (name, help, metric) in all {
            let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)?;
        }
        Ok(())
    }
}
