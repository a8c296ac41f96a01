//! An event is published by a row, in the transaction that makes it true.

use std::sync::LazyLock;

use platform_contract::Event;
use sqlx::PgConnection;
use tokio::sync::watch;
use uuid::Uuid;

use crate::envelope::Actor;
use crate::spans;

/// Number of lanes. Never changes, nor does [`lane`]: a key must not be in two lanes.
pub(crate) const LANES: u32 = 16;

/// Lanes whose numbers agree modulo this lie in the same partitions, three of them: it divides
/// both the number of lanes and that of partitions.
pub(crate) const RELATED: i16 = 4;

/// Largest content of an event: what the broker would refuse must not get this far.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
const KEY_BYTES_MAX: usize = 255;

/// Tells the relays of this process that there may be something to send. Only a hint, which is
/// why it may be shared by all: who misses it finds the event at the next poll.
static POKES: LazyLock<watch::Sender<()>> = LazyLock::new(|| watch::Sender::new(()));

/// Why an event could not be published; all but the last are faults of the program.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Kafka would refuse it.
    #[error("{name} has {bytes} bytes, more than {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// The event's name.
        name: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// A key is a short text without control characters.
    #[error("{name} has the key {key:?}")]
    KeyMalformed {
        /// The event's name.
        name: &'static str,
        /// Its key.
        key: String,
    },
    /// Versions begin with 1.
    #[error("{name} has the version {version}")]
    VersionMalformed {
        /// The event's name.
        name: &'static str,
        /// Its version.
        version: i64,
    },
    /// The database refused or was not there.
    #[error(transparent)]
    Db(#[from] sqlx::Error),
}

/// For functions that know of no other error than one of the database.
impl From<PublishError> for sqlx::Error {
    fn from(error: PublishError) -> sqlx::Error {
        match error {
            PublishError::Db(error) => error,
            fault => sqlx::Error::Encode(Box::new(fault)),
        }
    }
}

/// Publishes an event in the transaction that makes it true: it is sent if and only if that
/// commits, and attributed to `by`.
///
/// The transaction must hold the lock of the row that the event's version comes from, as an
/// UPDATE that raises it does: then the order of versions is the order of commits.
pub async fn publish<E: Event>(
    conn: &mut PgConnection,
    event: &E,
    by: impl Into<Actor>,
) -> Result<(), PublishError> {
    let (name, key, version) = (E::NAME, event.key(), event.version());
    let bytes = event.encoded_len();
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(PublishError::TooLarge { name, bytes });
    }
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.chars().any(char::is_control) {
        let key = key.chars().take(KEY_BYTES_MAX).collect();
        return Err(PublishError::KeyMalformed { name, key });
    }
    if version < 1 {
        return Err(PublishError::VersionMalformed { name, version });
    }

    let actor = by.into();
    let id = Uuid::now_v7();
    let span = spans::create(E::TOPIC, name, id);
    let context = span.context().unwrap_or_else(platform::trace::current);
    let inserted = sqlx::query(
        "INSERT INTO platform.outbox (
             lane, id, topic, key, version, type, source, schema,
             actor_id, actor_kind, actor_organisation, traceparent, created_at, payload
         )
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(lane(key))
    .bind(id)
    .bind(E::TOPIC)
    .bind(key)
    .bind(version)
    .bind(name)
    .bind(E::SOURCE)
    .bind(E::SCHEMA)
    .bind(actor.id)
    .bind(actor.kind)
    .bind(actor.organisation)
    .bind(context.to_string())
    .bind(platform::time::now())
    .bind(event.encode_to_vec())
    .execute(conn)
    .await;
    span.close(&inserted, platform_db::error::word);
    inserted?;
    POKES.send_replace(());
    Ok(())
}

/// Changes when this process has published something that it will commit in a moment, or not.
pub(crate) fn pokes() -> watch::Receiver<()> {
    POKES.subscribe()
}

/// The hash by which librdkafka and the Java client choose a partition, so that the keys of a lane
/// lie in few partitions: a wave of the relay is then few requests.
fn lane(key: &str) -> i16 {
    i16::try_from(positive(key) % LANES).expect("less than LANES")
}

/// Where the events of a key are, in a topic of so many partitions.
pub(crate) fn partition(key: &str, partitions: usize) -> i32 {
    let count = u32::try_from(partitions).unwrap_or(u32::MAX).max(1);
    (positive(key) % count).cast_signed()
}

fn positive(key: &str) -> u32 {
    murmur2(key.as_bytes()) & 0x7fff_ffff
}

fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let seed = 0x9747_b28c_u32 ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    let mut hash = words.fold(seed, |hash, word| {
        let word = word
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        let word = word.wrapping_mul(M);
        hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M)
    });
    if !rest.is_empty() {
        let rest = rest
            .iter()
            .rev()
            .fold(0, |rest, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the Java client's own tests have it.
    #[test]
    fn the_hash_is_that_of_kafka() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
    }

    #[test]
    fn ids_spread_over_all_lanes() {
        let mut counts = [0; 16];
        for _ in 0..1600 {
            counts[usize::try_from(lane(&Uuid::now_v7().to_string())).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
    }
}
