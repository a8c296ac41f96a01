//! Parked events, tried again in order.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tracing::warn;
use uuid::Uuid;

use super::Consumer;
use super::message::Message;
use super::step::{Failure, Outcome};
use crate::inbox;
use crate::parked::{self, Cause, Filter, Parked};

const HANDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// What trying parked events again has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Events that have taken effect.
    pub handled: u64,
    /// Events that are still parked, and the reason; their followers are, too.
    pub failed: Vec<(Uuid, String)>,
}

/// What the first parked event of a key has come to.
enum First {
    None,
    Handled,
    Failed(Uuid, String),
}

impl Consumer {
    /// Tries parked events again: the keys that the filter is about, each from its first parked
    /// event until one fails again. With [`Filter::id`] it is that event alone, and only if it is
    /// the first of its key.
    ///
    /// An event that is parked because others before it are missing is handled: that the
    /// consumer goes on without them is for the caller to decide. One without a place in the
    /// order of its key stays.
    ///
    /// Works beside the running consumer, whose new events wait behind those that are parked.
    pub async fn redrive(
        &self,
        conn: &mut PgConnection,
        filter: &Filter,
    ) -> sqlx::Result<Redriven> {
        let mut redriven = Redriven::default();
        for (topic, key) in parked::keys(conn, self.name, filter).await? {
            loop {
                match self.redrive_first(conn, &topic, &key, filter.id).await? {
                    First::Handled => redriven.handled += 1,
                    First::None => break,
                    First::Failed(id, detail) => {
                        redriven.failed.push((id, detail));
                        break;
                    }
                }
                if filter.id.is_some() {
                    break;
                }
            }
        }
        Ok(redriven)
    }

    async fn redrive_first(
        &self,
        conn: &mut PgConnection,
        topic: &str,
        key: &str,
        only: Option<Uuid>,
    ) -> sqlx::Result<First> {
        loop {
            let mut tx = conn.begin().await?;
            let last = inbox::lock(&mut tx, self.name, topic, key).await?;
            let Some(first) = parked::first(&mut tx, self.name, topic, key).await? else {
                return Ok(First::None);
            };
            let passed = last.is_some_and(|(last, _)| first.version <= Some(last));
            if first.dropped || passed {
                parked::done(&mut tx, &first).await?;
                tx.commit().await?;
                continue;
            }
            if let Some(only) = only.filter(|only| *only != first.id) {
                let detail = format!("{} is before it", first.id);
                return Ok(First::Failed(only, detail));
            }
            let (cause, detail) = match self.redrive_event(&mut tx, &first).await {
                Ok(Ok(())) => {
                    parked::done(&mut tx, &first).await?;
                    tx.commit().await?;
                    return Ok(First::Handled);
                }
                Ok(Err(refused)) => refused,
                Err(failure) => (Cause::Failed, failure.to_string()),
            };
            warn!("a parked event cannot be handled ({cause}): {detail}");
            tx.rollback().await?;
            parked::failed(conn, first.id, cause, &detail).await?;
            return Ok(First::Failed(first.id, detail));
        }
    }

    /// Handles a parked event, or says why it cannot be handled at all.
    async fn redrive_event(
        &self,
        tx: &mut PgConnection,
        parked: &Parked,
    ) -> Result<Result<(), (Cause, String)>, Failure> {
        let Some(topic) = self.topics().find(|topic| *topic == parked.topic) else {
            let detail = format!("{} is not read any more", parked.topic);
            return Ok(Err((parked.cause, detail)));
        };
        let message = Message::parked(topic, parked);
        let meta = match message.judge(self.contract) {
            Ok(meta) => meta,
            Err(refused) => return Ok(Err((refused.cause, refused.detail))),
        };
        let outcome = self.handle(tx, &message, &meta, HANDLE_TIME_MAX).await?;
        Ok(outcome
            .map(|_: Outcome| ())
            .map_err(|detail| (Cause::Undecodable, detail)))
    }
}
