//! A small service that says and hears events, a topic prefix for each test, and a reader that is
//! not our consumer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform::config::{LogFormat, SealArgs};
use platform::sealed::Sealer;
use platform::{Running, Runtime};
use platform_contract::{Event, EventType, Voided};
use platform_db::{Db, DbArgs};
use platform_events::{Actor, Consumer, Kafka, KafkaArgs, publish};
use platform_testkit::{TestDb, Vars};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

pub(crate) static MIGRATORS: &[&Migrator] = &[&platform_db::MIGRATOR, &platform_events::MIGRATOR];

/// The contract that these tests live under.
pub(crate) static EVENTS: &[EventType] = &[
    of::<ThingCounted>(),
    of::<ThingNoted>(),
    of::<OtherCounted>(),
    EventType {
        voids: Some(voids),
        ..of::<ThingEnded>()
    },
];

/// A thing's note is a session that is over.
fn voids(payload: &[u8]) -> Result<Voided, prost::DecodeError> {
    let event = <ThingEnded as prost::Message>::decode(payload)?;
    Ok(Voided::Session {
        subject: event.thing_id,
        session: event.note,
    })
}

const fn of<E: Event>() -> EventType {
    EventType {
        name: E::NAME,
        topic: E::TOPIC,
        source: E::SOURCE,
        key: "thing_id",
        schema: E::SCHEMA,
        voids: None,
    }
}

macro_rules! event {
    ($message:ident, $name:literal, $topic:literal) => {
        #[derive(Clone, PartialEq, prost::Message)]
        pub(crate) struct $message {
            #[prost(string, tag = "1")]
            pub(crate) thing_id: String,
            #[prost(int64, tag = "2")]
            pub(crate) version: i64,
            #[prost(string, tag = "3")]
            pub(crate) note: String,
        }

        impl Event for $message {
            const NAME: &'static str = $name;
            const TOPIC: &'static str = $topic;
            const SOURCE: &'static str = "/test/shop";
            const SCHEMA: &'static str = concat!("test.shop.v1.", stringify!($message));

            fn key(&self) -> &str {
                &self.thing_id
            }

            fn version(&self) -> i64 {
                self.version
            }
        }
    };
}

event!(ThingCounted, "thing.counted", "events.thing");
event!(ThingNoted, "thing.noted", "events.thing");
event!(ThingEnded, "thing.ended", "events.thing");
event!(OtherCounted, "other.counted", "events.other");

/// An event with no more than its place.
pub(crate) fn counted(key: &str, version: i64) -> ThingCounted {
    ThingCounted {
        thing_id: key.to_owned(),
        version,
        note: String::new(),
    }
}

#[derive(clap::Args)]
pub(crate) struct Config {
    #[command(flatten)]
    pub(crate) db: DbArgs,
    #[command(flatten)]
    pub(crate) seal: SealArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}

/// Where the tests' broker is.
pub(crate) fn brokers() -> String {
    std::env::var("TEST_KAFKA_BROKERS").expect(
        "TEST_KAFKA_BROKERS is not set: these tests need an Apache Kafka, for example at \
         127.0.0.1:9092; `./homeward test` starts one",
    )
}

/// Whether the long runs are wanted.
pub(crate) fn full() -> bool {
    std::env::var_os("TEST_EVENTS_FULL").is_some()
}

/// A database and a topic prefix of a test's own; the topics go with this value.
pub(crate) struct Bench {
    pub(crate) db: TestDb,
    pub(crate) prefix: String,
    pub(crate) brokers: String,
}

impl Bench {
    pub(crate) async fn new() -> Bench {
        Bench::at(brokers()).await
    }

