//! Reads all partitions from a point in time.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use rdkafka::Message as _;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
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
    /// Reads until `stop`, with Kafka coming and going; ends at once then, whatever it waits for.
    pub async fn run(self, kafka: Kafka, stop: CancellationToken) -> anyhow::Result<()> {
        kafka.check_hears(&self.0.topics)?;
        stop.run_until_cancelled(self.read_on(&kafka, &stop)).await;
        Ok(())
    }

    async fn read_on(&self, kafka: &Kafka, stop: &CancellationToken) {
        if let Err(refused) = topics::ensure(kafka, &self.0.topics, stop).await {
            // Somebody else may make it later.
            error!("{refused}");
        }
        let trouble = Seldom::default();
        loop {
            if let Err(error) = self.read(kafka, &trouble).await {
                trouble.say(|| warn!("cannot read events: {error}; said once a minute"));
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
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
        {
            let mut ring = self.0.ring();
            for (partition, offset) in start.from {
                ring.begin(partition, offset);
            }
        }
        self.0.read.send_replace(());
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
                Err(
                    error @ (KafkaError::MessageConsumptionFatal(_)
                    | KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)),
                ) => return Err(error),
                Err(error) => {
                    trouble.say(|| warn!("cannot read events: {error}; said once a minute"));
                }
            }
        }
    }

    /// A reader of all partitions; goes on where it was, or begins at the window's age.
    async fn begin(&self, kafka: &Kafka) -> Result<(Reader, Start), KafkaError> {
        let mut config = kafka.reader(&kafka.topic("broadcast"));
        // An offset that the log does not have: it was made anew, or cut. Going on from its first
        // event would say nothing of what was lost, and may read for an hour.
        config.set("auto.offset.reset", "error");
        let names: HashMap<&'static str, String> = self
            .0
            .topics
            .iter()
            .map(|topic| (*topic, kafka.topic(topic)))
            .collect();
        let known = self.0.ring().positions();
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
        let partition = (topic, message.partition());
        let (next, outcome);
        match content.judge(self.0.contract) {
            Ok(meta) => {
                let payload = content.into_payload();
                let event = Received { meta, payload };
                self.0.tell_each(&event);
                let mut ring = self.0.ring();
                next = ring.advance(partition, message.offset());
                outcome = if ring.push(event, Instant::now()) {
                    "heard"
                } else {
                    "repeated"
                };
            }
            Err(NotLetIn { cause, detail, .. }) => {
                let (partition, offset) = (message.partition(), message.offset());
                error!(
                    topic,
                    partition, offset, "refused an event ({cause}): {detail}"
                );
                next = self.0.ring().advance((topic, partition), offset);
                outcome = cause.word();
            }
        }
        self.0.read.send_replace(());
        let consumed = Consumed {
            consumer: "broadcast",
            topic,
            outcome,
        };
        kafka.metrics.consumed.get_or_create(&consumed).inc();
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
            let code = RDKafkaErrorCode::UnknownTopicOrPartition;
            return Err(KafkaError::MetadataFetch(code));
        }
        let mut times = TopicPartitionList::new();
        let mut begins = Positions::new();
        let mut is_ours = true;
        for number in partitions {
            let partition = (*topic, number);
            let (begin, end) = reader.fetch_watermarks(name, number, PATIENCE)?;
            begins.insert(partition, begin);
            start.ends.insert(partition, end);
            let known = start.from.get(&partition);
            is_ours &= known.is_none_or(|known| (begin..=end).contains(known));
            times.add_partition_offset(name, number, Offset::Offset(since_ms))?;
        }
        if !is_ours {
            // Not even where the offsets would fit by chance.
            start.from.retain(|(of, _), _| of != topic);
        }
        for found in reader.offsets_for_times(times, PATIENCE)?.elements() {
            found.error()?;
            let partition = (*topic, found.partition());
            let offset = match found.offset() {
                Offset::Offset(offset) => offset,
                // Nothing is that new.
                _ => start.ends[&partition],
            };
            // The one before as well: who heard it last, and nothing since, has missed nothing.
            let offset = (offset - 1).max(begins[&partition]);
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
