//! The loop that reads, hands out, and tells the broker how far it is.

use std::time::Duration;

use anyhow::{anyhow, ensure};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use platform_db::Db;
use rdkafka::ClientContext;
use rdkafka::Message as _;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::statistics::{Partition, Statistics, Topic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::Consumer;
use super::keys::{Key, Keys, Taken};
use super::message::Message;
use super::offsets::Offsets;
use super::step::{Failure, Outcome};
use crate::metrics::{Consumed, Lag, Of};
use crate::parked::{self, Cause};
use crate::seldom::Seldom;
use crate::{Kafka, session, topics};

/// Database connections, and so transactions at once.
const CONNECTIONS: usize = 2;
/// Events in one transaction, all of different keys.
const BATCH_MAX: usize = 50;
/// What is read and not yet handled takes at most this much memory, and one fetch more.
const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;
const AWAY_PAUSE: Duration = Duration::from_millis(500);
const FATAL_PAUSE: Duration = Duration::from_secs(1);
const MEASURE_EVERY: Duration = Duration::from_secs(5);

impl Consumer {
    /// Consumes until `stop`, with Kafka and Postgres coming and going.
    pub async fn run(self, db: Db, kafka: Kafka, stop: CancellationToken) -> anyhow::Result<()> {
        let unknown = self.unknown();
        ensure!(unknown.is_empty(), "not in the contract: {unknown:?}");
        let topics: Vec<_> = self.topics().collect();
        ensure!(!topics.is_empty(), "{} handles no event", self.name);
        kafka.check_hears(&topics)?;
        if let Err(refused) = topics::ensure(&kafka, &topics, &stop).await {
            // Somebody else may make it later.
            error!("{refused}");
        }
        while !stop.is_cancelled() {
            let (sender, changes) = mpsc::unbounded_channel();
            let context = Context {
                kafka: kafka.clone(),
                consumer: self.name,
                topics: topics.clone(),
                changes: sender,
            };
            let config = kafka.consumer(self.name);
            let reader: StreamConsumer<Context> =
                StreamConsumer::from_config_and_context(&config, context)?;
            let names: Vec<String> = topics.iter().map(|topic| kafka.topic(topic)).collect();
            reader.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>())?;

            let ended = Session {
                consumer: &self,
                db: &db,
                kafka: &kafka,
                reader: &reader,
                topics: &topics,
                keys: Keys::default(),
                offsets: Offsets::default(),
                free: (0..CONNECTIONS).map(|_| None).collect(),
                running: FuturesUnordered::new(),
                waiting: FuturesUnordered::new(),
                paused: false,
                trouble: Seldom::default(),
                away: Seldom::default(),
            }
            .run(changes, &stop)
            .await;
            // It commits, and leaves the group so that others need not wait for it.
            let _ = tokio::task::spawn_blocking(move || drop(reader)).await;
            if let Err(fatal) = ended {
                error!("reading events begins anew: {fatal:#}");
                tokio::time::sleep(FATAL_PAUSE).await;
            }
        }
        Ok(())
    }
}

struct Session<'a> {
    consumer: &'a Consumer,
    db: &'a Db,
    kafka: &'a Kafka,
    reader: &'a StreamConsumer<Context>,
    topics: &'a [&'static str],
    keys: Keys,
    offsets: Offsets,
    /// One entry per transaction that could be running and is not.
    free: Vec<Option<PgConnection>>,
    running: FuturesUnordered<BoxFuture<'a, Done>>,
    /// Keys whose first event has failed, until it is tried again.
    waiting: FuturesUnordered<BoxFuture<'a, Key>>,
    paused: bool,
    trouble: Seldom,
    away: Seldom,
}

/// What a transaction has come to.
struct Done {
    conn: Option<PgConnection>,
    taken: Vec<Taken>,
    result: Result<Vec<Outcome>, Failed>,
}

enum Failed {
    /// The database is away; the events are not to blame.
    Away(String),
    Event(String),
}

