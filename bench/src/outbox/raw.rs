//! The peers: each half of a relay's work alone, as fast as we can make it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use sqlx::{Connection, PgConnection};

use super::rows::Message;
use crate::Config;

/// As many as the relay has.
const WORKERS: i16 = 2;
const LANES: i16 = 16;
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads and deletes all rows in one statement and one commit per batch; answers how many.
pub(super) async fn delete(config: &Config, batch: usize) -> anyhow::Result<u64> {
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let url = config.db.database_url.expose();
        let batch = i64::try_from(batch)?;
        workers.spawn(async move {
            let mut conn = PgConnection::connect(&url).await?;
            let mut deleted = 0;
            let mut lanes: Vec<i16> = (worker..LANES)
                .step_by(usize::from(WORKERS.unsigned_abs()))
                .collect();
            while let Some(lane) = lanes.first().copied() {
                let rows = sqlx::query(
                    "DELETE FROM platform.outbox
                     WHERE lane = $1 AND sequence = ANY (ARRAY(
                         SELECT sequence
                         FROM platform.outbox
                         WHERE lane = $1
                         ORDER BY sequence
                         LIMIT $2
                     ))
                     RETURNING *",
                )
                .bind(lane)
                .bind(batch)
                .fetch_all(&mut conn)
                .await?;
                deleted += u64::try_from(rows.len())?;
                // One after the other, as a relay takes lanes.
                lanes.rotate_left(1);
                if rows.is_empty() {
                    lanes.pop();
                }
            }
            anyhow::Ok(deleted)
        });
    }
    let mut deleted = 0;
    while let Some(ended) = workers.join_next().await {
        deleted += ended??;
    }
    Ok(deleted)
}

/// Produces all messages, waiting for each batch; answers the seconds that it took.
pub(super) fn produce(
    brokers: &str,
    topic: &str,
    messages: Vec<Message>,
    batch: usize,
) -> anyhow::Result<f64> {
    let mut shares: Vec<Vec<Message>> = (0..WORKERS).map(|_| Vec::new()).collect();
    for (number, message) in messages.into_iter().enumerate() {
        let workers = shares.len();
        shares[number / batch % workers].push(message);
    }
    let producers: Vec<_> = shares
        .iter()
        .map(|_| producer(brokers))
        .collect::<Result<_, _>>()?;
    let began = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = producers
            .into_iter()
            .zip(shares)
            .map(|(producer, share)| {
                scope.spawn(move || produce_share(&producer, topic, share, batch))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a producer has panicked")))
        })
    })?;
    Ok(began.elapsed().as_secs_f64())
}

fn produce_share(
    producer: &ThreadedProducer<Acks>,
    topic: &str,
    mut messages: Vec<Message>,
    batch: usize,
) -> anyhow::Result<()> {
    messages.reverse();
    while !messages.is_empty() {
        let head = messages.split_off(messages.len().saturating_sub(batch));
        producer.context().expect(head.len());
        for message in head.into_iter().rev() {
            let record = BaseRecord::to(topic)
                .key(&message.key)
                .payload(&message.payload)
                .headers(message.headers);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.context().wait()?;
    }
    Ok(())
}

/// Settings like the relay's, but for what only the order after a failure needs.
fn producer(brokers: &str) -> anyhow::Result<ThreadedProducer<Acks>> {
    let producer: ThreadedProducer<Acks> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.kbytes", "16384")
        .set("batch.size", "500000")
        .set("linger.ms", "1")
        .set("compression.codec", "lz4")
        .set("partitioner", "murmur2_random")
        .create_with_context(Acks::none())?;
    // Found before the clock starts, as the relay's is not.
    ensure!(
        producer
            .client()
            .fetch_cluster_id(Duration::from_secs(10))
            .is_some(),
        "no broker answers at {brokers}"
    );
    Ok(producer)
}

/// Counts what the broker has yet to take of a batch.
struct Acks {
    missing: Mutex<Result<usize, KafkaError>>,
    changed: Condvar,
}

impl Acks {
    fn none() -> Acks {
        Acks {
            missing: Mutex::new(Ok(0)),
            changed: Condvar::new(),
        }
    }

    fn expect(&self, count: usize) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = Ok(count);
    }

    fn wait(&self) -> anyhow::Result<()> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let (missing, _) = self
            .changed
            .wait_timeout_while(missing, PATIENCE, |missing| matches!(missing, Ok(1..)))
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(
            matches!(*missing, Ok(0)),
            "not all of a batch was taken: {missing:?}"
        );
        Ok(())
    }
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        match (result, missing.as_mut()) {
            (Ok(_), Ok(count)) => *count = count.saturating_sub(1),
            (Err((error, _)), Ok(_)) => *missing = Err(error.clone()),
            (_, Err(_)) => {}
        }
        if !matches!(*missing, Ok(1..)) {
            self.changed.notify_one();
        }
    }
}
