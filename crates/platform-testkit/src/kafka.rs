//! What services say, read by something that is not our consumer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use platform_contract::Event;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::{TestDb, Vars, until};

/// Where no broker listens: what services are given that a test gives none.
pub const NO_BROKER: &str = "127.0.0.1:1";

const PATIENCE: Duration = Duration::from_secs(10);

/// The tests' broker, with a prefix for topics of a test's own, which go with this value.
pub struct Kafka {
    brokers: String,
    prefix: String,
}

/// A prefix on the broker of `TEST_KAFKA_BROKERS`.
pub fn kafka() -> Kafka {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let brokers = std::env::var("TEST_KAFKA_BROKERS").expect(
        "TEST_KAFKA_BROKERS is not set: this test needs an Apache Kafka, for example at \
         127.0.0.1:9092; `./homeward test` starts one",
    );
    Kafka {
        brokers,
        prefix: format!("kit-{}-{number}.", std::process::id()),
    }
}

/// An event as it lies in its topic.
#[derive(Clone, Debug)]
pub struct Said {
    /// `ce_type`.
    pub name: String,
    /// The key of the message.
    pub key: String,
    /// `ce_sequence`.
    pub version: i64,
    /// All headers.
    pub headers: BTreeMap<String, String>,
    /// The content.
    pub payload: Vec<u8>,
}

impl Kafka {
    /// The variables by which a service finds it.
    pub fn vars(&self) -> Vars {
        Vars::from([
            ("KAFKA_BROKERS".to_owned(), self.brokers.clone()),
            ("RESOURCE_PREFIX".to_owned(), self.prefix.clone()),
        ])
    }

    /// Everything that the service of this database has said on the topic of `E`, each key in its
    /// order. Waits until nothing is left to be sent, so something must be sending.
    pub async fn said<E: Event>(&self, db: &TestDb) -> Vec<Said> {
        let mut conn = db.connect().await;
        until("the outbox to be empty", async || {
            let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM platform.outbox")
                .fetch_one(&mut conn)
                .await
                .unwrap();
            (waiting == 0).then_some(())
        })
        .await;
        let (brokers, topic) = (self.brokers.clone(), format!("{}{}", self.prefix, E::TOPIC));
        tokio::task::spawn_blocking(move || read(&brokers, &topic))
            .await
            .unwrap()
    }
}

impl Said {
    /// The content, which must be an `E`.
    pub fn event<E: Event>(&self) -> E {
        assert_eq!(self.name, E::NAME);
        E::decode(self.payload.as_slice()).unwrap()
    }

    fn of(message: &BorrowedMessage<'_>) -> Said {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers: BTreeMap<String, String> = message
            .headers()
            .unwrap()
            .iter()
            .map(|header| (header.key.to_owned(), text(header.value.unwrap())))
            .collect();
        Said {
            name: headers["ce_type"].clone(),
            key: text(message.key().unwrap()),
            version: headers["ce_sequence"].parse().unwrap(),
            headers,
            payload: message.payload().unwrap().to_vec(),
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let (brokers, prefix) = (self.brokers.clone(), self.prefix.clone());
        let deleted = std::thread::spawn(move || delete(&brokers, &prefix));
        let _ = deleted.join();
    }
}

fn reader(brokers: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "testkit")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap()
}

/// A whole topic, or nothing if there is none.
fn read(brokers: &str, topic: &str) -> Vec<Said> {
    let reader = reader(brokers);
    let metadata = reader.fetch_metadata(None, PATIENCE).unwrap();
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = found.map_or(&[][..], |found| found.partitions());
    let mut list = TopicPartitionList::new();
    let mut missing = 0;
    for partition in partitions {
        let (low, high) = loop {
            // A topic that was made just now has no leader yet.
            if let Ok(found) = reader.fetch_watermarks(topic, partition.id(), PATIENCE) {
                break found;
            }
        };
        missing += high - low;
        list.add_partition_offset(topic, partition.id(), Offset::Beginning)
            .unwrap();
    }
    reader.assign(&list).unwrap();
    let mut said = Vec::new();
    while missing > 0 {
        let message = reader.poll(PATIENCE).expect("the log has an end").unwrap();
        said.push(Said::of(&message));
        missing -= 1;
    }
    said
}

/// Topics of tests that are over; not finding them is no trouble.
fn delete(brokers: &str, prefix: &str) {
    let Ok(metadata) = reader(brokers).fetch_metadata(None, PATIENCE) else {
        return;
    };
    let topics = metadata.topics().iter().map(|topic| topic.name());
    let topics: Vec<&str> = topics.filter(|name| name.starts_with(prefix)).collect();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _ = runtime.block_on(admin.delete_topics(&topics, &options));
}
