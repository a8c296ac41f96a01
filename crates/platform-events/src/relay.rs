//! Carries events from the outbox to Kafka.
//!
//! A worker takes a lane by the lock of its row (with a backlog, those related to it as well), reads
//! a batch by sequence, sends it, waits until it is acknowledged, deletes it and commits. The lock
//! is the lease: a crash frees it at once, a stall when Postgres ends the idle transaction. Nothing
//! is remembered between batches. What that gives is in the README.

mod lane;
mod producer;
mod topics;
mod waves;

use std::collections::HashSet;
use std::time::Duration;

use platform_db::Db;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::metrics::Topic;
use crate::seldom::Seldom;
use crate::{Kafka, outbox, session, spans};
use lane::Refusal;
use producer::Producer;
use topics::Topics;
use waves::waves;

pub(crate) use lane::Row;
pub(crate) use producer::Failure;

/// Each with a database connection and a producer of its own.
const WORKERS: usize = 2;
const MEASURE_EVERY: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A publisher pokes before it commits, so the first looks after that come quickly.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);

/// Sends what is published, until `stop`. Every replica of a service runs it, since each of them
/// may publish; any number may run.
pub async fn relay(db: Db, kafka: Kafka, stop: CancellationToken) -> anyhow::Result<()> {
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        let worker = Worker {
            db: db.clone(),
            kafka: kafka.clone(),
            pokes: outbox::pokes(),
            producer: None,
            conn: None,
            topics: Topics::default(),
            suspects: HashSet::new(),
            busy: false,
            measures: number == 0,
            measured: None,
            trouble: Seldom::default(),
        };
        workers.spawn(worker.run(stop.clone()));
    }
    while let Some(ended) = workers.join_next().await {
        ended?;
    }
    Ok(())
}

struct Worker {
    db: Db,
    kafka: Kafka,
    pokes: watch::Receiver<()>,
    /// Before the connection, since that one holds the lane: when the relay is cut off, nothing
    /// may be on its way any more once the lane is free.
    producer: Option<Producer>,
    conn: Option<PgConnection>,
    topics: Topics,
    /// Sequences of events one of which the broker has refused.
    suspects: HashSet<i64>,
    /// Whether the last round had something to do.
    busy: bool,
    measures: bool,
    measured: Option<Instant>,
    trouble: Seldom,
}