impl Session<'_> {
    async fn run(
        mut self,
        mut changes: UnboundedReceiver<Change>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let reader = self.reader;
        let mut messages = reader.stream();
        let mut measure = tokio::time::interval(MEASURE_EVERY);
        loop {
            self.hand_out();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = self.running.next() => self.finish(done),
                Some(key) = self.waiting.next() => self.keys.ready(key),
                Some(change) = changes.recv() => self.follow(change)?,
                _ = measure.tick() => self.measure(),
                Some(message) = messages.next() => match message {
                    Ok(message) => {
                        // Told before the message was: it may be one of a partition that went and
                        // came back, and must not be forgotten with what was read of it before.
                        while let Ok(change) = changes.try_recv() {
                            self.follow(change)?;
                        }
                        self.read(&message);
                    }
                    Err(KafkaError::MessageConsumptionFatal(code)) => {
                        return Err(anyhow!("{code}"));
                    }
                    Err(error) => self
                        .trouble
                        .say(|| warn!("cannot read events: {error}; said once a minute")),
                },
            }
            self.hold_back()?;
        }
        while let Some(done) = self.running.next().await {
            self.finish(done);
        }
        Ok(())
    }

    fn read(&mut self, message: &rdkafka::message::BorrowedMessage<'_>) {
        let Some(topic) = self.plain(message.topic()) else {
            return;
        };
        self.offsets
            .read((topic, message.partition()), message.offset());
        self.keys.push(Message::new(topic, message));
    }

    fn plain(&self, name: &str) -> Option<&'static str> {
        let plain = self.kafka.plain_topic(name)?;
        self.topics.iter().copied().find(|topic| *topic == plain)
    }

    /// Gives what can be handled now to the connections that are free.
    fn hand_out(&mut self) {
        while self.keys.ready_count() > 0
            && let Some(conn) = self.free.pop()
        {
            // Leaves something for the other connections.
            let share = self.keys.ready_count() / (self.free.len() + 1);
            let taken = self.keys.take(share.clamp(1, BATCH_MAX));
            if taken.is_empty() {
                self.free.push(conn);
                return;
            }
            let work = work(self.consumer, self.db, self.kafka, conn, taken);
            self.running.push(Box::pin(work));
        }
    }

    fn finish(&mut self, done: Done) {
        self.free.push(done.conn);
        match done.result {
            Ok(outcomes) => {
                if !outcomes.is_empty() && self.away.over() {
                    info!("events are handled again");
                }
                for (taken, outcome) in done.taken.iter().zip(outcomes) {
                    let message = &taken.message;
                    self.tell(message, &outcome);
                    self.offsets
                        .done((message.topic, message.partition), message.offset);
                    self.keys.done(&message.order());
                }
                self.store();
            }
            Err(Failed::Away(reason)) => {
                self.away
                    .say(|| warn!("events wait for the database: {reason}; said once a minute"));
                for taken in done.taken {
                    self.keys.ready(taken.message.order());
                }
            }
            Err(Failed::Event(reason)) => match done.taken.as_slice() {
                [taken] => self.retry(taken, reason),
                several => {
                    for taken in several {
                        let key = taken.message.order();
                        if let Some(item) = self.keys.first(&key) {
                            item.alone = true;
                        }
                        self.keys.ready(key);
                    }
                }
            },
        }
    }

    /// The event is tried again later, while the other keys go on; or parked.
    fn retry(&mut self, taken: &Taken, reason: String) {
        let args = &self.kafka.args;
        let key = taken.message.order();
        let Some(item) = self.keys.first(&key) else {
            return;
        };
        item.alone = true;
        item.tries += 1;
        let of = Of {
            consumer: self.consumer.name,
        };
        self.kafka.metrics.retried.get_or_create(&of).inc();
        if item.tries >= args.consumer_tries_max {
            item.given_up = Some(reason);
            return self.keys.ready(key);
        }
        let pause = args.consumer_retry_pause * 2_u32.saturating_pow(item.tries - 1);
        warn!(
            topic = taken.message.topic,
            partition = taken.message.partition,
            offset = taken.message.offset,
            "an event has failed and is tried again in {pause:?}: {reason}"
        );
        self.waiting.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            key
        }));
    }

    fn tell(&self, message: &Message, outcome: &Outcome) {
        let consumed = Consumed {
            consumer: self.consumer.name,
            topic: message.topic,
            outcome: outcome.word(),
        };
        let metrics = &self.kafka.metrics;
        metrics.consumed.get_or_create(&consumed).inc();
        let Outcome::Parked(cause, detail) = outcome else {
            return;
        };
        let of = Of {
            consumer: self.consumer.name,
        };
        metrics.parked.get_or_create(&of).inc();
        if *cause == Cause::Behind {
            return debug!("parked an event behind another of its key");
        }
        if *cause == Cause::Hole {
            metrics.holes.get_or_create(&of).inc();
        }
        error!(
            topic = message.topic,
            partition = message.partition,
            offset = message.offset,
            "parked an event ({cause}): {detail}"
        );
    }

    /// Lets librdkafka know what it may commit.
    fn store(&mut self) {
        let changed = self.offsets.changed();
        if changed.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(changed.len());
        for ((topic, partition), position) in changed {
            let topic = self.kafka.topic(topic);
            // Cannot fail: the offset is one that was read.
            let _ = list.add_partition_offset(&topic, partition, Offset::Offset(position));
        }
        if let Err(error) = self.reader.store_offsets(&list) {
            // Their new owner reads them again and finds them done.
            debug!("partitions are others' by now: {error}");
        }
    }

    fn follow(&mut self, change: Change) -> Result<(), KafkaError> {
        match change {
            Change::Assigned(partitions) => {
                info!(count = partitions, "partitions are read here");
                // One that left while it was paused is still paused when it comes back.
                self.set_paused(self.paused)?;
            }
            Change::Revoked(partitions) => {
                info!(count = partitions.len(), "partitions are read elsewhere");
                for (name, partition) in partitions {
                    if let Some(topic) = self.plain(&name) {
                        self.offsets.forget((topic, partition));
                    }
                }
            }
        }
        Ok(())
    }

    /// Stops reading while too much waits, without leaving the group.
    fn hold_back(&mut self) -> Result<(), KafkaError> {
        let max = self.kafka.args.consumer_backlog_max;
        let (count, bytes) = (self.keys.count(), self.keys.bytes());
        if !self.paused && (count >= max || bytes >= BACKLOG_BYTES_MAX) {
            self.set_paused(true)?;
        } else if self.paused && count <= max / 2 && bytes <= BACKLOG_BYTES_MAX / 2 {
            self.set_paused(false)?;
        }
        Ok(())
    }

    /// For all partitions that are read here now.
    fn set_paused(&mut self, paused: bool) -> Result<(), KafkaError> {
        let partitions = self.reader.assignment()?;
        match paused {
            true => self.reader.pause(&partitions)?,
            false => self.reader.resume(&partitions)?,
        }
        self.paused = paused;
        Ok(())
    }

    /// Counts what is parked, which may have been changed by others.
    fn measure(&mut self) {
        let Some(conn) = self.free.pop() else { return };
        let (consumer, db, kafka) = (self.consumer.name, self.db, self.kafka);
        self.running.push(Box::pin(async move {
            let mut conn = match conn {
                Some(conn) => Some(conn),
                None => open(db, kafka).await.ok(),
            };
            if let Some(open) = &mut conn {
                let of = Of { consumer };
                match parked::count(open, consumer).await {
                    Ok(count) => drop(kafka.metrics.parked.get_or_create(&of).set(count)),
                    Err(_) => conn = None,
                }
            }
            Done {
                conn,
                taken: Vec::new(),
                result: Ok(Vec::new()),
            }
        }));
    }
}

