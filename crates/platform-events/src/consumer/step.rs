//! What one event comes to, in the transaction that records it as seen.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::anyhow;
use futures_util::FutureExt;
use sqlx::PgConnection;
use tokio::time::Instant;

use super::Consumer;
use super::message::{Message, NotLetIn};
use crate::envelope::Meta;
use crate::inbox::{self, Claim};
use crate::metrics::{Metrics, Processed};
use crate::parked::{self, Cause};
use crate::spans;

/// What became of an event.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It has taken effect.
    Handled,
    /// It has raised the version of its key; nobody here is interested in more.
    Ignored,
    /// It came before.
    Repeated,
    Parked(Cause, String),
}

impl Outcome {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Outcome::Handled => "handled",
            Outcome::Ignored => "ignored",
            Outcome::Repeated => "repeated",
            Outcome::Parked(cause, _) => cause.word(),
        }
    }
}

/// Why an event came to nothing this time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the database: {0}")]
    Db(#[from] sqlx::Error),
    #[error("{0:#}")]
    Handler(anyhow::Error),
    /// A statement may still be running.
    #[error("{0:#}")]
    CutOff(anyhow::Error),
}

impl Failure {
    /// For spans.
    fn word(&self) -> Cow<'static, str> {
        match self {
            Failure::Db(error) => platform_db::error::word(error),
            Failure::Handler(_) => Cow::Borrowed("handler_failed"),
            Failure::CutOff(_) => Cow::Borrowed("cut_off"),
        }
    }
}

impl Consumer {
    /// Carries out what an event means, in a transaction that the caller commits; one span and one
    /// measurement for each try.
    pub(super) async fn step(
        &self,
        tx: &mut PgConnection,
        message: &Message,
        limit: Duration,
        metrics: &Metrics,
    ) -> Result<Outcome, Failure> {
        let meta = match message.judge(self.contract) {
            Ok(meta) => meta,
            Err(NotLetIn {
                version,
                cause,
                detail,
            }) => return self.park(tx, message, version, cause, detail).await,
        };
        let (span, began) = (spans::process(self.name, &meta), Instant::now());
        let taken_in = self.take_in(tx, message, &meta, limit);
        let result = platform::trace::scope(meta.trace, taken_in).await;
        let processed = Processed {
            consumer: self.name,
            topic: meta.event.topic,
            event: meta.event.name,
            outcome: result.as_ref().map_or("failed", Outcome::word),
        };
        let seconds = began.elapsed().as_secs_f64();
        metrics.processed.observe(&processed, seconds, &span);
        match &result {
            Ok(Outcome::Parked(cause, _)) => span.fail(cause.word()),
            _ => span.close(&result, Failure::word),
        }
        result
    }

    /// An event that is one of ours, if it is its turn.
    async fn take_in(
        &self,
        tx: &mut PgConnection,
        message: &Message,
        meta: &Meta,
        limit: Duration,
    ) -> Result<Outcome, Failure> {
        let (topic, version) = (meta.event.topic, meta.version);
        match inbox::claim(tx, self.name, topic, &meta.key, version, self.complete).await? {
            Claim::Next => match self.handle(tx, message, meta, limit).await? {
                Ok(outcome) => Ok(outcome),
                Err(detail) => {
                    // Parked, it does not count as seen.
                    inbox::unclaim(tx, self.name, topic, &meta.key, version).await?;
                    let cause = Cause::Undecodable;
                    self.park(tx, message, Some(version), cause, detail).await
                }
            },
            Claim::Repeated => Ok(Outcome::Repeated),
            Claim::Behind => {
                let detail = "an earlier event of its key is parked".to_owned();
                self.park(tx, message, Some(version), Cause::Behind, detail)
                    .await
            }
            Claim::Hole { last } => {
                let detail = format!("version {version} follows version {last}");
                self.park(tx, message, Some(version), Cause::Hole, detail)
                    .await
            }
        }
    }

    /// Calls the handler, if there is one; `Ok(Err(..))` for what it cannot be given.
    pub(super) async fn handle(
        &self,
        tx: &mut PgConnection,
        message: &Message,
        meta: &Meta,
        limit: Duration,
    ) -> Result<Result<Outcome, String>, Failure> {
        let Some(handler) = self.handlers.get(meta.event.name) else {
            return Ok(Ok(Outcome::Ignored));
        };
        let handling = match handler.begin(tx, &message.payload, meta) {
            Ok(handling) => handling,
            Err(detail) => return Ok(Err(detail)),
        };
        let handling = platform::trace::scope(meta.trace, handling);
        let handling = platform::deadline::scope(limit, handling);
        let handling = AssertUnwindSafe(handling).catch_unwind();
        match tokio::time::timeout(limit, handling).await {
            Ok(Ok(Ok(()))) => Ok(Ok(Outcome::Handled)),
            Ok(Ok(Err(error))) => Err(Failure::Handler(error)),
            Ok(Err(_)) => Err(Failure::CutOff(anyhow!("the handler panicked"))),
            Err(_) => Err(Failure::CutOff(anyhow!("not handled within {limit:?}"))),
        }
    }

    /// Parks an event that has failed as often as it may.
    pub(super) async fn give_up(
        &self,
        tx: &mut PgConnection,
        message: &Message,
        reason: &str,
        metrics: &Metrics,
    ) -> Result<Outcome, Failure> {
        match message.judge(self.contract) {
            Ok(meta) => {
                let (version, detail) = (Some(meta.version), reason.to_owned());
                self.park(tx, message, version, Cause::Failed, detail).await
            }
            // Then it was the database that failed.
            Err(_) => self.step(tx, message, Duration::MAX, metrics).await,
        }
    }

    async fn park(
        &self,
        tx: &mut PgConnection,
        message: &Message,
        version: Option<i64>,
        cause: Cause,
        detail: String,
    ) -> Result<Outcome, Failure> {
        let event = message.park(self.name, version, cause, detail);
        Ok(match parked::park(tx, &event).await? {
            true => Outcome::Parked(cause, event.detail),
            false => Outcome::Repeated,
        })
    }
}
