use platform_testkit::Stack;

use super::*;

const OFFERS: usize = 20;
const VERSIONS: i64 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_killed_lose_nothing_and_count_nothing_twice() {
    let kafka = platform_testkit::kafka();
    let issuer = Issuer::start().await;
    let mut vars = issuer.vars();
    vars.extend(kafka.vars());
    let stack = Stack::of([NAME]).replicas(NAME, 2).vars(NAME, vars).start().await;
    let owner = Owner::start(&kafka).await;
    let db = stack.db(NAME);

    // Every write is counted by Postgres itself.
    let mut conn = db.connect().await;
    sqlx::raw_sql(
        "CREATE TABLE written (offer_id uuid, version bigint);
        CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            INSERT INTO public.written VALUES (NEW.offer_id, NEW.version);
            RETURN NULL;
        END $$;
        CREATE TRIGGER count_it AFTER INSERT OR UPDATE ON tallies FOR EACH ROW EXECUTE FUNCTION count_it()",
    )
    .execute(&mut conn)
    .await
    .unwrap();

    let mut ids: Vec<Uuid> = (0..OFFERS).map(|_| Uuid::now_v7()).collect();
    ids.sort();
    for version in 1..=VERSIONS {
        owner.say(ids.iter().map(|id| cast(*id, version, version, 0))).await;
        match version {
            5 => stack.kill(NAME, 0),
            12 => stack.restart(NAME, 0).await,
            18 => stack.kill(NAME, 1),
            _ => {}
        }
    }
    stack.restart(NAME, 1).await;
    let rows: Vec<Row> = ids.iter().map(|id| (*id, VERSIONS, VERSIONS, 0)).collect();
    until_kept(db, &rows).await;
    let (all, distinct): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT (offer_id, version)) FROM written")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    let expected = i64::try_from(OFFERS).unwrap() * VERSIONS;
    assert_eq!((all, distinct), (expected, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_leaves_its_share_to_the_other() {
    let world = World::start().await;
    let mut ids: Vec<Uuid> = (0..OFFERS).map(|_| Uuid::now_v7()).collect();
    ids.sort();
    let rows = |version| -> Vec<Row> { ids.iter().map(|id| (*id, version, version, 0)).collect() };
    let said = |version| ids.iter().map(move |id| cast(*id, version, version, 0));
    world.hear(said(1), &rows(1)).await;
    let World { replicas: [first, _second], owner, db, _kafka, .. } = world;
    first.stop().await.unwrap();
    owner.say(said(2)).await;
    until_kept(&db, &rows(2)).await;
}
