//! Topics as the contract wants them.

use std::sync::Arc;
use std::time::Duration;

use platform_contract::EventType;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::Kafka;
use crate::blocking::blocking;
use crate::context::Quiet;
use crate::seldom::Seldom;

/// Partitions of every topic, fixed for good: with another number a key would change its
/// partition, and its order would be lost.
pub const PARTITIONS: i32 = 12;

const PARTITIONS_USIZE: usize = PARTITIONS as usize;
const RETENTION: Duration = Duration::from_hours(30 * 24);
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Why topics are not there.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The cluster does not want them: rights, or a policy.
    #[error("the topic {topic} cannot be made: {code}")]
    Refused {
        /// Its name at the broker.
        topic: String,
        /// The broker's reason.
        code: RDKafkaErrorCode,
    },
    /// No answer; it can be tried again.
    #[error("no broker answers: {0}")]
    Away(#[from] KafkaError),
}

/// Makes the topics of these events where they are missing, and waits for as long as the broker
/// is away.
pub async fn ensure_topics(
    kafka: &Kafka,
    events: &[EventType],
    stop: &CancellationToken,
) -> Result<(), TopicsError> {
    let mut topics: Vec<&str> = events.iter().map(|event| event.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    ensure(kafka, &topics, stop).await
}

pub(crate) async fn ensure(
    kafka: &Kafka,
    topics: &[&str],
    stop: &CancellationToken,
) -> Result<(), TopicsError> {
    let away = Seldom::default();
    loop {
        match create(kafka, topics).await {
            Err(TopicsError::Away(error)) => {
                away.say(|| warn!(%error, "waiting for Kafka to make topics: {error}"));
            }
            result => return result,
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(RETRY_EVERY) => {}
        }
    }
}

/// One try.
pub(crate) async fn create(kafka: &Kafka, topics: &[&str]) -> Result<(), TopicsError> {
    let admin: AdminClient<Quiet> = kafka.admin().create_with_context(kafka.quiet())?;
    let admin = Arc::new(admin);
    // Where topics are made by others, we may not make any; it is enough that they exist.
    let names = topics.iter().map(|topic| kafka.topic(topic)).collect();
    let missing = missing(Arc::clone(&admin), names).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let retention_ms = RETENTION.as_millis().to_string();
    let replication = kafka.args.kafka_replication.unwrap_or(-1);
    let wanted: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|name| {
            NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(replication))
                .set("cleanup.policy", "delete")
                .set("retention.ms", &retention_ms)
        })
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE));
    for made in admin.create_topics(&wanted, &options).await? {
        match made {
            Ok(name) => info!("made the topic {name}"),
            // By another replica, a moment ago.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(TopicsError::Refused { topic, code }),
        }
    }
    Ok(())
}

/// Those that the cluster does not have.
async fn missing(
    admin: Arc<AdminClient<Quiet>>,
    names: Vec<String>,
) -> Result<Vec<String>, TopicsError> {
    let look = move || {
        let mut missing = Vec::new();
        for name in names {
            let metadata = admin.inner().fetch_metadata(Some(&name), PATIENCE)?;
            let found = metadata
                .topics()
                .iter()
                .find(|topic| topic.name() == name && topic.error().is_none());
            match found.map(|topic| topic.partitions().len()) {
                None => missing.push(name),
                Some(PARTITIONS_USIZE) => {}
                Some(other) => error!("the topic {name} has {other} partitions, not {PARTITIONS}"),
            }
        }
        Ok(missing)
    };
    blocking(look)
        .await
        .unwrap_or_else(|| Err(KafkaError::Canceled.into()))
}