    pub(crate) async fn at(brokers: String) -> Bench {
        if let Ok(filter) = std::env::var("TEST_LOG") {
            platform::logging::init("test", LogFormat::Human, &filter);
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let bench = Bench {
            db: platform_testkit::db(MIGRATORS).await,
            prefix: format!("test-{}-{number}.", std::process::id()),
            brokers,
        };
        let mut conn = bench.db.connect().await;
        sqlx::raw_sql(
            "CREATE TABLE things (thing_id text PRIMARY KEY, version bigint NOT NULL);
             CREATE TABLE effects (
                 number bigserial, reader text, thing_id text, version bigint, note text
             )",
        )
        .execute(&mut conn)
        .await
        .unwrap();
        bench
    }

    pub(crate) fn vars(&self) -> Vars {
        let mut vars = self.db.vars();
        for (name, value) in [
            ("KAFKA_BROKERS", self.brokers.as_str()),
            ("RESOURCE_PREFIX", &self.prefix),
            ("KAFKA_SESSION_TIMEOUT", "3s"),
            ("OUTBOX_ACK_TIMEOUT", "2s"),
            ("OUTBOX_REFUSED_RETRY", "500ms"),
            ("CONSUMER_RETRY_PAUSE", "20ms"),
        ] {
            vars.insert(name.to_owned(), value.to_owned());
        }
        vars
    }

    pub(crate) fn topic<E: Event>(&self) -> String {
        format!("{}{}", self.prefix, E::TOPIC)
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        self.db.connect().await
    }

    /// A replica of the service that runs what `tasks` spawns.
    pub(crate) async fn replica(&self, tasks: impl FnOnce(&mut Runtime, Db, Kafka)) -> Running {
        self.replica_with(self.vars(), tasks).await
    }

    pub(crate) async fn replica_with(
        &self,
        vars: Vars,
        tasks: impl FnOnce(&mut Runtime, Db, Kafka),
    ) -> Running {
        let start = async |rt: &mut Runtime, config: Config| {
            let (db, kafka) = connect(rt, config).await?;
            tasks(rt, db, kafka);
            Ok(())
        };
        platform_testkit::start("shop", start, vars).await
    }

    /// A replica that only sends.
    pub(crate) async fn relay(&self) -> Running {
        self.replica(spawn_relay).await
    }

    /// Whether nothing waits to be sent.
    pub(crate) async fn is_sent(&self, conn: &mut PgConnection) -> Option<()> {
        let first: Option<i64> = sqlx::query_scalar(
            "SELECT sequence FROM platform.outbox ORDER BY lane, sequence LIMIT 1",
        )
        .fetch_optional(conn)
        .await
        .unwrap();
        first.is_none().then_some(())
    }

    pub(crate) async fn until_sent(&self) {
        let mut conn = self.connect().await;
        let limit = Duration::from_secs(if full() { 900 } else { 60 });
        platform_testkit::until_within(limit, "the outbox to be empty", async || {
            self.is_sent(&mut conn).await
        })
        .await;
    }

    /// The whole topic, each partition in its order.
    pub(crate) async fn log<E: Event>(&self) -> Vec<OwnedMessage> {
        let (brokers, topic) = (self.brokers.clone(), self.topic::<E>());
        tokio::task::spawn_blocking(move || log(&brokers, &topic))
            .await
            .unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.spawn_deleting_topics().join();
    }
}

impl Bench {
    /// Everything in them is lost.
    pub(crate) async fn delete_topics(&self) {
        let deleting = self.spawn_deleting_topics();
        let deleted = tokio::task::spawn_blocking(|| deleting.join());
        deleted.await.unwrap().unwrap();
    }

    fn spawn_deleting_topics(&self) -> std::thread::JoinHandle<()> {
        let (brokers, prefix) = (self.brokers.clone(), self.prefix.clone());
        let topics: Vec<String> = ["events.thing", "events.other"]
            .iter()
            .map(|topic| format!("{prefix}{topic}"))
            .collect();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
                .set("bootstrap.servers", &brokers)
                .create()
                .unwrap();
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(3)));
            // Those that were never made are refused.
            let _ = runtime.block_on(admin.delete_topics(&topics, &options));
        })
    }
}

pub(crate) async fn connect(rt: &mut Runtime, config: Config) -> anyhow::Result<(Db, Kafka)> {
    let sealer = Sealer::new(&config.seal)?;
    let db = config.db.connect(rt, &sealer, MIGRATORS).await?;
    let kafka = config.kafka.connect(rt);
    Ok((db, kafka))
}

/// A consumer of everything that is counted.
pub(crate) fn recording(recorder: &Arc<Recorder>) -> Consumer {
    Consumer::new(recorder.reader, EVENTS).on::<ThingCounted>(recorder)
}