async fn open(db: &Db, kafka: &Kafka) -> sqlx::Result<PgConnection> {
    let idle_max = kafka.args.consumer_handle_timeout + Duration::from_secs(5);
    session::connect(db, "consumer", idle_max).await
}

/// Handles events in one transaction, with a connection made if there is none.
async fn work(
    consumer: &Consumer,
    db: &Db,
    kafka: &Kafka,
    conn: Option<PgConnection>,
    taken: Vec<Taken>,
) -> Done {
    let mut conn = match conn {
        Some(conn) => conn,
        None => match open(db, kafka).await {
            Ok(conn) => conn,
            Err(error) => return away(None, taken, error.to_string()).await,
        },
    };
    let failure = match carry_out(consumer, kafka, &mut conn, &taken).await {
        Ok(outcomes) => {
            return Done {
                conn: Some(conn),
                taken,
                result: Ok(outcomes),
            };
        }
        Err(failure) => failure,
    };
    let reason = failure.to_string();
    if let Failure::CutOff(_) = failure {
        // What still runs for it ends with the connection.
        let _ = conn.close_hard().await;
        return Done {
            conn: None,
            taken,
            result: Err(Failed::Event(reason)),
        };
    }
    // Whether the event or the database is to blame, the connection knows: this also rolls back.
    if conn.ping().await.is_err() {
        return away(None, taken, reason).await;
    }
    let given_up = taken.iter().any(|taken| taken.given_up.is_some());
    if given_up {
        // Not even parking works.
        return away(Some(conn), taken, reason).await;
    }
    Done {
        conn: Some(conn),
        taken,
        result: Err(Failed::Event(reason)),
    }
}

