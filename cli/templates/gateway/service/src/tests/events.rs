@if events@
use api::homeward::@module@::v1::{@Entity@Created, @Entity@Renamed};
use platform_contract::Event;
use platform_testkit::{Said, kafka};

use super::*;

/// Names and versions as they lie in the log.
fn told(said: &[Said]) -> Vec<(&str, i64)> {
    said.iter()
        .map(|said| (said.name.as_str(), said.version))
        .collect()
}

/// Versions in the outbox.
async fn waiting(world: &World) -> Vec<i64> {
    sqlx::query_scalar("SELECT version FROM platform.outbox ORDER BY lane, sequence")
        .fetch_all(&mut world.db.connect().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn each_change_is_said_once_and_nothing_else_is() {
    let kafka = kafka();
    let world = World::with(kafka.vars()).await;
    let (user, stranger) = (world.user(), world.user());
    let made = world.create(&user, "First").await;
    for name in ["Second", "Second", "Third"] {
        world.rename(&user, renaming(&made, name)).await.unwrap();
    }
    let repeated = renaming(&made, "Fourth");
    for _ in 0..2 {
        world.rename(&user, repeated.clone()).await.unwrap();
    }
    world.rename(&stranger, renaming(&made, "Mine")).await.unwrap_err();

    let said = kafka.said::<@Entity@Created>(&world.db).await;
    let names = [
        (@Entity@Created::NAME, 1),
        (@Entity@Renamed::NAME, 2),
        (@Entity@Renamed::NAME, 3),
        (@Entity@Renamed::NAME, 4),
    ];
    assert_eq!(told(&said), names);
    let created = @Entity@Created {
        @entity@_id: made.id.clone(),
        version: 1,
        owner_id: user.id.to_string(),
    };
    assert_eq!(said[0].event::<@Entity@Created>(), created);
    for event in &said {
        assert_eq!(event.key, made.id);
        assert_eq!(event.headers["ce_source"], "/homeward/@name@");
        assert_eq!(event.headers["ce_actorid"], user.id.to_string());
    }
}

#[tokio::test]
async fn an_event_and_what_it_says_commit_together_or_not_at_all() {
    let world = World::start().await;
    let user = world.user();
    let made = world.create(&user, "First").await;
    assert_eq!(waiting(&world).await, [1]);
    let mut conn = world.db.connect().await;
    sqlx::raw_sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'planted'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON platform.outbox FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let outcome = world.rename(&user, renaming(&made, "Second")).await;
    assert_eq!(refused(outcome), "INTERNAL_FAULT");
    let name: String = sqlx::query_scalar("SELECT name FROM @entities@")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(name, "First", "no change without its event");

    sqlx::raw_sql(
        "DROP TRIGGER fail ON platform.outbox;
        CREATE CONSTRAINT TRIGGER fail AFTER UPDATE ON @entities@ DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    world.rename(&user, renaming(&made, "Third")).await.unwrap_err();
    assert_eq!(waiting(&world).await, [1], "no event without its change");
}

#[tokio::test]
async fn calls_go_on_without_a_broker_and_what_they_said_is_sent_later() {
    let world = World::start().await;
    let user = world.user();
    let made = world.create(&user, "First").await;
    world.rename(&user, renaming(&made, "Second")).await.unwrap();
    assert_eq!(waiting(&world).await, [1, 2]);

    let kafka = kafka();
    let mut vars = vars(&world.db, &world.issuer);
    vars.extend(kafka.vars());
    let _late = replica(vars).await;
    let said = kafka.said::<@Entity@Created>(&world.db).await;
    assert_eq!(told(&said), [(@Entity@Created::NAME, 1), (@Entity@Renamed::NAME, 2)]);
}
@end@