pub(crate) fn spawn_consumer(consumer: Consumer) -> impl FnOnce(&mut Runtime, Db, Kafka) {
    |rt, db, kafka| rt.spawn("consumer", |stop| consumer.run(db, kafka, stop))
}

pub(crate) fn spawn_relay(rt: &mut Runtime, db: Db, kafka: Kafka) {
    rt.spawn("outbox-relay", |stop| {
        platform_events::relay(db, kafka, stop)
    });
}

/// Raises a thing's version and says so, as services do it; answers the version.
pub(crate) async fn count(conn: &mut PgConnection, key: &str) -> i64 {
    let mut tx = conn.begin().await.unwrap();
    let version = count_in(&mut tx, key).await;
    tx.commit().await.unwrap();
    version
}

pub(crate) async fn count_in(tx: &mut PgConnection, key: &str) -> i64 {
    let version: i64 = sqlx::query_scalar(
        "INSERT INTO things (thing_id, version) VALUES ($1, 1)
         ON CONFLICT (thing_id) DO UPDATE SET version = things.version + 1
         RETURNING version",
    )
    .bind(key)
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    publish(tx, &counted(key, version), Actor::service("shop"))
        .await
        .unwrap();
    version
}

fn log(brokers: &str, topic: &str) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "checker")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let patience = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(topic), patience).unwrap();
    let mut list = TopicPartitionList::new();
    let mut missing = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = loop {
            // A topic that was made just now has no leader yet.
            if let Ok(found) = consumer.fetch_watermarks(topic, partition.id(), patience) {
                break found;
            }
        };
        missing += high - low;
        list.add_partition_offset(topic, partition.id(), Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut messages = Vec::new();
    while missing > 0 {
        let message = consumer.poll(patience).expect("the log has an end");
        messages.push(message.unwrap().detach());
        missing -= 1;
    }
    messages
}

/// A message as nobody's relay would send it.
pub(crate) struct Raw {
    pub(crate) key: String,
    pub(crate) headers: BTreeMap<&'static str, String>,
    pub(crate) payload: Vec<u8>,
}

