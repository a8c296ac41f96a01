//! Tests through the log, two replicas on one database.

mod access;
mod faults;
mod model;
mod process;

use api::homeward::catalog::v1::{VoteCast, VoteRetracted, VoteValue};
use platform::{Running, Runtime};
use platform_events::{Actor, publish};
use platform_testkit::{Issuer, Kafka, TestDb, Vars, until};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::*;

struct World {
    db: TestDb,
    owner: Owner,
    replicas: [Running; 2],
    issuer: Issuer,
    _kafka: Kafka,
}

/// Says what `catalog` says, in whatever order a test wants it.
struct Owner {
    db: TestDb,
    _relay: Running,
}

#[derive(clap::Args)]
struct OwnerConfig {
    #[command(flatten)]
    seal: SealArgs,
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

impl World {
    async fn start() -> World {
        let kafka = platform_testkit::kafka();
        let db = platform_testkit::db(MIGRATORS).await;
        let issuer = Issuer::start().await;
        let mut vars = vars(&db, &issuer);
        vars.extend(kafka.vars());
        World {
            replicas: [replica(vars.clone()).await, replica(vars).await],
            owner: Owner::start(&kafka).await,
            issuer,
            db,
            _kafka: kafka,
        }
    }

    /// Says these things, and waits until they are kept.
    async fn hear(&self, said: impl IntoIterator<Item = Said>, kept: &[Row]) {
        self.owner.say(said).await;
        until_kept(&self.db, kept).await;
    }
}

impl Owner {
    async fn start(kafka: &Kafka) -> Owner {
        let db = platform_testkit::db(&[&platform_db::MIGRATOR, &platform_events::MIGRATOR]).await;
        let mut vars = db.vars();
        vars.extend(kafka.vars());
        let relay = async |rt: &mut Runtime, config: OwnerConfig| {
            let sealer = Sealer::new(&config.seal)?;
            let migrators = const { &[&platform_db::MIGRATOR, &platform_events::MIGRATOR] };
            let db = config.db.connect(rt, &sealer, migrators).await?;
            let kafka = config.kafka.connect(rt);
            rt.spawn("outbox-relay", |stop| platform_events::relay(db, kafka, stop));
            Ok(())
        };
        Owner {
            _relay: platform_testkit::start("owner", relay, vars).await,
            db,
        }
    }

    async fn say(&self, said: impl IntoIterator<Item = Said>) {
        let mut conn = self.db.connect().await;
        let mut tx = conn.begin().await.unwrap();
        for said in said {
            let by = Actor::nobody();
            match said {
                Said::Cast(event) => publish(&mut tx, &event, by).await,
                Said::Retracted(event) => publish(&mut tx, &event, by).await,
            }
            .unwrap();
        }
        tx.commit().await.unwrap();
    }
}

/// What the owner can say.
#[derive(Clone)]
enum Said {
    Cast(VoteCast),
    Retracted(VoteRetracted),
}

fn cast(id: Uuid, version: i64, up: i64, down: i64) -> Said {
    Said::Cast(VoteCast {
        offer_id: id.to_string(),
        version,
        user_id: Uuid::now_v7().to_string(),
        value: VoteValue::Up.into(),
        up,
        down,
    })
}

fn retracted(id: Uuid, version: i64, up: i64, down: i64) -> Said {
    Said::Retracted(VoteRetracted {
        offer_id: id.to_string(),
        version,
        user_id: Uuid::now_v7().to_string(),
        up,
        down,
    })
}

fn vars(db: &TestDb, issuer: &Issuer) -> Vars {
    let mut vars = issuer.vars();
    vars.extend(db.vars());
    vars
}

async fn replica(vars: Vars) -> Running {
    platform_testkit::start(NAME, crate::start, vars).await
}

/// Id, version, up and down.
type Row = (Uuid, i64, i64, i64);

async fn kept(conn: &mut PgConnection) -> Vec<Row> {
    sqlx::query_as("SELECT offer_id, version, up, down FROM tallies ORDER BY offer_id")
        .fetch_all(conn)
        .await
        .unwrap()
}

/// Waits until these rows are kept, and no others.
async fn until_kept(db: &TestDb, rows: &[Row]) {
    let mut conn = db.connect().await;
    until("the votes to be kept", async || {
        (kept(&mut conn).await == rows).then_some(())
    })
    .await;
}

async fn parked(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM platform.parked")
        .fetch_one(conn)
        .await
        .unwrap()
}
