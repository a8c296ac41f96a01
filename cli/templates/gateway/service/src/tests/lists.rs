use api::homeward::@module@::v1::{BatchGet@Entities@Request, List@Entities@Request, List@Entities@Response};

use super::*;

async fn list(world: &World, user: &User, request: List@Entities@Request) -> Result<List@Entities@Response, Status> {
    let answer = world.client().list_@entities@(user.ask(request)).await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn pages_hold_each_of_the_users_own_once_newest_first() {
    let world = World::start().await;
    let (user, stranger) = (world.user(), world.user());
    let mut expected = Vec::new();
    for number in 0..7 {
        expected.push(world.create(&user, &format!("Number {number}")).await);
        world.create(&stranger, "Not theirs").await;
    }
    expected.reverse();

    let mut found = Vec::new();
    let mut request = List@Entities@Request {
        page_size: 3,
        ..Default::default()
    };
    loop {
        let page = list(&world, &user, request.clone()).await.unwrap();
        assert!(page.@entities@.len() <= 3);
        found.extend(page.@entities@);
        // What comes in between is newer than all that is still to come.
        world.create(&user, "Meanwhile").await;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_page_token_that_was_changed_is_refused() {
    let world = World::start().await;
    let user = world.user();
    for _ in 0..2 {
        world.create(&user, "One of two").await;
    }
    let request = List@Entities@Request {
        page_size: 1,
        ..Default::default()
    };
    let mut page_token = list(&world, &user, request).await.unwrap().next_page_token;
    page_token.pop();
    let request = List@Entities@Request {
        page_size: 1,
        page_token,
    };
    assert_eq!(refused(list(&world, &user, request).await), "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn a_batch_answers_the_users_own_in_the_order_asked_without_repeats() {
    let world = World::start().await;
    let (user, stranger) = (world.user(), world.user());
    let [first, second] = [world.create(&user, "First").await, world.create(&user, "Second").await];
    let theirs = world.create(&stranger, "Not theirs").await;
    let ids = [&second.id, &theirs.id, &first.id, &request_id(), &second.id].map(Clone::clone);
    let request = BatchGet@Entities@Request { ids: ids.into() };
    let answer = world.client().batch_get_@entities@(user.ask(request)).await;
    assert_eq!(answer.unwrap().into_inner().@entities@, [second, first]);

    let request = BatchGet@Entities@Request {
        ids: (0..101).map(|_| request_id()).collect(),
    };
    let outcome = world.client().batch_get_@entities@(user.ask(request)).await;
    assert_eq!(refused(outcome), "FIELD_INVALID");
}
