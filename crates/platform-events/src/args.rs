//! Where Kafka is, and the limits of what we do with it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use platform::Runtime;
use platform::config::{at_least_one, duration};
use prometheus_client::registry::Registry;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::context::{Quiet, Voice};
use crate::metrics::Metrics;

/// The broker and the events of a service.
#[derive(Clone, Debug, clap::Args)]
pub struct KafkaArgs {
    /// Addresses of brokers: `host:9092,host:9092`.
    #[arg(env = "KAFKA_BROKERS")]
    pub kafka_brokers: String,

    /// Stands before the names of topics and consumer groups, so that several installations can
    /// share a broker.
    #[arg(env = "RESOURCE_PREFIX", value_parser = prefix)]
    pub resource_prefix: Option<String>,

    /// Copies of each topic that is created here; without it, as many as the broker thinks right.
    #[arg(env = "KAFKA_REPLICATION", value_parser = clap::value_parser!(i32).range(1..=9))]
    pub kafka_replication: Option<i32>,

    /// Further settings of librdkafka, `name=value,name=value`; those that the order of events
    /// rests on cannot be changed.
    #[arg(env = "KAFKA_OPTIONS", value_parser = options)]
    pub kafka_options: Option<Options>,

    /// Time without a sign of life after which a consumer's partitions go to others.
    #[arg(env = "KAFKA_SESSION_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub kafka_session_timeout: Duration,

    /// Longest wait for the broker to take a batch of events; then the batch is tried again.
    #[arg(env = "OUTBOX_ACK_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub outbox_ack_timeout: Duration,

    /// Most events sent in one batch.
    #[arg(env = "OUTBOX_BATCH_MAX", default_value_t = 1000, value_parser = at_least_one)]
    pub outbox_batch_max: usize,

    /// How often the outbox is looked into for events of other replicas.
    #[arg(env = "OUTBOX_POLL", default_value = "250ms", value_parser = duration)]
    pub outbox_poll: Duration,

    /// When an event that the broker has refused is offered again.
    #[arg(env = "OUTBOX_REFUSED_RETRY", default_value = "1m", value_parser = duration)]
    pub outbox_refused_retry: Duration,

    /// Most events that a consumer has read and not yet handled; then it stops reading.
    #[arg(env = "CONSUMER_BACKLOG_MAX", default_value_t = 2000, value_parser = at_least_one)]
    pub consumer_backlog_max: usize,

    /// Longest time for handling one event.
    #[arg(env = "CONSUMER_HANDLE_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub consumer_handle_timeout: Duration,

    /// How often an event is tried before it is parked.
    #[arg(env = "CONSUMER_TRIES_MAX", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub consumer_tries_max: u32,

    /// Pause before the second try; it doubles from try to try.
    #[arg(env = "CONSUMER_RETRY_PAUSE", default_value = "200ms", value_parser = duration)]
    pub consumer_retry_pause: Duration,
}

/// Settings of librdkafka by name.
pub type Options = Arc<[(String, String)]>;

impl KafkaArgs {
    /// What relay, consumers and readers of a service work with; nothing is connected yet.
    ///
    /// Once per process, since it registers the metrics.
    pub fn connect(&self, rt: &mut Runtime) -> Kafka {
        Kafka {
            hears: rt.hears(),
            ..self.connect_as(rt.name(), rt.registry())
        }
    }

    /// The same for a command, which may read any topic.
    pub fn connect_as(&self, service: &'static str, registry: &mut Registry) -> Kafka {
        Kafka {
            service,
            hears: None,
            args: Arc::new(self.clone()),
            metrics: Metrics::new(registry),
            voice: Arc::default(),
        }
    }
}

/// Kafka as a service sees it; cheap to clone.
#[derive(Clone)]
pub struct Kafka {
    pub(crate) service: &'static str,
    /// The topics that may be read, if that is restricted.
    hears: Option<&'static [&'static str]>,
    pub(crate) args: Arc<KafkaArgs>,
    pub(crate) metrics: Metrics,
    pub(crate) voice: Arc<Voice>,
}

/// Largest message that a client handles: an event of 256 KiB with its headers, and room.
const MESSAGE_BYTES_MAX: &str = "1000000";

impl Kafka {
    /// Fails for a topic that the service has not declared to read: in a cluster the broker refuses
    /// it, and with a broker that allows everything nobody would notice.
    pub(crate) fn check_hears(&self, topics: &[&str]) -> anyhow::Result<()> {
        if let Some(hears) = self.hears {
            for topic in topics {
                ensure!(
                    hears.contains(topic),
                    "{topic} is read, and not declared with `App::events`"
                );
            }
        }
        Ok(())
    }

