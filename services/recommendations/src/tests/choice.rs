use futures_util::future::join_all;

use super::*;

const AREA: &str = "berlin-mitte";

#[tokio::test(flavor = "multi_thread")]
async fn one_vote_on_a_new_offer_does_not_win_against_many() {
    let world = World::start().await;
    let [old, new, disliked] = [(); 3].map(|()| Uuid::now_v7());
    world
        .hear([
            published(new, 1, AREA),
            cast(new, 1, 1, 0),
            published(disliked, 1, AREA),
            cast(disliked, 1, 20, 80),
            published(old, 1, AREA),
            cast(old, 1, 60, 15),
            // Better than all of them, elsewhere.
            published(Uuid::from_u128(1), 1, "leipzig"),
            cast(Uuid::from_u128(1), 1, 1000, 0),
        ])
        .await;
    assert_eq!(world.ask(AREA).await, Ok(old));
    assert_eq!(world.ask(AREA).await, Ok(old));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_come_second_answer_what_the_first_has_chosen() {
    let world = World::start().await;
    let [best, chosen] = [(); 2].map(|()| Uuid::now_v7());
    world
        .hear([
            published(chosen, 1, AREA),
            published(best, 1, AREA),
            cast(best, 1, 9, 0),
        ])
        .await;
    // A choice that nobody sees yet, of what was the best a moment ago.
    let mut conn = world.db.connect().await;
    let mut tx = conn.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO offers_of_the_day (area, day, offer_id, chosen_at)
        VALUES ($1, (now() AT TIME ZONE 'utc')::date, $2, now())",
    )
    .bind(AREA)
    .bind(chosen)
    .execute(&mut *tx)
    .await
    .unwrap();

    let answers = join_all((0..8).map(|_| world.ask(AREA)));
    let then_commit = async {
        let mut watch = world.db.connect().await;
        until("both replicas to wait for the choice", async || {
            let statement = "SELECT count(DISTINCT client_port) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let waiting: i64 = sqlx::query_scalar(statement)
                .fetch_one(&mut watch)
                .await
                .unwrap();
            (waiting == 8).then_some(())
        })
        .await;
        tx.commit().await.unwrap();
    };
    let (answers, ()) = tokio::join!(answers, then_commit);
    assert!(
        answers.iter().all(|answer| *answer == Ok(chosen)),
        "{answers:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_stands_until_its_offer_is_retired() {
    let world = World::start().await;
    let [first, second, third] = [(); 3].map(|()| Uuid::now_v7());
    world
        .hear([
            published(first, 1, AREA),
            cast(first, 1, 10, 0),
            published(second, 1, AREA),
        ])
        .await;
    assert_eq!(world.ask(AREA).await, Ok(first));

    // Neither better offers, nor its own fall, nor a change of it matter.
    world
        .hear([
            cast(first, 2, 10, 90),
            cast(second, 1, 500, 0),
            updated(first, 2, AREA, OfferState::Published),
        ])
        .await;
    for _ in 0..4 {
        assert_eq!(world.ask(AREA).await, Ok(first));
    }

    world.hear([retired(first, 3)]).await;
    let answers = join_all((0..16).map(|_| world.ask(AREA))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(second)));

    world.hear([retired(second, 2)]).await;
    let none = Err("AREA_WITHOUT_OFFERS".to_owned());
    assert_eq!(world.ask(AREA).await, none);
    world.hear([published(third, 1, AREA)]).await;
    assert_eq!(world.ask(AREA).await, Ok(third));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_day_has_its_own_choice() {
    let world = World::start().await;
    let [best, other] = [(); 2].map(|()| Uuid::now_v7());
    world
        .hear([
            published(other, 1, AREA),
            published(best, 1, AREA),
            cast(best, 1, 9, 0),
        ])
        .await;
    let mut conn = world.db.connect().await;
    sqlx::query(
        "INSERT INTO offers_of_the_day (area, day, offer_id, chosen_at)
        VALUES ($1, (now() AT TIME ZONE 'utc')::date - 1, $2, now())",
    )
    .bind(AREA)
    .bind(other)
    .execute(&mut conn)
    .await
    .unwrap();
    let request = GetOfferOfTheDayRequest {
        area: AREA.to_owned(),
    };
    let answer = world.client().get_offer_of_the_day(request).await.unwrap();
    let answer = answer.into_inner();
    let today = domain::day(platform::time::now()).to_string();
    assert_eq!(
        (answer.offer_id, answer.area.as_str(), answer.day),
        (best.to_string(), AREA, today)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_area_without_a_published_offer_has_none() {
    let world = World::start().await;
    world
        .hear([updated(Uuid::now_v7(), 1, AREA, OfferState::Draft)])
        .await;
    let none = Err("AREA_WITHOUT_OFFERS".to_owned());
    assert_eq!(world.ask(AREA).await, none);
    assert_eq!(world.ask("leipzig").await, none);
    let invalid = Err("FIELD_INVALID".to_owned());
    assert_eq!(world.ask("").await, invalid);
    assert_eq!(world.ask("Berlin Mitte").await, invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_chosen_from_a_model_that_was_never_built() {
    let world = World::with(false, NOWHERE, platform_testkit::kafka()).await;
    let id = Uuid::now_v7();
    let mut conn = world.db.connect().await;
    let offer = domain::Offer {
        id: domain::OfferId(id),
        area: Some(AREA.to_owned()),
        published: true,
        version: 1,
    };
    store::model::put_offer(&mut conn, &offer).await.unwrap();
    let none = Err("AREA_WITHOUT_OFFERS".to_owned());
    assert_eq!(world.ask(AREA).await, none);
    store::model::rebuilt(&mut conn, platform::time::now())
        .await
        .unwrap();
    assert_eq!(world.ask(AREA).await, Ok(id));
}
