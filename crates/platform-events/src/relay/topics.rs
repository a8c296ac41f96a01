//! Which topics are there; found out before the first event goes to them.

use std::collections::HashMap;

use tokio::time::Instant;
use tracing::error;

use super::Trouble;
use super::lane::Row;
use crate::Kafka;
use crate::topics::{self, TopicsError};

#[derive(Default)]
pub(super) struct Topics(HashMap<String, State>);

enum State {
    There,
    /// Its events are held; it is looked for again then.
    Refused {
        cause: String,
        until: Instant,
    },
}

impl Topics {
    pub(super) fn there(&self, topic: &str) -> bool {
        matches!(self.0.get(topic), Some(State::There))
    }

    /// Forgets which are there.
    pub(super) fn look_again(&mut self) {
        self.0
            .retain(|_, state| matches!(state, State::Refused { .. }));
    }

    /// Topics that cannot be had, with the reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(topic, state)| match state {
            State::There => None,
            State::Refused { cause, .. } => Some((topic.as_str(), cause.as_str())),
        })
    }

    /// Topics of these events that nothing is known of, or that it is time to look for again.
    pub(super) fn missing(&mut self, rows: &[Row]) -> Vec<String> {
        let now = Instant::now();
        self.0
            .retain(|_, state| !matches!(state, State::Refused { until, .. } if *until < now));
        let mut missing: Vec<String> = rows
            .iter()
            .filter(|row| !row.behind && !self.0.contains_key(&row.topic))
            .map(|row| row.topic.clone())
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Looks for topics, and makes them if they are not there.
    pub(super) async fn find(
        &mut self,
        kafka: &Kafka,
        missing: Vec<String>,
    ) -> Result<(), Trouble> {
        for topic in missing {
            let state = match topics::create(kafka, &[&topic]).await {
                Ok(()) => State::There,
                Err(TopicsError::Away(error)) => return Err(Trouble::Kafka(error.to_string())),
                Err(refused @ TopicsError::Refused { .. }) => {
                    error!("{refused}; its events are held");
                    State::Refused {
                        cause: refused.to_string(),
                        until: Instant::now() + kafka.args.outbox_refused_retry,
                    }
                }
            };
            self.0.insert(topic, state);
        }
        Ok(())
    }
}
