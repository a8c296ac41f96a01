//! A batch to Kafka, in waves: an event is handed to librdkafka only when the one before it of the
//! same key is acknowledged.
//!
//! That keeps the order of a key, whatever fails. librdkafka's own means do not suffice: when a
//! request fails for good, the next one of the partition may already be on its way, whether one or
//! five may be in flight; a broker that knows the producer refuses it for the gap, one that has
//! not heard of it yet takes it. `enable.gapless.guarantee` ends the producer only then, and does
//! not cover messages that are too old. Hence no `message.timeout.ms` either, but a deadline of our
//! own, after which, as after any failure, the producer is purged and destroyed before the lane is
//! given up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext, PurgeConfig,
    ThreadedProducer,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::Row;
use crate::Kafka;
use crate::blocking::blocking;
use crate::context::Voice;

/// Longest wait for a broker to be found.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// How a wave ended that was not taken as a whole.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The broker, a topic or the network; the same events may well go through later.
    Passing(String),
    /// The broker does not want one of the events, whenever it comes.
    Refused(RDKafkaErrorCode),
}

pub(super) struct Producer(ThreadedProducer<Acks>);

impl Producer {
    /// A producer that has reached a broker: nobody takes a lane in order to wait.
    pub(super) async fn connect(kafka: &Kafka) -> Result<Producer, String> {
        let config = kafka.producer();
        let acks = Acks {
            tally: Mutex::default(),
            changed: Notify::new(),
            voice: Arc::clone(&kafka.voice),
        };
        let connect = move || {
            let producer = ThreadedProducer::from_config_and_context(&config, acks)
                .map_err(|error| error.to_string())?;
            match producer.client().fetch_cluster_id(CONNECT_TIME_MAX) {
                Some(_) => Ok(Producer(producer)),
                None => Err("no broker answers".to_owned()),
            }
        };
        blocking(connect)
            .await
            .unwrap_or_else(|| Err("the producer's thread has died".to_owned()))
    }

    /// Sends a wave, in which no key comes twice, and waits until all of it is acknowledged. After
    /// a failure the producer is of no use any more, and must be destroyed.
    pub(super) async fn send(
        &self,
        kafka: &Kafka,
        wave: &[&Row],
        deadline: Instant,
    ) -> Result<(), Failure> {
        let acks = self.0.context();
        acks.expect(wave.len());
        for row in wave {
            let topic = kafka.topic(&row.topic);
            let record = BaseRecord::to(&topic)
                .key(&row.event.key)
                .payload(&row.payload)
                .headers(row.event.write());
            if let Err((error, _)) = self.0.send(record) {
                return Err(failure(&error));
            }
        }
        tokio::time::timeout_at(deadline, acks.all())
            .await
            .unwrap_or_else(|_| Err(Failure::Passing("no answer in time".to_owned())))
    }

    /// Returns when nothing of this producer is on its way any more.
    pub(super) async fn destroy(self) {
        let destroy = move || {
            self.0.purge(PurgeConfig::default().queue().inflight());
            drop(self);
        };
        // It fails only if librdkafka has panicked, and then there is no producer either.
        let _ = tokio::task::spawn_blocking(destroy).await;
    }
}

fn failure(error: &KafkaError) -> Failure {
    use RDKafkaErrorCode as Code;
    let Some(code) = error.rdkafka_error_code() else {
        return Failure::Passing(error.to_string());
    };
    match code {
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidMessage
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidTopic
        | Code::PolicyViolation
        | Code::TopicAuthorizationFailed
        | Code::UnsupportedForMessageFormat => Failure::Refused(code),
        _ => Failure::Passing(error.to_string()),
    }
}

/// Counts the acknowledgements of a wave.
struct Acks {
    tally: Mutex<Tally>,
    changed: Notify,
    voice: Arc<Voice>,
}

#[derive(Default)]
struct Tally {
    missing: usize,
    failure: Option<Failure>,
}

impl Acks {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, count: usize) {
        *self.tally() = Tally {
            missing: count,
            failure: None,
        };
    }

    async fn all(&self) -> Result<(), Failure> {
        loop {
            let changed = self.changed.notified();
            {
                let mut tally = self.tally();
                if let Some(failure) = tally.failure.take() {
                    return Err(failure);
                }
                if tally.missing == 0 {
                    return Ok(());
                }
            }
            changed.await;
        }
    }
}

impl ClientContext for Acks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(&error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut tally = self.tally();
        match result {
            Ok(_) => tally.missing = tally.missing.saturating_sub(1),
            // The first failure is the cause; those after it are its consequences.
            Err((error, _)) => drop(tally.failure.get_or_insert_with(|| failure(error))),
        }
        if tally.missing == 0 || tally.failure.is_some() {
            drop(tally);
            self.changed.notify_one();
        }
    }
}

impl Drop for Producer {
    /// Where the relay is cut off in the middle of a batch: nothing goes out after that.
    fn drop(&mut self) {
        self.0.purge(PurgeConfig::default().queue().inflight());
    }
}
