use std::collections::BTreeMap;

use super::*;

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// What is said of one key of one topic, in order.
type History = Vec<Said>;

#[tokio::test(flavor = "multi_thread")]
async fn events_in_any_repeated_order_give_the_same_model() {
    let world = World::start().await;
    let mut dice = Dice(4);
    let mut histories: Vec<History> = Vec::new();
    let mut expected_offers = BTreeMap::new();
    let mut expected_tallies = BTreeMap::new();
    for number in 0..30_u128 {
        let id = Uuid::from_u128(number);
        let mut area = format!("area-{}", dice.roll(3));
        let mut history = vec![
            updated(id, 1, "nowhere", OfferState::Draft),
            published(id, 2, &area),
        ];
        for version in 3..3 + dice.roll(4) {
            area = format!("area-{}", dice.roll(3));
            let version = i64::try_from(version).unwrap();
            history.push(updated(id, version, &area, OfferState::Published));
        }
        let is_retired = dice.roll(3) == 0;
        if is_retired {
            history.push(retired(id, i64::try_from(history.len()).unwrap() + 1));
        }
        let version = i64::try_from(history.len()).unwrap();
        expected_offers.insert(id, (id, version, Some(area), !is_retired));
        histories.push(history);

        let (mut up, mut down) = (0, 0);
        let mut history = Vec::new();
        for version in 1..=i64::try_from(dice.roll(20)).unwrap() {
            match dice.roll(3) {
                0 => down += 1,
                1 if up > 0 => up -= 1,
                _ => up += 1,
            }
            history.push(match dice.roll(2) {
                0 => cast(id, version, up, down),
                _ => retracted(id, version, up, down),
            });
            expected_tallies.insert(id, (id, version, up, down));
        }
        histories.push(history);
    }

    // First occurrences are in order per key; nothing else is.
    let mut next = vec![0; histories.len()];
    loop {
        let left: Vec<usize> = (0..histories.len())
            .filter(|key| next[*key] < histories[*key].len())
            .collect();
        if left.is_empty() {
            break;
        }
        let mut batch = Vec::new();
        for _ in 0..20 {
            let key = left[dice.roll(left.len())];
            if let Some(said) = histories[key].get(next[key]) {
                batch.push(said.clone());
                next[key] += 1;
            }
            let again = dice.roll(histories.len());
            if next[again] > 0 {
                batch.push(histories[again][dice.roll(next[again])].clone());
            }
        }
        world.owner.say(batch).await;
    }
    world.settle().await;

    let mut conn = world.db.connect().await;
    assert_eq!(
        offers(&mut conn).await,
        expected_offers.into_values().collect::<Vec<_>>()
    );
    assert_eq!(
        tallies(&mut conn).await,
        expected_tallies.into_values().collect::<Vec<_>>()
    );
    assert_eq!(parked(&mut conn).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_may_be_heard_of_before_their_offer() {
    let world = World::start().await;
    let [liked, other] = [(); 2].map(|()| Uuid::now_v7());
    world.hear([cast(liked, 1, 9, 0)]).await;
    world
        .hear([
            published(other, 1, "leipzig"),
            published(liked, 1, "leipzig"),
        ])
        .await;
    assert_eq!(world.ask("leipzig").await, Ok(liked));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_missing_parks_its_offer_only() {
    let world = World::start().await;
    let [whole, torn] = [(); 2].map(|()| Uuid::now_v7());
    world
        .hear([
            published(whole, 1, "leipzig"),
            published(torn, 1, "leipzig"),
            updated(torn, 3, "leipzig", OfferState::Published),
            cast(torn, 1, 1, 0),
            updated(whole, 2, "berlin", OfferState::Published),
        ])
        .await;
    let mut conn = world.db.connect().await;
    let versions: Vec<(Uuid, i64)> = offers(&mut conn)
        .await
        .into_iter()
        .map(|(id, version, ..)| (id, version))
        .collect();
    assert_eq!(versions, [(whole, 2), (torn, 1)]);
    assert_eq!(tallies(&mut conn).await, [(torn, 1, 1, 0)]);
    assert_eq!(parked(&mut conn).await, 1);
}
