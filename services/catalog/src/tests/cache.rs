//! Reads by id come from Redis where they can, and are right whatever becomes of it.

use std::sync::Arc;

use api::homeward::catalog::v1::{
    BatchGetOffersRequest, CastVoteRequest, GetOfferRequest, OfferPatch, UpdateOfferRequest,
    VoteValue,
};
use platform_testkit::{RedisProcess, metric, until};
use prost_types::FieldMask;
use sqlx::PgConnection;

use super::*;

/// As anybody, from one replica.
async fn read(world: &World, replica: usize, offer: &Offer) -> Offer {
    let request = GetOfferRequest {
        offer_id: offer.id.clone(),
    };
    let response = world.clients[replica].clone().get_offer(request).await;
    response.unwrap().into_inner().offer.unwrap()
}

async fn retitle(world: &World, replica: usize, seller: &Person, offer: &Offer, title: &str) {
    let request = UpdateOfferRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        patch: Some(OfferPatch {
            title: title.to_owned(),
            ..OfferPatch::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["title".to_owned()],
        }),
        expected_version: None,
    };
    let mut client = world.clients[replica].clone();
    client.update_offer(seller.ask(request)).await.unwrap();
}

async fn vote(world: &World, replica: usize, voter: &Person, offer: &Offer, value: VoteValue) {
    let request = CastVoteRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        value: value.into(),
    };
    let mut client = world.clients[replica].clone();
    client.cast_vote(voter.ask(request)).await.unwrap();
}

/// Lets every read by id stand still between its snapshot and its answer while it is closed, and
/// counts them.
struct Gate(PgConnection);

impl Gate {
    async fn new(world: &World) -> Gate {
        let mut conn = world.db.connect().await;
        sqlx::raw_sql(
            "CREATE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM pg_stat_force_next_flush();
                IF current_query() LIKE '%unnest%' THEN
                    PERFORM pg_advisory_xact_lock_shared(7);
                END IF;
                RETURN true;
            END $$;
            ALTER TABLE tallies RENAME TO real_tallies;
            CREATE VIEW tallies AS SELECT * FROM real_tallies WHERE gate();
            GRANT ALL ON tallies TO PUBLIC",
        )
        .execute(&mut conn)
        .await
        .unwrap();
        Gate(conn)
    }

    async fn close(&mut self) {
        self.run("SELECT pg_advisory_lock(7)").await;
    }

    async fn open(&mut self) {
        self.run("SELECT pg_advisory_unlock(7)").await;
    }

    async fn run(&mut self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.0).await.unwrap();
    }

    /// Reads that stand before it.
    async fn waiting(&mut self) -> i64 {
        self.count(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
            WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()",
        )
        .await
    }

    /// Reads that are over.
    async fn reads(&mut self) -> i64 {
        self.count(
            "SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'real_tallies'",
        )
        .await
    }

    async fn count(&mut self, sql: &'static str) -> i64 {
        let count = sqlx::query_scalar(sql).fetch_one(&mut self.0).await;
        count.unwrap()
    }
}

/// Reads with this outcome in a replica.
async fn counted(world: &World, replica: usize, outcome: &str) -> u64 {
    let labels = ["cache=\"offer\"", outcome];
    metric(world.replicas[replica].admin, "cache_reads_total", &labels).await
}

const MISSES: &str = "outcome=\"miss\"";
const SHARED: &str = "outcome=\"shared\"";
const HITS: &str = "outcome=\"hit\"";

/// Redis may be slow on a busy machine; that is not what these tests are about.
fn patient() -> Vars {
    Vars::from([("REDIS_TIMEOUT".to_owned(), "10s".to_owned())])
}

