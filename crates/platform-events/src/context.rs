//! What librdkafka has to say goes to the log, in measure.

use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use tracing::{debug, warn};

use crate::seldom::Seldom;

/// The voice of all clients of a process. It hears errors that belong to no call: mostly that no broker can be reached, which goes on
/// for as long as it lasts.
#[derive(Default)]
pub(crate) struct Voice(Seldom);

impl Voice {
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // `CONFWARN` is about settings as such: that one is experimental, or for others.
        match level {
            _ if facility == "CONFWARN" => debug!("librdkafka: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                debug!("librdkafka: {facility} {message}");
            }
            _ => self
                .0
                .say(|| warn!("librdkafka: {facility} {message}; said once a minute")),
        }
    }

    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        self.0
            .say(|| warn!(%error, "Kafka: {reason}; said once a minute"));
    }
}

/// For clients that need nothing but a voice.
#[derive(Default)]
pub(crate) struct Quiet(pub(crate) Arc<Voice>);

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}
