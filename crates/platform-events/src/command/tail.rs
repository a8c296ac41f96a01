//! The log itself, decoded; read without a group, so that nothing is taken away from anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat};
use platform::config::duration;
use prometheus_client::registry::Registry;
use rdkafka::Message as _;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::decode::Decoder;
use super::{Output, Service};
use crate::consumer::message::{Message, NotLetIn};
use crate::context::Quiet;
use crate::envelope::texts;

const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(200);

/// Which part of the log.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Those of one topic, as the contract names it: `events.offer`.
    #[arg(long)]
    topic: Option<String>,
    /// Those of one key.
    #[arg(long)]
    key: Option<String>,
    /// Those of one name: `offer.published`.
    #[arg(long = "type", value_name = "NAME")]
    name: Option<String>,
    /// How far back to begin.
    #[arg(long, default_value = "10m", value_parser = duration)]
    since: Duration,
    /// Begins with the oldest event that is kept.
    #[arg(long, conflicts_with = "since")]
    from_beginning: bool,
    /// Waits for more instead of ending with what is there.
    #[arg(long, short)]
    follow: bool,
}

type Reader = BaseConsumer<Quiet>;
/// By topic at the broker and partition.
type Ends = BTreeMap<(String, i32), i64>;

pub(super) async fn run(service: &Service<'_>, args: Args, out: &Output) -> anyhow::Result<()> {
    let kafka = service
        .kafka
        .connect_as(service.name, &mut Registry::default());
    let topics: BTreeSet<&'static str> = service
        .says()
        .map(|event| event.topic)
        .filter(|topic| args.topic.as_deref().is_none_or(|wanted| wanted == *topic))
        .collect();
    if topics.is_empty() {
        return Ok(());
    }
    let printer = Printer {
        service,
        decoder: Decoder::new(service.descriptors)?,
        args: &args,
        out,
    };
    // Nothing else goes on in this process.
    tokio::task::block_in_place(|| {
        let config = kafka.reader(&kafka.topic("tail"));
        let reader: Reader = BaseConsumer::from_config_and_context(&config, Quiet::default())?;
        let names: Vec<String> = topics.iter().map(|topic| kafka.topic(topic)).collect();
        let mut missing = assign(&reader, &names, &args)?;
        let mut heard = Instant::now();
        while args.follow || !missing.is_empty() {
            match reader.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let partition = (message.topic().to_owned(), message.partition());
                    if missing
                        .get(&partition)
                        .is_some_and(|end| *end <= message.offset() + 1)
                    {
                        missing.remove(&partition);
                    }
                    let plain = kafka.plain_topic(message.topic()).unwrap_or_default();
                    if let Some(topic) = topics.get(plain) {
                        printer.print(topic, &message)?;
                    }
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(error.into());
                }
                // It connects again by itself.
                Some(Err(_)) | None if args.follow || heard.elapsed() < PATIENCE => {}
                Some(Err(error)) => return Err(error.into()),
                None => bail!("the broker has not sent everything that it has"),
            }
        }
        Ok(())
    })
}

/// Lets the reader begin; answers the ends of those partitions that have something to read.
fn assign(reader: &Reader, names: &[String], args: &Args) -> anyhow::Result<Ends> {
    let since_ms = (!args.from_beginning).then(|| {
        let age_ms = i64::try_from(args.since.as_millis()).unwrap_or(i64::MAX);
        platform::time::now()
            .timestamp_millis()
            .saturating_sub(age_ms)
            .max(0)
    });
    let mut list = TopicPartitionList::new();
    let mut missing = Ends::new();
    for name in names {
        let metadata = reader
            .fetch_metadata(Some(name), PATIENCE)
            .context("no broker answers")?;
        let partitions = metadata
            .topics()
            .iter()
            .filter(|topic| topic.name() == name && topic.error().is_none())
            .flat_map(|topic| topic.partitions());
        for partition in partitions.map(|partition| partition.id()) {
            let (low, high) = reader.fetch_watermarks(name, partition, PATIENCE)?;
            let begin = match since_ms {
                None => low,
                Some(ms) => first_since(reader, name, partition, ms)?.unwrap_or(high),
            };
            list.add_partition_offset(name, partition, Offset::Offset(begin))?;
            if begin < high {
                missing.insert((name.clone(), partition), high);
            }
        }
    }
    if list.count() == 0 {
        let unknown = RDKafkaErrorCode::UnknownTopicOrPartition;
        if args.follow {
            return Err(KafkaError::MetadataFetch(unknown)).context(names.join(", "));
        }
        return Ok(missing);
    }
    reader.assign(&list)?;
    Ok(missing)
}

/// Where the first event since then lies; `None` if there is none.
fn first_since(
    reader: &Reader,
    name: &str,
    partition: i32,
    ms: i64,
) -> Result<Option<i64>, KafkaError> {
    let mut times = TopicPartitionList::new();
    times.add_partition_offset(name, partition, Offset::Offset(ms))?;
    let found = reader.offsets_for_times(times, PATIENCE)?;
    Ok(found
        .elements()
        .first()
        .and_then(|found| match found.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
}

struct Printer<'a> {
    service: &'a Service<'a>,
    decoder: Decoder,
    args: &'a Args,
    out: &'a Output,
}

impl Printer<'_> {
    fn print(&self, topic: &'static str, message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
        let key = String::from_utf8_lossy(message.key().unwrap_or_default());
        let (Ok(headers) | Err((_, headers))) = texts(message.headers());
        let name = headers.get("ce_type");
        let wanted =
            |want: &Option<String>, is: &str| want.as_deref().is_none_or(|want| want == is);
        if !wanted(&self.args.key, &key) || !wanted(&self.args.name, name.map_or("", |name| name)) {
            return Ok(());
        }
        let at = message
            .timestamp()
            .to_millis()
            .and_then(DateTime::from_timestamp_millis);
        let at = at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
        let refused = match Message::new(topic, message).judge(self.service.contract) {
            Ok(_) => None,
            Err(NotLetIn { cause, detail, .. }) => Some(format!("{cause}: {detail}")),
        };
        let mut value = json!({
            "service": self.service.name, "topic": topic, "partition": message.partition(),
            "offset": message.offset(), "at": at, "key": key, "headers": headers,
        });
        if let Some(refused) = &refused {
            value["refused"] = json!(refused);
        }
        self.decoder
            .add(&mut value, &headers, message.payload().unwrap_or_default());
        self.out.put(&value, || line(&value, refused.as_deref()))?;
        Ok(())
    }
}

/// One event on one line.
fn line(value: &Value, refused: Option<&str>) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let headers = &value["headers"];
    let content = value.get("event").or(value.get("payload"));
    let refused = refused.map(|why| format!("  REFUSED {why}"));
    format!(
        "{} {}/{}@{} {} {} v{} {}{}",
        text(&value["at"]),
        text(&value["topic"]),
        value["partition"],
        value["offset"],
        text(&headers["ce_type"]),
        text(&value["key"]),
        text(&headers["ce_sequence"]),
        content.unwrap_or(&Value::Null),
        refused.unwrap_or_default()
    )
}
