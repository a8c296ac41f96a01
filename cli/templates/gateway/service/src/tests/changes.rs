use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn it_is_made_and_renamed_and_each_change_raises_its_version_by_one() {
    let world = World::start().await;
    let user = world.user();
    let made = world.create(&user, " First ").await;
    assert_eq!((made.name.as_str(), made.version), ("First", 1));
    assert_eq!(made.owner_id, user.id.to_string());
    assert!(made.create_time.is_some());

    for (name, version) in [("Second", 2), ("Second", 2), ("Third", 3)] {
        let now = world.rename(&user, renaming(&made, name)).await.unwrap();
        assert_eq!((now.name.as_str(), now.version), (name, version));
    }
}

#[tokio::test]
async fn of_two_changes_that_expect_the_same_version_one_wins() {
    let world = World::start().await;
    let user = world.user();
    let made = world.create(&user, "First").await;
    let attempts = ["Second", "Third"].map(|name| {
        let mut request = renaming(&made, name);
        request.expected_version = Some(1);
        world.rename(&user, request)
    });
    let mut outcomes: Vec<_> = join_all(attempts)
        .await
        .into_iter()
        .map(|outcome| outcome.map_err(|status| reason(&status)).map(|now| now.version))
        .collect();
    outcomes.sort();
    assert_eq!(outcomes, [Ok(2), Err("VERSION_MISMATCH".to_owned())]);
}

#[tokio::test]
async fn what_belongs_to_another_user_is_not_found() {
    let world = World::start().await;
    let (user, stranger) = (world.user(), world.user());
    let made = world.create(&user, "First").await;
    let outcome = world.rename(&stranger, renaming(&made, "Mine")).await;
    assert_eq!(refused(outcome), "@ENTITY@_NOT_FOUND");
    let now = world.rename(&user, renaming(&made, "First")).await.unwrap();
    assert_eq!(now, made);
}

#[tokio::test]
async fn a_request_id_has_one_effect_and_one_answer_and_another_body_is_a_conflict() {
    let world = World::start().await;
    let user = world.user();
    let request = creation("First");
    let answers = join_all((0..6).map(|_| {
        let (mut client, request) = (world.client(), user.ask(request.clone()));
        async move { client.create_@entity@(request).await.unwrap().into_inner() }
    }))
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM @entities@")
        .fetch_one(&mut world.db.connect().await)
        .await
        .unwrap();
    assert_eq!(rows, 1);

    let mut changed = request;
    changed.name = "Second".to_owned();
    let outcome = world.client().create_@entity@(user.ask(changed)).await;
    assert_eq!(refused(outcome), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn bad_fields_are_all_named() {
    let world = World::start().await;
    let user = world.user();
    let request = Rename@Entity@Request {
        request_id: request_id(),
        @entity@_id: "7".to_owned(),
        name: "x".repeat(121),
        expected_version: None,
    };
    let status = world.rename(&user, request).await.unwrap_err();
    let named: Vec<String> = Details::of(&status)
        .violations
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(named, ["@entity@_id", "name"]);
}
