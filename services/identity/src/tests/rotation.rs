//! What a key waits for, and who does the steps.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use platform::auth::TOKEN_LIFETIME_MAX;
use sqlx::{Connection as _, PgPool};
use tokio::task::JoinSet;

use super::*;
use crate::{
    audit::By,
    keys::{
        command::{self, Action},
        rotation::{RotationArgs, Step, kept, step},
    },
    store::signing_key::{self, Row, State},
};

/// How long a replica may sign with what it has read.
const SIGNS_FOR: Duration = Duration::from_secs(600);

fn rotation() -> RotationArgs {
    RotationArgs {
        signing_key_rotated_after: Duration::from_hours(30 * 24),
        signing_key_published_for: Duration::from_mins(15),
    }
}

struct Site {
    _db: TestDb,
    pool: PgPool,
    sealer: Sealer,
    args: RotationArgs,
}

impl Site {
    /// With the first key, made at `now`.
    async fn start(now: DateTime<Utc>) -> Site {
        let db = platform_testkit::db(MIGRATORS).await;
        let sealer = Sealer::from_keys(parse_key(&platform_testkit::secret()).unwrap(), None);
        Set::load(&mut db.connect().await, &sealer, now)
            .await
            .unwrap();
        Site {
            pool: db.pool(),
            _db: db,
            sealer,
            args: rotation(),
        }
    }

    async fn step(&self, now: DateTime<Utc>) -> anyhow::Result<Option<Step>> {
        let mut tx = self.pool.begin().await.unwrap();
        let step = step(&mut tx, &self.sealer, &self.args, &By::schedule(), now).await?;
        tx.commit().await.unwrap();
        Ok(step)
    }

    async fn keys(&self) -> Vec<Row> {
        let mut conn = self.pool.acquire().await.unwrap();
        signing_key::list(&mut conn).await.unwrap()
    }

    async fn retired(&self) -> Vec<Row> {
        let mut conn = self.pool.acquire().await.unwrap();
        signing_key::list_retired(&mut conn).await.unwrap()
    }
}

fn signing(keys: &[Row]) -> &Row {
    let mut signing = keys.iter().filter(|row| row.state == State::Signing);
    let row = signing.next().expect("a key signs");
    assert!(signing.next().is_none(), "one at a time");
    row
}

/// Numbers that look random and are the same in every run (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Half a year in leaps, with crashes, and with two replicas that look at the keys when they like.
#[tokio::test]
async fn no_key_signs_before_its_wait_is_over_or_is_gone_before_its_tokens_are() {
    let mut now = platform::time::now();
    let site = Site::start(now).await;
    let mut dice = Dice(7);
    // What two replicas believe, and since when; the second looks as seldom as it may. And until when
    // tokens of a key live.
    let mut replicas = [
        (String::new(), now - SIGNS_FOR * 2),
        (String::new(), now - SIGNS_FOR * 2),
    ];
    let mut live: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
    let mut crashes = 0;

    while site.retired().await.len() < 4 {
        let keys = site.keys().await;
        let quiet = keys.len() == 1;
        now += TimeDelta::seconds(1 + dice.roll(if quiet { 900_000 } else { 200 }).cast_signed());
        if dice.roll(3) == 0 {
            let mut tx = site.pool.begin().await.unwrap();
            step(&mut tx, &site.sealer, &site.args, &By::schedule(), now)
                .await
                .unwrap();
            crashes += 1;
        } else {
            site.step(now).await.unwrap();
        }

        let keys = site.keys().await;
        let current = signing(&keys);
        if current.created_at != current.signing_at.unwrap() {
            let waited = current.signing_at.unwrap() - current.created_at;
            assert!(waited.to_std().unwrap() >= site.args.signing_key_published_for);
        }
        for (number, (kid, read_at)) in replicas.iter_mut().enumerate() {
            let old = (now - *read_at).to_std().unwrap() > SIGNS_FOR;
            if old || (number == 0 && dice.roll(4) == 0) {
                (*kid, *read_at) = (current.kid.clone(), now);
            }
            live.insert(kid.clone(), now + TOKEN_LIFETIME_MAX);
        }
        live.retain(|_, until| *until >= now);
        for kid in live.keys() {
            let published = keys.iter().any(|row| row.kid == *kid);
            assert!(published, "{kid} is gone and has tokens that live");
        }
        assert!(keys.iter().all(|row| !row.private_key.is_empty()));
        assert!(keys.len() <= 3, "{keys:?}");
    }
    assert!(crashes > 10);
    for row in site.retired().await {
        assert_eq!(row.private_key, "", "deleted");
        let signed_for = row.replaced_at.unwrap() - row.signing_at.unwrap();
        let waited = row.retired_at.unwrap() - row.replaced_at.unwrap();
        assert!(signed_for.to_std().unwrap() >= site.args.signing_key_rotated_after);
        assert!(waited.to_std().unwrap() >= kept());
    }
}

