//! Feeds that a client takes up again where it left: how things are, then each change, with
//! cursors.
//!
//! Listening begins before the snapshot is read, and the snapshot is read where changes are made,
//! so that what happens meanwhile is in one of both; versions tell in which. A cursor is good at
//! every replica that has read as far in the log and still keeps what came since. Where none of
//! that helps, or a version is missing, there is a new snapshot, and it says so.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use clap::Args;
use futures_util::{Stream, stream};
use platform::config::duration;
use platform::deadline;
use platform::error::Refusal;
use platform::sealed::Sealer;
use platform_contract::PlatformReason;
use platform_events::Broadcast;
use platform_events::broadcast::{Place, Received, Subscription, Window};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::admission::Turn;

/// What cursors are sealed for; a change of [`Cursor`] needs another number.
const PURPOSE: &str = "feed-cursor/1";
/// How long a replica may be behind a cursor before a snapshot is the better answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a replica may be behind the log before a feed begins all the same.
const START_TIME_MAX: Duration = Duration::from_secs(2);
const SNAPSHOT_TIME_MAX: Duration = Duration::from_secs(10);

/// How much of the past can be taken up again.
#[derive(Args, Clone, Debug)]
pub struct FeedArgs {
    /// How long the changes of a feed are kept for clients that come back.
    #[arg(env = "FEED_WINDOW_AGE", default_value = "10m", value_parser = duration)]
    pub feed_window_age: Duration,

    /// Bytes of changes kept for each topic; the oldest go first.
    #[arg(env = "FEED_WINDOW_BYTES", default_value_t = 32 << 20)]
    pub feed_window_bytes: usize,
}

impl FeedArgs {
    /// For the reader of a topic.
    pub fn window(&self) -> Window {
        Window {
            age: self.feed_window_age,
            bytes: self.feed_window_bytes,
        }
    }
}

/// What a client follows: its arguments, on its behalf.
pub trait Follow: Send + 'static {
    /// The content of a message.
    type Item: Send;
    /// What [`Follow::change`] must know of the messages before; travels in the cursor.
    type State: Serialize + DeserializeOwned + Send;

    /// Tells feeds apart: field, arguments, and who asks where that matters. A cursor of another
    /// name leads to a reset.
    fn name(&self) -> String;

    /// The key of the topic that alone is followed, if it is one.
    fn key(&self) -> Option<&str>;

    /// How things are, with the version of the key; read where changes are made.
    fn snapshot(&mut self) -> impl Future<Output = Result<(i64, Self::Item), Status>> + Send;

    /// What the client is told of an event, if anything.
    fn change(&mut self, event: &Received) -> Result<Option<Self::Item>, Status>;

    /// For the next cursor.
    fn state(&self) -> Self::State;

    /// From a cursor, before the first change after it.
    fn restore(&mut self, state: Self::State);
}

/// One message of a feed.
#[derive(Debug)]
pub struct Message<T> {
    /// What is told.
    pub content: T,
    /// Where the feed can be taken up again.
    pub cursor: String,
    /// The cursor that was given could not be taken up, or changes were missed: this is how things
    /// are now.
    pub reset: bool,
}

/// A topic that clients follow; cheap to clone.
#[derive(Clone)]
pub struct Topic {
    broadcast: Broadcast,
    sealer: Sealer,
}

impl Topic {
    /// Feeds from what `broadcast` hears, which has one topic. The sealer is the same for all
    /// replicas.
    pub fn new(broadcast: Broadcast, sealer: Sealer) -> Topic {
        Topic { broadcast, sealer }
    }

