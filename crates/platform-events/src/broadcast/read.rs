//! Reads all partitions from a point in time.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use rdkafka::Message as _;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Broadcast, Positions, Received};
use crate::blocking::blocking;
use crate::consumer::message::{Message, NotLetIn};
use crate::context::Quiet;
use crate::metrics::Consumed;
use crate::seldom::Seldom;
use crate::{Kafka, topics};

const PATIENCE: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_secs(1);
const EVICT_EVERY: Duration = Duration::from_secs(1);

type Reader = StreamConsumer<Quiet>;

/// Where reading begins, and where the log ended then.
struct Start {
    from: Positions,
    ends: Positions,
}

impl Broadcast {
    /// Reads until `stop`, with Kafka coming and going.
    pub async fn run(self, kafka: Kafka, stop: CancellationToken) -> anyhow::Result<()> {
        if let Err(refused) = topics::ensure(&kafka, &self.0.topics, &stop).await {
            // Somebody else may make it later.
            error!("{refused}");
        }
        let trouble = Seldom::default();
        while !stop.is_cancelled() {
            let read = tokio::select! {
                () = stop.cancelled() => break,
                read = self.read(&kafka, &trouble) => read,
            };
            if let Err(error) = read {
                trouble.say(|| warn!("cannot read events: {error}; said once a minute"));
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
        Ok(())
    }

    /// Reads for as long as it works.
    async fn read(&self, kafka: &Kafka, trouble: &Seldom) -> Result<(), KafkaError> {
        let (reader, start) = self.begin(kafka).await?;
        // Blocks for a moment when it goes, like everything of librdkafka that ends.
        let reader = DropElsewhere(Some(reader));
        let Some(reader) = &reader.0 else {
            return Ok(());
        };
        info!("reads {} partitions", start.from.len());
        let mut missing: Positions = start
            .ends
            .into_iter()
            .filter(|(partition, end)| start.from.get(partition) < Some(end))
            .collect();
        self.0.positions().extend(start.from);
        self.0.caught_up.send_replace(missing.is_empty());

        let mut messages = reader.stream();
        let mut evict = tokio::time::interval(EVICT_EVERY);
        loop {
            let message = tokio::select! {
                _ = evict.tick() => {
                    self.0.ring().evict(Instant::now());
                    continue;
                }
                Some(message) = messages.next() => message,
            };
            match message {
                Ok(message) => {
                    trouble.over();
                    let Some((partition, next)) = self.take(kafka, &message) else {
                        continue;
                    };
                    if missing.get(&partition).is_some_and(|end| *end <= next) {
                        missing.remove(&partition);
                        self.0.caught_up.send_if_modified(|caught_up| {
                            !std::mem::replace(caught_up, missing.is_empty()) && missing.is_empty()
                        });
                    }
                }
                Err(error @ KafkaError::MessageConsumptionFatal(_)) => return Err(error),
                Err(error) => {
                    trouble.say(|| warn!("cannot read events: {error}; said once a minute"));
                }
            }
        }
    }

    /// A reader of all partitions; goes on where it was, or begins at the window's age.
    async fn begin(&self, kafka: &Kafka) -> Result<(Reader, Start), KafkaError> {
        let config = kafka.reader(&kafka.topic("broadcast"));
        let names: HashMap<&'static str, String> = self
            .0
            .topics
            .iter()
            .map(|topic| (*topic, kafka.topic(topic)))
            .collect();
        let known = self.positions();
        let age_ms = i64::try_from(self.0.window.age.as_millis()).unwrap_or(i64::MAX);
        let since_ms = platform::time::now()
            .timestamp_millis()
            .saturating_sub(age_ms);
        let quiet = kafka.quiet();
        let begin = move || {
            let reader: Reader = StreamConsumer::from_config_and_context(&config, quiet)?;
            let start = find_start(&reader, &names, known, since_ms)?;
            let mut list = TopicPartitionList::new();
            for ((topic, partition), offset) in &start.from {
                list.add_partition_offset(&names[topic], *partition, Offset::Offset(*offset))?;
            }
            reader.assign(&list)?;
            Ok((reader, start))
        };
        blocking(begin).await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// Puts a message into the ring, if it can be believed; answers where the next one is.
    fn take(
        &self,
        kafka: &Kafka,
        message: &BorrowedMessage<'_>,
    ) -> Option<((&'static str, i32), i64)> {
        let plain = kafka.plain_topic(message.topic())?;
        let topic = *self.0.topics.iter().find(|topic| **topic == plain)?;
        let content = Message::new(topic, message);
        let outcome = match content.judge(self.0.contract) {
            Ok(meta) => {
                let payload = content.into_payload();
                let mut ring = self.0.ring();
                if ring.push(Received { meta, payload }, Instant::now()) {
                    self.0.end.send_replace(ring.end());
                    "heard"
                } else {
                    "repeated"
                }
            }
            Err(NotLetIn { cause, detail, .. }) => {
                let (partition, offset) = (message.partition(), message.offset());
                error!(
                    topic,
                    partition, offset, "refused an event ({cause}): {detail}"
                );
                cause.word()
            }
        };
        let consumed = Consumed {
            consumer: "broadcast",
            topic,
            outcome,
        };
        kafka.metrics.consumed.get_or_create(&consumed).inc();
        let (partition, next) = ((topic, message.partition()), message.offset() + 1);
        self.0.positions().insert(partition, next);
        Some((partition, next))
    }
}

fn find_start(
    reader: &Reader,
    names: &HashMap<&'static str, String>,
    known: Positions,
    since_ms: i64,
) -> Result<Start, KafkaError> {
    let mut start = Start {
        from: known,
        ends: Positions::new(),
    };
    for (topic, name) in names {
        let metadata = reader.fetch_metadata(Some(name), PATIENCE)?;
        let partitions: Vec<i32> = metadata
            .topics()
            .iter()
            .filter(|found| found.name() == name && found.error().is_none())
            .flat_map(|found| found.partitions().iter().map(|partition| partition.id()))
            .collect();
        if partitions.is_empty() {
            let code = rdkafka::error::RDKafkaErrorCode::UnknownTopicOrPartition;
            return Err(KafkaError::MetadataFetch(code));
        }
        let mut times = TopicPartitionList::new();
        for partition in &partitions {
            let (_, end) = reader.fetch_watermarks(name, *partition, PATIENCE)?;
            start.ends.insert((*topic, *partition), end);
            times.add_partition_offset(name, *partition, Offset::Offset(since_ms))?;
        }
        for found in reader.offsets_for_times(times, PATIENCE)?.elements() {
            let partition = (*topic, found.partition());
            let offset = match found.offset() {
                Offset::Offset(offset) => offset,
                // Nothing is that new.
                _ => start.ends[&partition],
            };
            start.from.entry(partition).or_insert(offset);
        }
    }
    Ok(start)
}

struct DropElsewhere(Option<Reader>);

impl Drop for DropElsewhere {
    fn drop(&mut self) {
        let reader = self.0.take();
        tokio::task::spawn_blocking(move || drop(reader));
    }
}
