use super::*;

#[test]
fn the_command_line_is_well_formed() {
    platform::config::debug_assert::<Config>();
}

#[tokio::test]
async fn stored_queries_match_the_schema() {
    let db = platform_testkit::db(MIGRATORS).await;
    platform_testkit::queries::assert_match(&db, env!("CARGO_MANIFEST_DIR")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_and_catalog_it_starts_and_answers_and_stops_and_needs_no_right_to_change_tables()
 {
    let db = platform_testkit::db_with_roles(MIGRATORS).await;
    let issuer = Issuer::start().await;
    let mut vars = vars(&db, &issuer, NOWHERE);
    let no_broker = platform_testkit::NO_BROKER.to_owned();
    vars.insert("KAFKA_BROKERS".to_owned(), no_broker);
    let id = Uuid::now_v7();
    let mut conn = db.connect().await;
    store::model::rebuilt(&mut conn, platform::time::now())
        .await
        .unwrap();
    let offer = domain::Offer {
        id: domain::OfferId(id),
        area: Some("berlin-mitte".to_owned()),
        published: true,
        version: 1,
    };
    store::model::put_offer(&mut conn, &offer).await.unwrap();

    let running = replica(vars).await;
    assert_eq!(ask(client(&running), "berlin-mitte").await, Ok(id));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_leaves_its_share_to_the_other() {
    let world = World::start().await;
    let ids: Vec<Uuid> = (0..24).map(|_| Uuid::now_v7()).collect();
    world
        .hear(ids.iter().map(|id| published(*id, 1, "berlin-mitte")))
        .await;
    let World {
        replicas: [first, _second],
        owner,
        db,
        _kafka,
        ..
    } = world;
    first.stop().await.unwrap();
    owner.say(ids.iter().map(|id| retired(*id, 2))).await;
    let mut conn = db.connect().await;
    until("the other replica to hear it all", async || {
        let offers = offers(&mut conn).await;
        offers
            .iter()
            .all(|(_, version, _, published)| *version == 2 && !published)
            .then_some(())
    })
    .await;
}