    /// Begins with a snapshot, or after a cursor. Ends after an error. The turn is over when it is
    /// known where the feed begins, for behind a cursor there may be nothing to tell for days.
    ///
    /// Fails with INVALID_ARGUMENT `CURSOR_INVALID` for what is no cursor, and as the snapshot
    /// does.
    pub fn follow<F: Follow>(
        &self,
        what: F,
        after: Option<String>,
        turn: Turn,
    ) -> impl Stream<Item = Result<Message<F::Item>, Status>> + Send + use<F> {
        let feed = Feed {
            topic: self.clone(),
            what,
            turn,
            stage: Stage::Begin(after),
            version: 0,
        };
        stream::unfold(feed, async |mut feed| {
            let message = feed.next().await?;
            Some((message, feed))
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Cursor<S> {
    /// Of the name of the feed.
    of: u64,
    place: Place,
    /// Of the key, if the feed has one.
    version: i64,
    state: S,
}

struct Feed<F> {
    topic: Topic,
    what: F,
    turn: Turn,
    stage: Stage,
    /// Of the key, as the client knows it.
    version: i64,
}

enum Stage {
    Begin(Option<String>),
    Follows(Subscription),
    Over,
}

impl<F: Follow> Feed<F> {
    async fn next(&mut self) -> Option<Result<Message<F::Item>, Status>> {
        let message = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Begin(None) => self.begin(false).await,
            Stage::Begin(Some(after)) => match self.take_up(&after).await {
                Ok(Some(subscription)) => {
                    self.turn.end();
                    self.go_on(subscription).await
                }
                Ok(None) => self.begin(true).await,
                Err(status) => Err(status),
            },
            Stage::Follows(subscription) => self.go_on(subscription).await,
            Stage::Over => return None,
        };
        Some(message)
    }

    /// A snapshot, and what comes after it.
    async fn begin(&mut self, reset: bool) -> Result<Message<F::Item>, Status> {
        let broadcast = &self.topic.broadcast;
        // What a replica that was just started still has to read is not new, and a place before
        // that is of no use. Without the broker it is not waited for.
        let _ = tokio::time::timeout(START_TIME_MAX, broadcast.caught_up()).await;
        let subscription = match self.what.key() {
            Some(key) => broadcast.follow(key),
            None => broadcast.subscribe_to_new(),
        };
        let work = deadline::scope(SNAPSHOT_TIME_MAX, self.what.snapshot());
        let (version, content) = tokio::time::timeout(SNAPSHOT_TIME_MAX, work)
            .await
            .map_err(|_| Refusal::new(PlatformReason::DeadlinePassed, "no snapshot in time"))??;
        self.version = version;
        Ok(self.message(subscription, content, reset))
    }

    /// What came after the cursor; `None` if that can no longer be told.
    async fn take_up(&mut self, after: &str) -> Result<Option<Subscription>, Status> {
        let invalid = || Refusal::new(PlatformReason::CursorInvalid, "`after` is no cursor");
        let sealer = &self.topic.sealer;
        let plain = sealer.open(PURPOSE, after).map_err(|_| invalid())?;
        let cursor: Cursor<serde_json::Value> =
            serde_json::from_slice(&plain).map_err(|_| invalid())?;
        if cursor.of != fingerprint(&self.what.name()) {
            return Ok(None);
        }
        let state = serde_json::from_value(cursor.state).map_err(|_| invalid())?;
        let broadcast = &self.topic.broadcast;
        let resumed = broadcast.resume(&cursor.place, self.what.key(), PATIENCE);
        let Ok(subscription) = resumed.await else {
            return Ok(None);
        };
        self.version = cursor.version;
        self.what.restore(state);
        Ok(Some(subscription))
    }

    async fn go_on(&mut self, mut subscription: Subscription) -> Result<Message<F::Item>, Status> {
        loop {
            let Ok(event) = subscription.next().await else {
                return self.begin(true).await;
            };
            if self.what.key().is_some() {
                match event.meta.version - self.version {
                    ..=0 => continue,
                    1 => self.version += 1,
                    _ => return self.begin(true).await,
                }
            }
            if let Some(content) = self.what.change(&event)? {
                return Ok(self.message(subscription, content, false));
            }
        }
    }

    fn message(
        &mut self,
        subscription: Subscription,
        content: F::Item,
        reset: bool,
    ) -> Message<F::Item> {
        let cursor = Cursor {
            of: fingerprint(&self.what.name()),
            place: subscription.place(),
            version: self.version,
            state: self.what.state(),
        };
        let plain = serde_json::to_vec(&cursor).expect("numbers and text are JSON");
        self.stage = Stage::Follows(subscription);
        Message {
            content,
            cursor: self.topic.sealer.seal(PURPOSE, &plain),
            reset,
        }
    }
}

fn fingerprint(name: &str) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest(&SHA256, name.as_bytes()).as_ref()[..8]);
    u64::from_be_bytes(first)
}