/// Until both replicas have found Redis.
async fn until_cached(world: &World, offer: &Offer) {
    for replica in 0..2 {
        until("hits", async || {
            read(world, replica, offer).await;
            (counted(world, replica, HITS).await > 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_reader_held_between_select_and_fill_never_brings_the_old_value_back() {
    let world = Arc::new(World::start_with(patient()).await);
    let seller = world.seller();
    let (other, offer) = (
        world.published(&seller).await,
        world.published(&seller).await,
    );
    until_cached(&world, &other).await;
    let mut gate = Gate::new(&world).await;
    for (round, (reader, writer)) in [(0, 1), (1, 0), (0, 0)].into_iter().enumerate() {
        vote(&world, writer, &world.voter(), &offer, VoteValue::Up).await;
        gate.close().await;
        let held = tokio::spawn({
            let (world, offer) = (world.clone(), offer.clone());
            async move { read(&world, reader, &offer).await }
        });
        until("the read", async || {
            (gate.waiting().await > 0).then_some(())
        })
        .await;
        let title = format!("Title {round}");
        retitle(&world, writer, &seller, &offer, &title).await;
        gate.open().await;
        assert_ne!(
            held.await.unwrap().title,
            title,
            "it was held before the write"
        );
        for turn in 0..50 {
            let read = read(&world, turn % 2, &offer).await;
            assert_eq!(read.title, title);
            assert_eq!(read.votes.unwrap().up, round as i64 + 1);
        }
    }
}

#[tokio::test]
async fn a_thousand_who_miss_the_same_offer_make_one_query_in_each_replica() {
    let mut vars = patient();
    vars.insert("DEADLINE_DEFAULT".to_owned(), "60s".to_owned());
    vars.insert("CALLS_MAX".to_owned(), "2000".to_owned());
    vars.insert("STREAMS_PER_CONNECTION_MAX".to_owned(), "2000".to_owned());
    let world = Arc::new(World::start_with(vars).await);
    let mut gate = Gate::new(&world).await;
    let seller = world.seller();
    let (other, offer) = (
        world.published(&seller).await,
        world.published(&seller).await,
    );
    until_cached(&world, &other).await;
    let reads = gate.reads().await;
    gate.close().await;
    let before = [
        counted(&world, 0, MISSES).await,
        counted(&world, 1, MISSES).await,
    ];
    let readers: Vec<_> = (0..1000)
        .map(|number| {
            let (world, offer) = (world.clone(), offer.clone());
            tokio::spawn(async move { read(&world, number % 2, &offer).await })
        })
        .collect();
    for (replica, before) in before.into_iter().enumerate() {
        until("all to wait", async || {
            let shared = counted(&world, replica, SHARED).await;
            (shared == 499).then_some(())
        })
        .await;
        let misses = counted(&world, replica, MISSES).await;
        assert_eq!(misses, before + 1);
    }
    until("both queries", async || {
        (gate.waiting().await == 2).then_some(())
    })
    .await;
    gate.open().await;
    for reader in readers {
        assert_eq!(reader.await.unwrap(), offer);
    }
    assert_eq!(gate.reads().await, reads + 2);
}

#[tokio::test]
async fn what_redis_suffers_under_load_is_no_error_and_leaves_nothing_old() {
    let redis = RedisProcess::start();
    let world = Arc::new(World::start_with(redis.vars()).await);
    let seller = Arc::new(world.seller());
    let mut offers = Vec::new();
    for _ in 0..10 {
        offers.push(world.published(&seller).await);
    }
    let offers = Arc::new(offers);
    until_cached(&world, &offers[0]).await;

    let done = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..20)
        .map(|number| {
            let (world, offers, done, over) =
                (world.clone(), offers.clone(), done.clone(), over.clone());
            let seller = seller.clone();
            tokio::spawn(async move {
                let voter = world.voter();
                for turn in number.. {
                    if over.load(Ordering::Relaxed) > 0 {
                        return;
                    }
                    let (replica, offer) = (number % 2, &offers[turn % 10]);
                    match turn % 40 {
                        0 => {
                            let title = format!("{number} {turn}");
                            retitle(&world, replica, &seller, offer, &title).await;
                        }
                        1 => vote(&world, replica, &voter, offer, VoteValue::Up).await,
                        2 => vote(&world, replica, &voter, offer, VoteValue::Down).await,
                        3 => {
                            let ids = offers.iter().map(|offer| offer.id.clone()).collect();
                            let request = BatchGetOffersRequest { ids };
                            let mut client = world.clients[replica].clone();
                            let found = client.batch_get_offers(request).await.unwrap();
                            assert_eq!(found.into_inner().offers.len(), 10);
                        }
                        _ => {
                            read(&world, replica, offer).await;
                        }
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let goes_on = async |what: &str| {
        let before = done.load(Ordering::Relaxed);
        until(what, async || {
            let failed = load.iter().any(|task| task.is_finished());
            let enough = done.load(Ordering::Relaxed) >= before + 400;
            (failed || enough).then_some(())
        })
        .await;
    };
    for _ in 0..2 {
        redis.flush();
        goes_on("requests after FLUSHALL").await;
        redis.kill();
        goes_on("requests without Redis").await;
        redis.run();
        goes_on("requests after a new start").await;
        redis.pause();
        goes_on("requests while Redis stands still").await;
        redis.resume();
        goes_on("requests after it").await;
    }
    over.store(1, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }

    for replica in 0..2 {
        let hits = counted(&world, replica, HITS).await;
        until("hits again", async || {
            read(&world, replica, &offers[0]).await;
            (counted(&world, replica, HITS).await > hits).then_some(())
        })
        .await;
    }
    let mut conn = world.db.connect().await;
    for offer in offers.iter() {
        let (title, version, up): (String, i64, i64) = sqlx::query_as(
            "SELECT title, o.version, up FROM offers o JOIN tallies ON offer_id = id WHERE id = $1",
        )
        .bind(Uuid::parse_str(&offer.id).unwrap())
        .fetch_one(&mut conn)
        .await
        .unwrap();
        for replica in 0..2 {
            until("what is true", async || {
                let read = read(&world, replica, offer).await;
                let same = (&read.title, read.version, read.votes?.up) == (&title, version, up);
                same.then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn what_a_replica_could_not_invalidate_its_event_does() {
    let kafka = platform_testkit::kafka();
    let mut vars = kafka.vars();
    vars.insert("REDIS_TIMEOUT".to_owned(), "10s".to_owned());
    let mut without = kafka.vars();
    let no_redis = platform_testkit::NO_REDIS.to_owned();
    without.insert("REDIS_URL".to_owned(), no_redis);
    let world = World::start_each([without, vars]).await;
    let seller = world.seller();
    let offer = world.published(&seller).await;
    until("hits", async || {
        read(&world, 1, &offer).await;
        (counted(&world, 1, HITS).await > 0).then_some(())
    })
    .await;
    retitle(&world, 0, &seller, &offer, "Another title").await;
    vote(&world, 0, &world.voter(), &offer, VoteValue::Up).await;
    until("the new title and tally", async || {
        let read = read(&world, 1, &offer).await;
        (read.title == "Another title" && read.votes?.up == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_one_viewers_is_not_anothers() {
    let world = World::start_with(patient()).await;
    let seller = world.seller();
    let (public, draft) = (world.published(&seller).await, world.draft(&seller).await);
    let missing = id();
    until_cached(&world, &public).await;
    let (voter, other) = (world.voter(), world.voter());
    vote(&world, 0, &voter, &public, VoteValue::Down).await;
    vote(&world, 1, &other, &public, VoteValue::Up).await;

    let ids = vec![draft.id.clone(), missing, public.id.clone()];
    let batch = async |replica: usize, person: Option<&Person>| {
        let message = BatchGetOffersRequest { ids: ids.clone() };
        let request = match person {
            Some(person) => person.ask(message),
            None => Request::new(message),
        };
        let mut client = world.clients[replica].clone();
        let found = client.batch_get_offers(request).await.unwrap();
        let offers = found.into_inner().offers.into_iter();
        let seen = offers.map(|offer| (offer.id.clone(), offer.votes.unwrap().mine()));
        Vec::from_iter(seen)
    };
    let of = |mine: VoteValue| (public.id.clone(), mine);
    let none = VoteValue::Unspecified;
    // Each twice from each replica: the second time from Redis, filled by whoever came first.
    for replica in [0, 1, 0, 1] {
        let own = (draft.id.clone(), none);
        assert_eq!(batch(replica, Some(&seller)).await, [own, of(none)]);
        assert_eq!(batch(replica, Some(&voter)).await, [of(VoteValue::Down)]);
        assert_eq!(batch(replica, Some(&other)).await, [of(VoteValue::Up)]);
        assert_eq!(batch(replica, None).await, [of(none)]);
        assert_eq!(batch(replica, Some(&world.seller())).await, [of(none)]);
    }
    world.publish(&seller, &draft).await;
    for replica in 0..2 {
        assert_eq!(
            batch(replica, None).await,
            [(draft.id.clone(), none), of(none)]
        );
    }
}