async fn carry_out(
    consumer: &Consumer,
    kafka: &Kafka,
    conn: &mut PgConnection,
    taken: &[Taken],
) -> Result<Vec<Outcome>, Failure> {
    let (limit, metrics) = (kafka.args.consumer_handle_timeout, &kafka.metrics);
    let mut tx = conn.begin().await?;
    let mut outcomes = Vec::with_capacity(taken.len());
    for Taken { message, given_up } in taken {
        outcomes.push(match given_up {
            None => consumer.step(&mut tx, message, limit, metrics).await?,
            Some(reason) => consumer.give_up(&mut tx, message, reason, metrics).await?,
        });
    }
    tx.commit().await?;
    Ok(outcomes)
}

/// The connection's place is kept for a while, so that nobody else tries meanwhile.
async fn away(conn: Option<PgConnection>, taken: Vec<Taken>, reason: String) -> Done {
    tokio::time::sleep(AWAY_PAUSE).await;
    Done {
        conn,
        taken,
        result: Err(Failed::Away(reason)),
    }
}

/// Hears of partitions that come and go, and how far behind they are.
struct Context {
    kafka: Kafka,
    consumer: &'static str,
    topics: Vec<&'static str>,
    changes: UnboundedSender<Change>,
}

enum Change {
    Assigned(usize),
    Revoked(Vec<(String, i32)>),
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.kafka.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.kafka.voice.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        for topic in &self.topics {
            let lag = Lag {
                consumer: self.consumer,
                topic,
            };
            let found = statistics.topics.get(&self.kafka.topic(topic));
            let count = found.map_or(0, behind);
            self.kafka.metrics.lag.get_or_create(&lag).set(count);
        }
    }
}

/// Events in the partitions that are read here, after the last that took effect; what nobody knows
/// counts as none.
fn behind(topic: &Topic) -> i64 {
    let read_here = |partition: &&Partition| partition.fetch_state == "active";
    let partitions = topic.partitions.values().filter(read_here);
    let counts = partitions.map(|partition| match partition.consumer_lag_stored {
        -1 => partition.consumer_lag.max(0),
        stored => stored,
    });
    counts.sum()
}

impl ConsumerContext for Context {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let change = match rebalance {
            Rebalance::Assign(list) => Change::Assigned(list.count()),
            Rebalance::Revoke(list) => Change::Revoked(
                list.elements()
                    .iter()
                    .map(|element| (element.topic().to_owned(), element.partition()))
                    .collect(),
            ),
            Rebalance::Error(error) => {
                return warn!("partitions cannot be shared out: {error}");
            }
        };
        // Nobody listens any more only while the reader is being closed.
        let _ = self.changes.send(change);
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _: &TopicPartitionList) {
        if let Err(error) = result {
            debug!("positions were not taken: {error}");
        }
    }
}
