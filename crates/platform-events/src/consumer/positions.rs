//! Where a consumer begins that is rebuilt from elsewhere, and whether it is there yet.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Consumer;
use crate::blocking::blocking;
use crate::broadcast::Positions;
use crate::context::Quiet;
use crate::{Kafka, topics};

const PATIENCE: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// One partition of the log.
struct Partition {
    topic: &'static str,
    name: String,
    number: i32,
    first: i64,
    end: i64,
}

type Reader = BaseConsumer<Quiet>;

impl Consumer {
    /// Where the events begin that were published at `since` or later. Noted before the owner's
    /// `List` is read, a little earlier than now because such a list may be a moment behind, it is
    /// where the log goes on from: what is read twice is dropped by its version.
    pub async fn positions(
        &self,
        kafka: &Kafka,
        since: DateTime<Utc>,
    ) -> anyhow::Result<Positions> {
        self.ask(kafka, move |reader, partitions| {
            let mut times = TopicPartitionList::new();
            for of in &partitions {
                let at = Offset::Offset(since.timestamp_millis());
                times.add_partition_offset(&of.name, of.number, at)?;
            }
            let found = reader.offsets_for_times(times, PATIENCE)?;
            let position = |of: Partition| {
                let begin = found.find_partition(&of.name, of.number);
                let offset = match begin.map(|begin| begin.offset()) {
                    Some(Offset::Offset(offset)) => offset,
                    // Nothing is that new.
                    _ => of.end,
                };
                ((of.topic, of.number), offset)
            };
            Ok(partitions.into_iter().map(position).collect())
        })
        .await
    }

    /// Where the log ends now.
    pub async fn ends(&self, kafka: &Kafka) -> anyhow::Result<Positions> {
        self.ask(kafka, |_, partitions| {
            let end = |of: Partition| ((of.topic, of.number), of.end);
            Ok(partitions.into_iter().map(end).collect())
        })
        .await
    }

    /// Lets a consumer that has never run begin at `positions` instead of at the beginning of the
    /// log. One that runs, or has run, goes on where it is.
    pub async fn begin_at(&self, kafka: &Kafka, positions: Positions) -> anyhow::Result<()> {
        self.ask(kafka, move |reader, partitions| {
            let committed = committed(reader, &partitions)?;
            let mut list = TopicPartitionList::new();
            for (of, _) in partitions
                .iter()
                .zip(committed)
                .filter(|(_, at)| at.is_none())
            {
                if let Some(offset) = positions.get(&(of.topic, of.number)) {
                    list.add_partition_offset(&of.name, of.number, Offset::Offset(*offset))?;
                }
            }
            if list.count() == 0 {
                return Ok(());
            }
            match reader.commit(&list, CommitMode::Sync) {
                // Only a group without members takes positions from outside.
                Err(KafkaError::ConsumerCommit(
                    RDKafkaErrorCode::UnknownMemberId
                    | RDKafkaErrorCode::IllegalGeneration
                    | RDKafkaErrorCode::RebalanceInProgress,
                )) => Ok(()),
                committed => committed,
            }
        })
        .await
    }

    /// Whether everything before `positions` was read and handled, by whatever replica. Told to
    /// the broker once a second.
    pub async fn is_past(&self, kafka: &Kafka, positions: &Positions) -> anyhow::Result<bool> {
        let positions = positions.clone();
        self.ask(kafka, move |reader, partitions| {
            let committed = committed(reader, &partitions)?;
            Ok(partitions.iter().zip(committed).all(|(of, committed)| {
                let wanted = positions.get(&(of.topic, of.number)).copied();
                wanted.unwrap_or_default() <= committed.unwrap_or(of.first)
            }))
        })
        .await
    }

    /// Asks the broker something about the topics of this consumer, without joining its group.
    async fn ask<T: Send + 'static>(
        &self,
        kafka: &Kafka,
        question: impl FnOnce(&Reader, Vec<Partition>) -> Result<T, KafkaError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let topics: Vec<_> = self.topics().collect();
        ensure!(!topics.is_empty(), "{} handles no event", self.name);
        topics::create(kafka, &topics).await?;
        let names = topics.iter().map(|topic| (*topic, kafka.topic(topic)));
        let names: Vec<_> = names.collect();
        let config = kafka.consumer(self.name);
        let quiet = kafka.quiet();
        let answer = blocking(move || ask(&config, quiet, names, question)).await;
        let answer = answer.unwrap_or(Err(KafkaError::Canceled));
        answer.context("Kafka does not answer")
    }
}

fn ask<T>(
    config: &ClientConfig,
    quiet: Quiet,
    names: Vec<(&'static str, String)>,
    question: impl FnOnce(&Reader, Vec<Partition>) -> Result<T, KafkaError>,
) -> Result<T, KafkaError> {
    let reader = Reader::from_config_and_context(config, quiet)?;
    let mut partitions = Vec::new();
    for (topic, name) in names {
        let metadata = reader.fetch_metadata(Some(&name), PATIENCE)?;
        let found = metadata.topics().iter().find(|found| found.name() == name);
        let numbers = found.map(|found| found.partitions()).unwrap_or_default();
        if numbers.is_empty() {
            let code = RDKafkaErrorCode::UnknownTopicOrPartition;
            return Err(KafkaError::MetadataFetch(code));
        }
        for number in numbers.iter().map(|partition| partition.id()) {
            let (first, end) = watermarks(&reader, &name, number)?;
            partitions.push(Partition {
                topic,
                name: name.clone(),
                number,
                first,
                end,
            });
        }
    }
    question(&reader, partitions)
}

/// Where a partition begins and ends.
fn watermarks(reader: &Reader, name: &str, number: i32) -> Result<(i64, i64), KafkaError> {
    let began = Instant::now();
    loop {
        match reader.fetch_watermarks(name, number, PATIENCE) {
            // A topic that was made just now has no leader yet.
            Err(_) if began.elapsed() < PATIENCE => std::thread::sleep(RETRY_EVERY),
            result => return result,
        }
    }
}

/// How far the group is with each of these partitions; `None` where it never was.
fn committed(reader: &Reader, partitions: &[Partition]) -> Result<Vec<Option<i64>>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for of in partitions {
        list.add_partition(&of.name, of.number);
    }
    let found = reader.committed_offsets(list, PATIENCE)?;
    let offset = |of: &Partition| match found.find_partition(&of.name, of.number)?.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    Ok(partitions.iter().map(offset).collect())
}