impl Raw {
    /// An event in good order; a test then spoils it.
    pub(crate) fn good<E: Event>(event: &E) -> Raw {
        let headers = [
            ("ce_id", Uuid::now_v7().to_string()),
            ("ce_source", E::SOURCE.to_owned()),
            ("ce_specversion", "1.0".to_owned()),
            ("ce_type", E::NAME.to_owned()),
            ("ce_time", "2026-01-01T12:00:00.000000Z".to_owned()),
            ("ce_subject", event.key().to_owned()),
            ("ce_sequence", event.version().to_string()),
            ("ce_dataschema", E::SCHEMA.to_owned()),
            ("ce_actorkind", "nobody".to_owned()),
            ("content-type", "application/protobuf".to_owned()),
        ];
        Raw {
            key: event.key().to_owned(),
            headers: headers.into(),
            payload: event.encode_to_vec(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Raw {
        self.headers.insert(name, value.to_owned());
        self
    }
}

impl Bench {
    /// Sends messages past the outbox.
    pub(crate) async fn produce<E: Event>(&self, messages: Vec<Raw>) {
        let (brokers, topic) = (self.brokers.clone(), self.topic::<E>());
        let produce = move || {
            let producer: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", &brokers)
                .set("partitioner", "murmur2_random")
                .set("enable.idempotence", "true")
                .create()
                .unwrap();
            for message in &messages {
                let mut headers = OwnedHeaders::new();
                for (key, value) in &message.headers {
                    headers = headers.insert(Header {
                        key,
                        value: Some(value),
                    });
                }
                let record = BaseRecord::to(&topic)
                    .key(&message.key)
                    .payload(&message.payload)
                    .headers(headers);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            producer.flush(Duration::from_secs(60)).unwrap();
        };
        tokio::task::spawn_blocking(produce).await.unwrap();
    }

    /// Makes the topics before there is anybody to use them.
    pub(crate) async fn make_topics(&self) {
        let (made, is_made) = tokio::sync::oneshot::channel();
        let replica = self
            .replica(|rt, _, kafka| {
                rt.spawn("topics", |stop| async move {
                    platform_events::ensure_topics(&kafka, EVENTS, &stop).await?;
                    made.send(()).expect("the test waits");
                    stop.cancelled().await;
                    Ok(())
                });
            })
            .await;
        is_made.await.unwrap();
        replica.stop().await.unwrap();
    }

    /// Waits until a reader has recorded so many effects.
    pub(crate) async fn until_recorded(&self, reader: &str, count: usize) {
        let mut conn = self.connect().await;
        platform_testkit::until(&format!("{count} effects on {reader}"), async || {
            (effects(&mut conn, reader).await.len() >= count).then_some(())
        })
        .await;
    }
}

/// Key and version of each message, in the order of the log.
pub(crate) fn places(log: &[OwnedMessage]) -> Vec<(String, i64)> {
    log.iter()
        .map(|message| {
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            (
                key,
                header(message, "ce_sequence").unwrap().parse().unwrap(),
            )
        })
        .collect()
}

pub(crate) fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    let headers = message.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    Some(String::from_utf8(found.value?.to_vec()).unwrap())
}

/// The promise of the log: of each key, the first occurrences are the versions 1 to n in order.
/// Answers how many were repeats.
pub(crate) fn check_log(
    log: &[(String, i64)],
    expected: &BTreeMap<String, i64>,
) -> Result<usize, String> {
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    let mut repeats = 0;
    for (key, version) in log {
        let last = last.entry(key).or_default();
        match version - *last {
            1 => *last = *version,
            ..=0 => repeats += 1,
            _ => return Err(format!("{key}: {version} comes after {last}")),
        }
    }
    for (key, version) in expected {
        let last = last.get(key.as_str()).copied().unwrap_or_default();
        if last != *version {
            return Err(format!("{key}: ends with {last}, not {version}"));
        }
    }
    Ok(repeats)
}

/// The promise of the consumer: each version took effect once, in order.
pub(crate) fn check_effects(
    effects: &[(String, i64)],
    expected: &BTreeMap<String, i64>,
) -> Result<(), String> {
    match check_log(effects, expected)? {
        0 => Ok(()),
        repeats => Err(format!("{repeats} took effect again")),
    }
}

/// What things' versions should have led to.
pub(crate) async fn expected(conn: &mut PgConnection) -> BTreeMap<String, i64> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT thing_id, version FROM things")
        .fetch_all(conn)
        .await
        .unwrap();
    rows.into_iter().collect()
}

/// What [`Recorder`] has written, in its order.
pub(crate) async fn effects(conn: &mut PgConnection, reader: &str) -> Vec<(String, i64)> {
    sqlx::query_as("SELECT thing_id, version FROM effects WHERE reader = $1 ORDER BY number")
        .bind(reader)
        .fetch_all(conn)
        .await
        .unwrap()
}

/// A handler that writes down what it is given, and fails for what it is told to.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) reader: &'static str,
    /// Keys and versions that cannot be handled.
    pub(crate) poison: Arc<Mutex<Vec<(String, i64)>>>,
}

impl Recorder {
    pub(crate) fn new(reader: &'static str) -> Arc<Recorder> {
        Arc::new(Recorder {
            reader,
            poison: Arc::default(),
        })
    }

    pub(crate) fn poison(&self, key: &str, version: i64) {
        self.poison.lock().unwrap().push((key.to_owned(), version));
    }

    pub(crate) fn cure(&self) {
        self.poison.lock().unwrap().clear();
    }
}

impl platform_events::Handle<ThingCounted> for Recorder {
    async fn handle(
        &self,
        conn: &mut PgConnection,
        event: ThingCounted,
        _: &platform_events::Meta,
    ) -> anyhow::Result<()> {
        let place = (event.thing_id.clone(), event.version);
        sqlx::query(
            "INSERT INTO effects (reader, thing_id, version, note) VALUES ($1, $2, $3, $4)",
        )
        .bind(self.reader)
        .bind(event.thing_id)
        .bind(event.version)
        .bind(event.note)
        .execute(conn)
        .await?;
        anyhow::ensure!(!self.poison.lock().unwrap().contains(&place), "poisoned");
        Ok(())
    }
}
