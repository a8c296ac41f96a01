//! Rows of the outbox, many at a time.

use rdkafka::message::{Header, OwnedHeaders};
use sqlx::{Connection, PgConnection, Row};

use super::{Args, Cost, statements::Counted};
use crate::thing;

const COLUMNS: [&str; 10] = [
    "id::text",
    "source",
    "type",
    "created_at::text",
    "key",
    "version::text",
    "schema",
    "actor_id",
    "actor_kind",
    "traceparent",
];
const HEADERS: [&str; 10] = [
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_subject",
    "ce_sequence",
    "ce_dataschema",
    "ce_actorid",
    "ce_actorkind",
    "traceparent",
];

/// Fills the outbox with the same rows again and again.
pub(super) struct Rows {
    /// Per key.
    versions: i64,
}

impl Rows {
    /// One event per key is published as services do it; all others are like these.
    pub(super) async fn make(conn: &mut PgConnection, args: &Args) -> anyhow::Result<Rows> {
        anyhow::ensure!(
            args.keys > 0 && args.events.is_multiple_of(args.keys),
            "as many events for each key, please"
        );
        thing::make(conn, args.keys).await?;
        for number in 0..args.keys {
            thing::count(conn, &thing::id(number)).await?;
        }
        sqlx::raw_sql(
            "CREATE TEMP TABLE template AS SELECT * FROM platform.outbox;
             TRUNCATE platform.outbox",
        )
        .execute(conn)
        .await?;
        Ok(Rows {
            versions: i64::try_from(args.events / args.keys)?,
        })
    }

    /// Content that does not compress, since real ids and numbers hardly do.
    pub(super) async fn fill(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query("TRUNCATE platform.outbox")
            .execute(&mut *conn)
            .await?;
        sqlx::query(
            "INSERT INTO platform.outbox (
                 lane, id, topic, key, version, type, source, schema,
                 actor_id, actor_kind, actor_organisation, traceparent, created_at, payload
             )
             SELECT lane, gen_random_uuid(), topic, key, versions.version, type, source, schema,
                    actor_id, actor_kind, actor_organisation, traceparent, created_at,
                    substr(
                        sha512((key || versions.version || 'a')::bytea)
                            || sha512((key || versions.version || 'b')::bytea)
                            || sha512((key || versions.version || 'c')::bytea)
                            || sha512((key || versions.version || 'd')::bytea),
                        1,
                        octet_length(payload)
                    )
             FROM generate_series(1, $1) AS versions (version)
             CROSS JOIN template
             ORDER BY versions.version",
        )
        .bind(self.versions)
        .execute(&mut *conn)
        .await?;
        sqlx::query("VACUUM ANALYZE platform.outbox")
            .execute(&mut *conn)
            .await?;
        sqlx::query("CHECKPOINT").execute(conn).await?;
        Ok(())
    }
}

/// What a message is made of.
pub(super) struct Message {
    pub(super) key: String,
    pub(super) payload: Vec<u8>,
    pub(super) headers: OwnedHeaders,
}

/// All rows as the relay would send them, ready to be sent.
pub(super) async fn messages(conn: &mut PgConnection) -> anyhow::Result<Vec<Message>> {
    let statement = format!(
        "SELECT payload, {} FROM platform.outbox ORDER BY sequence",
        COLUMNS.join(", ")
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
        .fetch_all(conn)
        .await?;
    let message = |row: &sqlx::postgres::PgRow| -> sqlx::Result<Message> {
        let mut headers = OwnedHeaders::new()
            .insert(Header {
                key: "ce_specversion",
                value: Some("1.0"),
            })
            .insert(Header {
                key: "content-type",
                value: Some("application/protobuf"),
            });
        for (number, key) in HEADERS.iter().enumerate() {
            let value: &str = row.try_get(number + 1)?;
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        Ok(Message {
            key: row.try_get(5)?,
            payload: row.try_get(0)?,
            headers,
        })
    };
    Ok(rows.iter().map(message).collect::<sqlx::Result<_>>()?)
}

/// Publishes events in transactions like a service's, and counts what publishing adds to them.
pub(super) async fn publish(
    counted: &Counted,
    conn: &mut PgConnection,
    events: u64,
    keys: u64,
) -> anyhow::Result<Cost> {
    thing::make(conn, keys).await?;
    let mut writer = PgConnection::connect(counted.url()).await?;
    let mut spent = Vec::new();
    for publishes in [false, true] {
        let (wal_before, statements_before) = (wal(conn).await?, counted.count());
        for number in 0..events {
            let thing_id = thing::id(number % keys);
            let mut tx = writer.begin().await?;
            match publishes {
                false => thing::raise(&mut tx, &thing_id).await?,
                true => thing::count(&mut tx, &thing_id).await?,
            };
            tx.commit().await?;
        }
        spent.push((
            counted.count() - statements_before,
            wal(conn).await? - wal_before,
        ));
    }
    writer.close().await?;
    let [(statements, bytes), (more_statements, more_bytes)] = [spent[0], spent[1]];
    Ok(Cost::of(
        more_statements - statements,
        more_bytes - bytes,
        events,
    ))
}

/// How much WAL there ever was.
pub(super) async fn wal(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
        .fetch_one(conn)
        .await
}