/// What a round has come to.
enum Round {
    /// There may be more.
    Busy,
    Idle,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the database: {0}")]
    Db(#[from] sqlx::Error),
    #[error("Kafka: {0}")]
    Kafka(String),
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) {
        let mut wait = self.kafka.args.outbox_poll;
        let mut backoff = BACKOFF_MIN;
        while !stop.is_cancelled() {
            let round = self.round().await;
            self.busy = matches!(round, Ok(Round::Busy));
            match round {
                Ok(round) => {
                    backoff = BACKOFF_MIN;
                    if self.trouble.over() {
                        info!("events are sent again");
                    }
                    match round {
                        Round::Busy => wait = LOOK_AGAIN_MIN,
                        Round::Idle => wait = self.rest(wait, &stop).await,
                    }
                }
                Err(trouble) => {
                    self.trouble
                        .say(|| warn!("events are not sent: {trouble}; said once a minute"));
                    self.kafka.metrics.failed.inc();
                    self.give_up().await;
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(jittered(backoff)) => {}
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
        self.give_up().await;
    }

    /// Waits for a poke, or for as long as `wait` says; answers how long to wait the next time.
    async fn rest(&mut self, wait: Duration, stop: &CancellationToken) -> Duration {
        tokio::select! {
            () = stop.cancelled() => wait,
            () = tokio::time::sleep(wait) => (wait * 2).min(self.kafka.args.outbox_poll),
            _ = self.pokes.changed() => {
                // The transaction has yet to commit, and several pokes are one.
                tokio::time::sleep(LOOK_AGAIN_MIN).await;
                LOOK_AGAIN_MIN
            }
        }
    }

    /// Ends what may be under way, the producer before the transaction that holds the lane.
    async fn give_up(&mut self) {
        // They may be the trouble.
        self.topics.look_again();
        if let Some(producer) = self.producer.take() {
            producer.destroy().await;
        }
        if let Some(conn) = self.conn.take() {
            let _ = conn.close_hard().await;
        }
    }

    /// One batch. After an error everything must be given up.
    async fn round(&mut self) -> Result<Round, Trouble> {
        let now = platform::time::now();
        if self.conn.is_none() {
            // Beyond the wait for acknowledgements there must be room for the end of a producer.
            let idle_max = self.kafka.args.outbox_ack_timeout * 2 + Duration::from_secs(1);
            self.conn = Some(session::connect(&self.db, "outbox-relay", idle_max).await?);
        }
        let conn = self.conn.as_mut().expect("made above");
        if self.measures && self.measured.is_none_or(|at| at.elapsed() > MEASURE_EVERY) {
            let (waiting, age, held) = lane::measure(conn, now).await?;
            self.kafka.metrics.outbox.set(waiting);
            self.kafka.metrics.outbox_age.set(age.as_secs_f64());
            self.kafka.metrics.held.set(held);
            self.measured = Some(Instant::now());
        }
        if !self.busy && !lane::any(conn, now).await? {
            return Ok(Round::Idle);
        }
        // Before a lane is taken: nobody holds one in order to wait for a broker.
        if self.producer.is_none() {
            let connected = Producer::connect(&self.kafka).await;
            self.producer = Some(connected.map_err(Trouble::Kafka)?);
        }

        let mut tx = conn.begin().await?;
        let Some((lane, due)) = lane::take(&mut tx, now).await? else {
            tx.rollback().await?;
            return Ok(Round::Idle);
        };
        if due {
            lane::release(&mut tx, lane, now).await?;
        }
        let rows_max = self.kafka.args.outbox_batch_max;
        let mut rows = lane::read(&mut tx, lane, rows_max).await?;
        if rows.len() == rows_max {
            for lane in lane::take_related(&mut tx, lane).await? {
                rows.extend(lane::read(&mut tx, lane, rows_max).await?);
            }
        }
        let missing = self.topics.missing(&rows);
        if !missing.is_empty() {
            tx.rollback().await?;
            self.topics.find(&self.kafka, missing).await?;
            return Ok(Round::Busy);
        }

        // What waits behind a held event is held, and so is what has no topic.
        let behind: Vec<&Row> = rows.iter().filter(|row| row.behind).collect();
        lane::hold(&mut tx, &behind, None).await?;
        for (topic, cause) in self.topics.refused() {
            let of_topic = |row: &&Row| !row.behind && row.topic == topic;
            let of_topic: Vec<&Row> = rows.iter().filter(of_topic).collect();
            let refusal = refusal(&self.kafka, cause.to_owned());
            lane::hold(&mut tx, &of_topic, Some(&refusal)).await?;
        }
        let there = |row: &&Row| !row.behind && self.topics.there(&row.topic);
        let batch: Vec<&Row> = rows.iter().filter(there).collect();

        let waves = waves(&batch, &self.suspects);
        let producer = self.producer.as_ref().expect("made above");
        let (sent, failed) = send(producer, &self.kafka, &waves).await;
        if failed.is_some()
            && let Some(producer) = self.producer.take()
        {
            // Before the lane is given up, and before what was refused is put aside.
            producer.destroy().await;
        }
        lane::delete(&mut tx, &sent).await?;
        for row in sent {
            self.suspects.remove(&row.sequence);
        }
        let failed = match failed {
            Some((Failure::Refused(code), wave)) => match wave.as_slice() {
                [row] => {
                    let refusal = refusal(&self.kafka, code.to_string());
                    lane::hold(&mut tx, &[row], Some(&refusal)).await?;
                    self.suspects.remove(&row.sequence);
                    tell_refused(&self.kafka, row, code);
                    None
                }
                several => {
                    self.suspects = several.iter().map(|row| row.sequence).collect();
                    Some(format!(
                        "one of {} events is refused: {code}",
                        several.len()
                    ))
                }
            },
            Some((Failure::Passing(reason), _)) => Some(reason),
            None => None,
        };
        tx.commit().await?;
        match failed {
            None => Ok(Round::Busy),
            Some(reason) => Err(Trouble::Kafka(reason)),
        }
    }
}

/// Offered again after a while.
fn refusal(kafka: &Kafka, cause: String) -> Refusal {
    Refusal {
        cause,
        retry_at: platform::time::now() + kafka.args.outbox_refused_retry,
    }
}

fn tell_refused(kafka: &Kafka, row: &Row, code: impl std::fmt::Display) {
    let (event, every) = (&row.event, kafka.args.outbox_refused_retry);
    error!(
        event.id = %event.id,
        "the broker refuses {} version {} of {}: {code}; it is held, and so are the later ones of \
         its key, and offered again every {every:?}",
        event.name, event.version, event.key,
    );
}

/// Sends wave after wave; answers what was acknowledged, and what was not, if that was not for
/// want of time.
async fn send<'a, 'w>(
    producer: &Producer,
    kafka: &Kafka,
    waves: &'w [Vec<&'a Row>],
) -> (Vec<&'a Row>, Option<(Failure, &'w Vec<&'a Row>)>) {
    let (began, limit) = (Instant::now(), kafka.args.outbox_ack_timeout);
    let mut sent: Vec<&Row> = Vec::new();
    for wave in waves {
        // What is acknowledged need not be sent again because of what is not.
        if began.elapsed() > limit / 2 {
            break;
        }
        let spans = spans::send(wave);
        let outcome = producer.send(kafka, wave, began + limit).await;
        spans::sent(spans, &outcome);
        if let Err(failure) = outcome {
            return (sent, Some((failure, wave)));
        }
        for row in wave {
            let topic = Topic {
                topic: row.topic.clone(),
            };
            kafka.metrics.sent.get_or_create(&topic).inc();
        }
        sent.extend(wave);
    }
    (sent, None)
}

fn jittered(pause: Duration) -> Duration {
    // The low bits of such an id are random.
    let random = Uuid::now_v7().as_u128() as u8;
    pause * (128 + u32::from(random)) / 256
}
