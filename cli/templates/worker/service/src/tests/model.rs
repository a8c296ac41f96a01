use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_each_offer_is_kept_also_if_the_log_repeats_itself() {
    let world = World::start().await;
    let [one, two] = [(); 2].map(|()| Uuid::now_v7());
    let first = [cast(one, 1, 1, 0), cast(two, 1, 0, 1), cast(one, 2, 2, 0)];
    let again = first.clone();
    let said = first.into_iter().chain(again).chain([retracted(one, 3, 1, 0)]);
    world.hear(said, &[(one, 3, 1, 0), (two, 1, 0, 1)]).await;
    assert_eq!(parked(&mut world.db.connect().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_missing_parks_its_offer_only() {
    let world = World::start().await;
    let [whole, torn] = [(); 2].map(|()| Uuid::now_v7());
    let said = [cast(torn, 1, 1, 0), cast(torn, 3, 3, 0), cast(whole, 1, 1, 0), cast(whole, 2, 2, 0)];
    world.hear(said, &[(whole, 2, 2, 0), (torn, 1, 1, 0)]).await;
    let mut conn = world.db.connect().await;
    until("the later event to be parked", async || {
        (parked(&mut conn).await == 1).then_some(())
    })
    .await;
    assert_eq!(kept(&mut conn).await, [(whole, 2, 2, 0), (torn, 1, 1, 0)]);
}