#[tokio::test]
async fn each_step_is_done_once_however_many_replicas_want_to() {
    let begun = platform::time::now();
    let site = Site::start(begun).await;
    let pool = &site.pool;
    let published = begun + site.args.signing_key_rotated_after;
    let signs = published + site.args.signing_key_published_for;
    for (now, expected) in [
        (published - Duration::from_secs(1), None),
        (published, Some("published")),
        (signs - Duration::from_secs(1), None),
        (signs, Some("signing")),
        (signs + kept() - Duration::from_secs(1), None),
        (signs + kept(), Some("retired")),
    ] {
        let mut wanting = JoinSet::new();
        for _ in 0..4 {
            let (pool, sealer, args) = (pool.clone(), site.sealer.clone(), site.args.clone());
            wanting.spawn(async move {
                let mut tx = pool.begin().await.unwrap();
                let done = step(&mut tx, &sealer, &args, &By::schedule(), now).await;
                tx.commit().await.unwrap();
                done.unwrap()
            });
        }
        let done: Vec<&str> = wanting
            .join_all()
            .await
            .into_iter()
            .flatten()
            .map(|step| match step {
                Step::Published(_) => "published",
                Step::Signing(_) => "signing",
                Step::Retired(_) => "retired",
            })
            .collect();
        assert_eq!(done, Vec::from_iter(expected));
    }
    let told: Vec<String> = sqlx::query_scalar(
        "SELECT action FROM audit_entries WHERE action LIKE 'key%' ORDER BY created_at, id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let expected = [
        "key_signing",
        "key_published",
        "key_replaced",
        "key_signing",
        "key_retired",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_step_that_fails_half_way_is_done_later_as_a_whole() {
    let begun = platform::time::now();
    let site = Site::start(begun).await;
    let first = signing(&site.keys().await).kid.clone();
    let published = begun + site.args.signing_key_rotated_after;
    site.step(published).await.unwrap();
    let fail = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'planted'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON audit_entries FOR EACH ROW
        WHEN (NEW.action = 'key_signing') EXECUTE FUNCTION fail()";
    sqlx::raw_sql(fail).execute(&site.pool).await.unwrap();
    let signs = published + site.args.signing_key_published_for;
    site.step(signs).await.unwrap_err();
    assert_eq!(signing(&site.keys().await).kid, first);

    // Nor is it done with a key that was sealed by somebody else.
    sqlx::raw_sql("DROP TRIGGER fail ON audit_entries")
        .execute(&site.pool)
        .await
        .unwrap();
    let stranger = Sealer::from_keys([7; 32], None);
    let mut tx = site.pool.begin().await.unwrap();
    let foreign = step(&mut tx, &stranger, &site.args, &By::schedule(), signs).await;
    assert!(foreign.unwrap_err().to_string().contains("SEAL_KEY"));
    drop(tx);

    let later = signs + Duration::from_hours(5);
    let done = site.step(later).await.unwrap();
    let second = signing(&site.keys().await).kid.clone();
    assert_eq!(done, Some(Step::Signing(second.clone())));
    assert_ne!(first, second);
}

#[tokio::test]
async fn the_command_publishes_one_key_and_takes_away_none_that_signs() {
    let world = World::start().await;
    let config = || platform::config::parse("identity", &world.vars).unwrap();
    let keys = async |action| {
        let args = command::Args { action, json: true };
        command::run(config(), args).await
    };
    let states = async || -> Vec<(String, String)> {
        sqlx::query_as("SELECT kid, state FROM signing_keys ORDER BY created_at")
            .fetch_all(&mut world.connect().await)
            .await
            .unwrap()
    };
    let retire = |kid: &str, leaked| Action::Retire {
        kid: kid.to_owned(),
        leaked,
    };
    keys(Action::List).await.unwrap();
    for _ in 0..2 {
        keys(Action::Rotate).await.unwrap();
    }
    let [first, second] = states().await.try_into().unwrap();
    assert_eq!(
        (first.1.as_str(), second.1.as_str()),
        ("signing", "published")
    );

    for (kid, leaked, problem) in [
        ("unknown", true, "no key unknown is in the key set"),
        (&first.0, true, "the key signs"),
    ] {
        let error = keys(retire(kid, leaked)).await.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    keys(retire(&second.0, false)).await.unwrap();
    assert_eq!(states().await[1].1, "retired", "it never signed");

    let replace = "UPDATE signing_keys SET state = 'replaced', replaced_at = now()
        WHERE state = 'signing'";
    let mut conn = PgConnection::connect(&world.db.owner_url).await.unwrap();
    sqlx::query(replace).execute(&mut conn).await.unwrap();
    let error = keys(retire(&first.0, false)).await.unwrap_err();
    assert!(error.to_string().contains("may be valid until"), "{error}");
    keys(retire(&first.0, true)).await.unwrap();
    let sealed: Vec<String> =
        sqlx::query_scalar("SELECT private_key FROM signing_keys WHERE state = 'retired'")
            .fetch_all(&mut conn)
            .await
            .unwrap();
    assert_eq!(sealed, ["", ""]);
}
