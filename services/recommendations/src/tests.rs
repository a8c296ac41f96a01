//! Tests through the log and the RPCs, two replicas on one database.

mod access;
mod choice;
mod model;
mod process;
mod rebuild;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::homeward::catalog::v1::{
    OfferKind, OfferPublished, OfferRetired, OfferState, OfferUpdated, VoteCast, VoteRetracted,
    VoteValue,
};
use api::homeward::recommendations::v1::{
    GetOfferOfTheDayRequest, recommendations_service_client::RecommendationsServiceClient,
};
use platform::error::Details;
use platform::{Running, Runtime};
use platform_events::{Actor, publish};
use platform_testkit::{Issuer, Kafka, TestDb, Vars, until};
use sqlx::{Connection, PgConnection};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use super::*;

type Client = RecommendationsServiceClient<Channel>;

const NOWHERE: &str = "http://127.0.0.1:1";

struct World {
    db: TestDb,
    issuer: Issuer,
    owner: Owner,
    vars: Vars,
    replicas: [Running; 2],
    clients: [Client; 2],
    turn: AtomicUsize,
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
    /// With a model that was built when there was nothing yet.
    async fn start() -> World {
        World::with(true, NOWHERE, platform_testkit::kafka()).await
    }

    async fn with(built: bool, catalog: &str, kafka: Kafka) -> World {
        let db = platform_testkit::db(MIGRATORS).await;
        if built {
            let mut conn = db.connect().await;
            store::model::rebuilt(&mut conn, platform::time::now())
                .await
                .unwrap();
        }
        let issuer = Issuer::start().await;
        let mut vars = vars(&db, &issuer, catalog);
        vars.extend(kafka.vars());
        let replicas = [replica(vars.clone()).await, replica(vars.clone()).await];
        World {
            issuer,
            owner: Owner::start(&kafka).await,
            clients: replicas.each_ref().map(client),
            replicas,
            vars,
            db,
            turn: AtomicUsize::new(0),
            _kafka: kafka,
        }
    }

    /// The replicas take turns.
    fn client(&self) -> Client {
        self.clients[self.turn.fetch_add(1, Ordering::Relaxed) % 2].clone()
    }

    /// The id of the offer of the day, or the reason why there is none.
    async fn ask(&self, area: &str) -> Result<Uuid, String> {
        ask(self.client(), area).await
    }

    /// Says these things, and waits until both replicas together have handled them.
    async fn hear(&self, said: impl IntoIterator<Item = Said>) {
        self.owner.say(said).await;
        self.settle().await;
    }

    /// Waits until everything that was said is handled.
    async fn settle(&self) {
        let mut conn = self.owner.db.connect().await;
        until("everything to be sent", async || {
            let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM platform.outbox")
                .fetch_one(&mut conn)
                .await
                .unwrap();
            (waiting == 0).then_some(())
        })
        .await;
        self.read_log().await;
    }

    /// Waits until the log is read.
    async fn read_log(&self) {
        let limit = Duration::from_secs(30);
        assert!(
            crate::rebuild::follow_log(&self.kafka(), limit)
                .await
                .unwrap()
        );
    }

    fn kafka(&self) -> platform_events::Kafka {
        self.config()
            .kafka
            .connect_as("test", &mut Registry::default())
    }

    fn config(&self) -> Config {
        platform::config::parse(NAME, &self.vars).unwrap()
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
            rt.spawn("outbox-relay", |stop| {
                platform_events::relay(db, kafka, stop)
            });
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
            said.publish(&mut tx).await;
        }
        tx.commit().await.unwrap();
    }
}

/// What the owner can say.
#[derive(Clone)]
enum Said {
    Published(OfferPublished),
    Updated(OfferUpdated),
    Retired(OfferRetired),
    Cast(VoteCast),
    Retracted(VoteRetracted),
}

impl Said {
    async fn publish(&self, conn: &mut PgConnection) {
        let by = Actor::nobody();
        match self {
            Said::Published(event) => publish(conn, event, by).await,
            Said::Updated(event) => publish(conn, event, by).await,
            Said::Retired(event) => publish(conn, event, by).await,
            Said::Cast(event) => publish(conn, event, by).await,
            Said::Retracted(event) => publish(conn, event, by).await,
        }
        .unwrap();
    }
}

fn published(id: Uuid, version: i64, area: &str) -> Said {
    Said::Published(OfferPublished {
        offer_id: id.to_string(),
        version,
        kind: OfferKind::Crew.into(),
        area: area.to_owned(),
        ..Default::default()
    })
}

fn updated(id: Uuid, version: i64, area: &str, state: OfferState) -> Said {
    Said::Updated(OfferUpdated {
        offer_id: id.to_string(),
        version,
        kind: OfferKind::Crew.into(),
        area: area.to_owned(),
        state: state.into(),
        ..Default::default()
    })
}

fn retired(id: Uuid, version: i64) -> Said {
    Said::Retired(OfferRetired {
        offer_id: id.to_string(),
        version,
        ..Default::default()
    })
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

fn vars(db: &TestDb, issuer: &Issuer, catalog: &str) -> Vars {
    let mut vars = issuer.vars();
    vars.extend(db.vars());
    vars.insert("SEAL_KEY".to_owned(), platform_testkit::secret());
    vars.insert("LISTEN_GRPC".to_owned(), "127.0.0.1:0".to_owned());
    vars.insert("GRPC_CATALOG".to_owned(), catalog.to_owned());
    vars
}

async fn replica(vars: Vars) -> Running {
    platform_testkit::start(NAME, crate::start, vars).await
}

fn client(replica: &Running) -> Client {
    let url = format!("http://{}", replica.grpc.unwrap());
    Client::new(Endpoint::from_shared(url).unwrap().connect_lazy())
}

async fn ask(mut client: Client, area: &str) -> Result<Uuid, String> {
    let request = GetOfferOfTheDayRequest {
        area: area.to_owned(),
    };
    match client.get_offer_of_the_day(request).await {
        Ok(answer) => Ok(answer.into_inner().offer_id.parse().unwrap()),
        Err(status) => Err(reason(&status)),
    }
}

fn reason(status: &Status) -> String {
    let details = Details::of(status);
    details
        .reason
        .unwrap_or_else(|| panic!("no reason in {status:?}"))
}

/// Offers with version, area and whether they are published.
async fn offers(conn: &mut PgConnection) -> Vec<(Uuid, i64, Option<String>, bool)> {
    sqlx::query_as("SELECT id, version, area, published FROM offers ORDER BY id")
        .fetch_all(conn)
        .await
        .unwrap()
}

/// Tallies with version, up and down.
async fn tallies(conn: &mut PgConnection) -> Vec<(Uuid, i64, i64, i64)> {
    sqlx::query_as("SELECT offer_id, version, up, down FROM tallies ORDER BY offer_id")
        .fetch_all(conn)
        .await
        .unwrap()
}

async fn parked(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM platform.parked")
        .fetch_one(conn)
        .await
        .unwrap()
}