    /// The name of a topic at the broker.
    pub fn topic(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix())
    }

    /// The name of a topic in the contract; `None` for one of another installation.
    pub(crate) fn plain_topic<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(self.prefix())
    }

    pub(crate) fn prefix(&self) -> &str {
        self.args.resource_prefix.as_deref().unwrap_or_default()
    }

    /// Context of a client without callbacks.
    pub(crate) fn quiet(&self) -> Quiet {
        Quiet(Arc::clone(&self.voice))
    }

    fn client(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.args.kafka_brokers)
            .set("client.id", self.service)
            .set("message.max.bytes", MESSAGE_BYTES_MAX)
            .set("socket.keepalive.enable", "true")
            // A broker that comes back is found within a second.
            .set("reconnect.backoff.max.ms", "1000")
            .set_log_level(RDKafkaLogLevel::Warning);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        for (name, value) in self.args.kafka_options.iter().flat_map(|all| all.iter()) {
            config.set(name, value);
        }
        // Topics come from the contract. Producers ask for missing ones unless told not to.
        config.set("allow.auto.create.topics", "false");
        config
    }

    /// For topics and for looking at the cluster.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.client(&[])
    }

    /// For the relay: what is said of order in its module rests on the last settings.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client(&[
            // More than the relay ever has under way.
            ("queue.buffering.max.kbytes", "32768"),
            // Below what a broker takes by default, with room for what compression may add.
            ("batch.size", "500000"),
            ("linger.ms", "0.3"),
            ("compression.codec", "lz4"),
            // As the Java client does it, so that other tools find a key's partition.
            ("partitioner", "murmur2_random"),
            // A topic is ensured before it is used; one that is deleted meanwhile is told soon.
            ("topic.metadata.propagation.max.ms", "2000"),
        ]);
        config
            .set("enable.idempotence", "true")
            .set("enable.gapless.guarantee", "true")
            .set("message.timeout.ms", "0");
        config
    }

    /// For consumers in a group.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let session_ms = self.args.kafka_session_timeout.as_millis();
        let mut config = self.reader(&self.topic(group));
        config
            .set("session.timeout.ms", session_ms.to_string())
            .set("heartbeat.interval.ms", (session_ms / 4).to_string())
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("auto.commit.interval.ms", "1000")
            // For the measurement of how far behind it is.
            .set("statistics.interval.ms", "5000")
            .set("enable.auto.commit", "true")
            // Said by us, once the event has taken effect.
            .set("enable.auto.offset.store", "false");
        config
    }

    /// For reading without a group; librdkafka wants a name for it all the same.
    pub(crate) fn reader(&self, group: &str) -> ClientConfig {
        let mut config = self.client(&[
            ("queued.max.messages.kbytes", "4096"),
            ("queued.min.messages", "1000"),
            ("fetch.max.bytes", "4000000"),
            ("max.partition.fetch.bytes", MESSAGE_BYTES_MAX),
            ("fetch.error.backoff.ms", "250"),
            // A partition that is resumed waits for the request under way without it.
            ("fetch.wait.max.ms", "100"),
            ("topic.metadata.refresh.interval.ms", "60000"),
        ]);
        config
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false");
        config
    }
}

/// What a topic's name may hold.
fn prefix(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.len() > 64 || !text.chars().all(allowed) {
        return Err("not up to 64 letters, digits, dots, hyphens and underscores".to_owned());
    }
    Ok(text.to_owned())
}

fn options(text: &str) -> Result<Options, String> {
    text.split(',')
        .map(|option| match option.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            None => Err(format!("`{option}` is not like name=value")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::Broadcast;
    use crate::broadcast::Window;

    #[derive(clap::Args)]
    struct Config {
        #[command(flatten)]
        kafka: KafkaArgs,
    }

    fn kafka(vars: &[(&str, &str)]) -> Kafka {
        let vars = vars
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let config: Config = platform::config::parse("test", &vars).unwrap();
        config.kafka.connect_as("test", &mut Registry::default())
    }

    #[test]
    fn the_configuration_is_well_formed() {
        platform::config::debug_assert::<Config>();
    }

    #[test]
    fn an_option_wins_but_for_what_order_rests_on() {
        let kafka = kafka(&[
            ("KAFKA_BROKERS", "localhost:1"),
            ("KAFKA_OPTIONS", "linger.ms=7, enable.idempotence=false"),
        ]);
        let producer = kafka.producer();
        assert_eq!(producer.get("linger.ms"), Some("7"));
        assert_eq!(producer.get("enable.idempotence"), Some("true"));
    }

    #[test]
    fn a_prefix_stands_before_topics_and_groups() {
        let kafka = kafka(&[
            ("KAFKA_BROKERS", "localhost:1"),
            ("RESOURCE_PREFIX", "blue."),
        ]);
        assert_eq!(kafka.topic("events.offer"), "blue.events.offer");
        assert_eq!(kafka.plain_topic("blue.events.offer"), Some("events.offer"));
        assert_eq!(kafka.plain_topic("events.offer"), None);
        assert_eq!(kafka.consumer("x").get("group.id"), Some("blue.x"));
    }

    #[tokio::test]
    async fn a_topic_that_is_not_declared_is_not_read() {
        let kafka = Kafka {
            hears: Some(&["events.offer"]),
            ..kafka(&[("KAFKA_BROKERS", "localhost:1")])
        };
        assert!(kafka.check_hears(&["events.offer"]).is_ok());
        let window = Window {
            age: Duration::ZERO,
            bytes: 0,
        };
        let reader = Broadcast::new(&[], &["events.offer", "events.vote"], window);
        let refused = reader.run(kafka, CancellationToken::new()).await;
        assert!(refused.unwrap_err().to_string().contains("events.vote"));
    }

    #[test]
    fn an_odd_prefix_is_refused() {
        assert!(prefix("a b").is_err());
        assert!(prefix(&"a".repeat(65)).is_err());
        assert!(prefix("test-1.").is_ok());
    }
}
