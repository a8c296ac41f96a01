//! Events as an operator sees them: the command `events` of a service that says or hears some.
//!
//! Answers stand on standard output, for people or, with `--json`, as one JSON value per line.

mod decode;
mod tail;

use std::collections::BTreeSet;
use std::io::{self, Write};

use anyhow::{Context, bail};
use chrono::SecondsFormat;
use platform_contract::EventType;
use platform_db::DbArgs;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::parked::{self, Cause, Filter, Parked};
use crate::{Consumer, KafkaArgs};
use decode::Decoder;

/// Arguments of the command `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Prints JSON, a value per line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Tells which events the service says and hears, and how far it is with them.
    List,
    /// Prints the events that the service has said, decoded.
    Tail(tail::Args),
    /// Lists parked events, in the order in which they would be handled.
    Parked {
        #[command(flatten)]
        filter: FilterArgs,
        /// Most events that are listed.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
    /// Tries parked events again, in order, until one of a key fails; without a filter, all.
    Redrive {
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Gives parked events up: they never take effect here, and later ones of their keys go on.
    Drop {
        #[command(flatten)]
        filter: FilterArgs,
        /// Gives up all that there are.
        #[arg(long)]
        all: bool,
    },
}

/// Which parked events.
#[derive(Debug, clap::Args)]
struct FilterArgs {
    /// The event with this id in the list of parked ones.
    #[arg(long)]
    id: Option<Uuid>,
    /// Those of one consumer.
    #[arg(long)]
    consumer: Option<String>,
    /// Those of one topic, as the contract names it: `events.offer`.
    #[arg(long)]
    topic: Option<String>,
    /// Those of one key.
    #[arg(long)]
    key: Option<String>,
    /// Those of one name: `offer.published`.
    #[arg(long = "type", value_name = "NAME")]
    name: Option<String>,
    /// Those with one cause.
    #[arg(long)]
    cause: Option<Cause>,
}

impl FilterArgs {
    fn given(&self) -> bool {
        let texts = [&self.consumer, &self.topic, &self.key, &self.name];
        self.id.is_some() || self.cause.is_some() || texts.iter().any(|text| text.is_some())
    }
}

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Filter {
        Filter {
            id: args.id,
            consumer: args.consumer,
            topic: args.topic,
            key: args.key,
            name: args.name,
            cause: args.cause,
        }
    }
}

/// The service whose command this is.
pub struct Service<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its database.
    pub db: &'a DbArgs,
    /// Its broker.
    pub kafka: &'a KafkaArgs,
    /// Every event that there is.
    pub contract: &'static [EventType],
    /// Of their messages, as an encoded `FileDescriptorSet`.
    pub descriptors: &'a [u8],
    /// What it does about events; parked ones are tried again by these.
    pub consumers: &'a [Consumer],
}

/// Carries the command out.
pub async fn run(service: &Service<'_>, args: Args) -> anyhow::Result<()> {
    let out = Output { json: args.json };
    let result = match args.action {
        Action::List => list(service, &out).await,
        Action::Tail(args) => tail::run(service, args, &out).await,
        Action::Parked { filter, limit } => parked(service, &filter.into(), limit, &out).await,
        Action::Redrive { filter } => redrive(service, &filter.into(), &out).await,
        Action::Drop { filter, all } => {
            if filter.given() == all {
                bail!("say which events to drop, or `--all`");
            }
            drop(service, &filter.into(), &out).await
        }
    };
    match result {
        // Who reads has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        result => result,
    }
}

/// Where answers go.
struct Output {
    json: bool,
}

impl Output {
    fn put(&self, value: &Value, line: impl FnOnce() -> String) -> io::Result<()> {
        let mut line = if self.json { value.to_string() } else { line() };
        line.push('\n');
        // In one piece: several services may write to one pipe.
        io::stdout().lock().write_all(line.as_bytes())
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

impl Service<'_> {
    /// The events that only this service says.
    fn says(&self) -> impl Iterator<Item = &'static EventType> {
        self.contract
            .iter()
            .filter(|event| event.source.rsplit('/').next() == Some(self.name))
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        PgConnection::connect(&self.db.database_url.expose())
            .await
            .context("cannot connect to the database")
    }
}

async fn list(service: &Service<'_>, out: &Output) -> anyhow::Result<()> {
    let mut conn = service.connect().await?;
    let name = service.name;
    let outbox: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT type, count(*) FILTER (WHERE NOT held), count(*) FILTER (WHERE held)
         FROM (
             SELECT type, false AS held FROM platform.outbox
             UNION ALL
             SELECT type, true FROM platform.outbox_held
         ) AS events
         GROUP BY type",
    )
    .fetch_all(&mut conn)
    .await?;
    for event in service.says() {
        let (waiting, held) = outbox
            .iter()
            .find(|(name, ..)| name == event.name)
            .map_or((0, 0), |(_, waiting, held)| (*waiting, *held));
        let value = json!({
            "service": name, "says": event.name, "topic": event.topic, "key": event.key,
            "schema": event.schema, "waiting": waiting, "held": held,
        });
        out.put(&value, || {
            format!(
                "{name:<16} says   {:<22} {:<18} by {:<16} waiting {waiting}, held {held}",
                event.name, event.topic, event.key
            )
        })?;
    }

    let inbox: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "SELECT consumer, topic, count(*), max(version)
         FROM platform.inbox
         GROUP BY consumer, topic",
    )
    .fetch_all(&mut conn)
    .await?;
    let parked: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT consumer, topic, count(*)
         FROM platform.parked
         WHERE NOT dropped
         GROUP BY consumer, topic",
    )
    .fetch_all(&mut conn)
    .await?;
    let of_consumers = service
        .consumers
        .iter()
        .flat_map(|consumer| consumer.topics().map(|topic| (consumer.name(), topic)));
    let heard: BTreeSet<(&str, &str)> = of_consumers
        .chain(inbox.iter().map(|row| (row.0.as_str(), row.1.as_str())))
        .chain(parked.iter().map(|row| (row.0.as_str(), row.1.as_str())))
        .collect();
    for (consumer, topic) in heard {
        let (keys, version) = inbox
            .iter()
            .find(|row| row.0 == consumer && row.1 == topic)
            .map_or((0, 0), |row| (row.2, row.3));
        let parked = parked
            .iter()
            .find(|row| row.0 == consumer && row.1 == topic)
            .map_or(0, |row| row.2);
        let value = json!({
            "service": name, "hears": topic, "consumer": consumer, "keys": keys,
            "version_max": version, "parked": parked,
        });
        out.put(&value, || {
            format!(
                "{name:<16} hears  {topic:<22} as {consumer:<15} {keys} keys, highest version {version}, parked {parked}"
            )
        })?;
    }
    Ok(())
}

async fn parked(
    service: &Service<'_>,
    filter: &Filter,
    limit: i64,
    out: &Output,
) -> anyhow::Result<()> {
    let decoder = Decoder::new(service.descriptors)?;
    let mut conn = service.connect().await?;
    for event in parked::list(&mut conn, filter, limit).await? {
        out.put(&parked_json(service.name, &event, &decoder), || {
            let version = event.version.map(|version| format!(" v{version}"));
            format!(
                "{:<16} {}  {} {}{}  {} ({})",
                service.name,
                event.id,
                event.name.as_deref().unwrap_or(&event.topic),
                event.key,
                version.unwrap_or_default(),
                event.cause,
                event.detail
            )
        })?;
    }
    Ok(())
}

fn parked_json(service: &str, event: &Parked, decoder: &Decoder) -> Value {
    let mut value = json!({
        "service": service, "id": event.id.to_string(), "consumer": event.consumer,
        "topic": event.topic, "key": event.key, "version": event.version, "type": event.name,
        "partition": event.partition, "offset": event.offset, "cause": event.cause.word(),
        "detail": event.detail, "headers": event.headers,
        "parked_at": event.parked_at.to_rfc3339_opts(SecondsFormat::Micros, true),
    });
    decoder.add(&mut value, &event.headers, &event.payload);
    value
}

async fn redrive(service: &Service<'_>, filter: &Filter, out: &Output) -> anyhow::Result<()> {
    let mut conn = service.connect().await?;
    let mut failed = 0;
    for consumer in service.consumers {
        let redriven = consumer.redrive(&mut conn, filter).await?;
        let failures: Vec<Value> = redriven
            .failed
            .iter()
            .map(|(id, detail)| json!({ "id": id.to_string(), "detail": detail }))
            .collect();
        failed += failures.len();
        let value = json!({
            "service": service.name, "consumer": consumer.name(), "handled": redriven.handled,
            "failed": failures,
        });
        out.put(&value, || {
            let mut text = format!(
                "{:<16} {} events have taken effect",
                service.name, redriven.handled
            );
            for (id, detail) in &redriven.failed {
                text += &format!("\n{:<16} {id} has failed again: {detail}", service.name);
            }
            text
        })?;
    }
    if failed > 0 {
        bail!("still parked: {failed}");
    }
    Ok(())
}

async fn drop(service: &Service<'_>, filter: &Filter, out: &Output) -> anyhow::Result<()> {
    let mut conn = service.connect().await?;
    let dropped = parked::drop(&mut conn, filter).await?;
    if service.consumers.is_empty() && dropped == 0 {
        return Ok(());
    }
    let value = json!({ "service": service.name, "dropped": dropped });
    out.put(&value, || {
        format!("{:<16} {dropped} events are given up", service.name)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn args(line: &str) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("events"));
        command.clone().debug_assert();
        let matches =
            command.try_get_matches_from(["events"].into_iter().chain(line.split_whitespace()))?;
        Args::from_arg_matches(&matches)
    }

    #[test]
    fn a_filter_is_read_and_json_may_stand_anywhere() {
        let args = args("parked --topic events.offer --cause hole --json").unwrap();
        assert!(args.json);
        let Action::Parked { filter, limit } = args.action else {
            panic!("{args:?}")
        };
        assert!(filter.given());
        assert_eq!(limit, 100);
        assert_eq!(Filter::from(filter).cause, Some(Cause::Hole));
    }

    #[test]
    fn what_is_no_cause_is_refused() {
        assert!(args("parked --cause whim").is_err());
        assert!(args("tail --since 10").is_err());
        assert!(args("").is_err());
    }

    #[test]
    fn without_a_filter_nothing_is_given() {
        let Action::Drop { filter, all } = args("drop").unwrap().action else {
            panic!("not `drop`")
        };
        assert!(!filter.given() && !all);
    }
}
