use api::homeward::identity::v1::{
    BatchGetOrganisationsRequest, BatchGetUsersRequest, ChangePasswordRequest,
    CreateOrganisationRequest, GetViewerRequest, MemberRole, RefreshSessionRequest,
};
use platform_contract::PlatformReason;
use sqlx::Connection as _;
use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn an_address_registers_once_in_whatever_case() {
    let world = World::start().await;
    let mut request = registration(UserKind::Mover);
    request.email = "Ada.Lovelace@Example.org".to_owned();
    world.client().register(request.clone()).await.unwrap();

    request.request_id = request_id();
    request.email = "ada.lovelace@EXAMPLE.ORG".to_owned();
    let again = world.client().register(request).await;
    assert_refused(again, ErrorReason::EmailTaken);

    let login = LoginRequest {
        email: "ADA.LOVELACE@example.org".to_owned(),
        password: PASSWORD.to_owned(),
        organisation_id: String::new(),
    };
    let user = world
        .client()
        .login(login)
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert_eq!(user.email, "Ada.Lovelace@Example.org", "as it was typed");
}

#[tokio::test]
async fn a_repeated_registration_gets_its_first_answer() {
    let world = World::start().await;
    let request = registration(UserKind::Business);
    let first = world.client().register(request.clone()).await.unwrap();
    let again = world.client().register(request.clone()).await.unwrap();
    assert_eq!(first.into_inner(), again.into_inner());

    let other = RegisterRequest {
        display_name: "Eve".to_owned(),
        ..request
    };
    assert_refused(
        world.client().register(other).await,
        PlatformReason::RequestIdReused,
    );
}

#[tokio::test]
async fn one_address_registered_many_times_at_once_is_one_account() {
    let world = World::start().await;
    let request = registration(UserKind::Mover);
    let mut registrations = JoinSet::new();
    for _ in 0..8 {
        let request = RegisterRequest {
            request_id: request_id(),
            ..request.clone()
        };
        let mut client = world.client();
        registrations.spawn(async move { client.register(request).await });
    }
    let answers = registrations.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for answer in answers.into_iter().filter(Result::is_err) {
        assert_refused(answer, ErrorReason::EmailTaken);
    }
}

#[tokio::test]
async fn a_bad_registration_names_every_field() {
    let world = World::start().await;
    let bad = RegisterRequest {
        request_id: request_id(),
        email: "nobody".to_owned(),
        password: "too short".to_owned(),
        display_name: "\u{202E}".to_owned(),
        kind: 99,
        organisation_name: String::new(),
    };
    let fields = ["email", "password", "display_name", "kind"];
    assert_invalid(world.client().register(bad).await, &fields);

    let nameless = RegisterRequest {
        organisation_name: String::new(),
        ..registration(UserKind::Business)
    };
    assert_invalid(
        world.client().register(nameless).await,
        &["organisation_name"],
    );

    let named = RegisterRequest {
        organisation_name: "Vans".to_owned(),
        ..registration(UserKind::Mover)
    };
    assert_invalid(world.client().register(named).await, &["organisation_name"]);

    let huge = RegisterRequest {
        password: "x".repeat(500_000),
        display_name: "\0".to_owned(),
        request_id: "1".to_owned(),
        ..registration(UserKind::Client)
    };
    assert_invalid(
        world.client().register(huge.clone()).await,
        &["password", "display_name"],
    );
    let id = RegisterRequest {
        request_id: huge.request_id,
        ..registration(UserKind::Client)
    };
    assert_invalid(world.client().register(id).await, &["request_id"]);
}

#[tokio::test]
async fn a_business_is_owner_of_what_it_founds() {
    let world = World::start().await;
    let (person, session) = world.somebody(UserKind::Business).await;
    let mut client = world.client();
    let viewer = client
        .get_viewer(session.request(GetViewerRequest {}))
        .await;
    let viewer = viewer.unwrap().into_inner();
    let user = viewer.user.unwrap();
    assert_eq!(user.id, person.id());
    assert_eq!(user.roles, ["user-business"]);
    assert_eq!(user.version, 2, "registered, then logged in");
    assert_eq!(viewer.organisation_id, person.organisation());
    assert_eq!(viewer.memberships.len(), 1);
    assert_eq!(viewer.memberships[0].role(), MemberRole::Owner);

    let second = CreateOrganisationRequest {
        request_id: request_id(),
        name: "Ada's Storage".to_owned(),
    };
    let created = client
        .create_organisation(session.request(second.clone()))
        .await;
    let created = created.unwrap().into_inner().organisation.unwrap();
    let again = world
        .client()
        .create_organisation(session.request(second))
        .await;
    assert_eq!(again.unwrap().into_inner().organisation.unwrap(), created);
    assert_eq!(world.versions(person.id()).await, (3, 1));

    let asked = BatchGetOrganisationsRequest {
        ids: vec![
            created.id.clone(),
            Uuid::now_v7().to_string(),
            person.organisation().to_owned(),
            created.id.clone(),
        ],
    };
    let found = world
        .client()
        .batch_get_organisations(asked)
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = found
        .organisations
        .iter()
        .map(|found| found.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["Ada's Storage", "Ada's Vans"],
        "in the order asked, once, if there"
    );
}

#[tokio::test]
async fn users_are_seen_by_themselves_and_their_colleagues_only() {
    let world = World::start().await;
    let (owner, session) = world.somebody(UserKind::Business).await;
    let (colleague, _) = world.somebody(UserKind::Mover).await;
    let (stranger, _) = world.somebody(UserKind::Mover).await;
    super::members::add(&world, &session, &owner, &colleague, MemberRole::Member)
        .await
        .unwrap();

    let ids = vec![
        stranger.id().to_owned(),
        colleague.id().to_owned(),
        owner.id().to_owned(),
        colleague.id().to_owned(),
    ];
    let request = session.request(BatchGetUsersRequest { ids });
    let users = world
        .client()
        .batch_get_users(request)
        .await
        .unwrap()
        .into_inner()
        .users;
    let found: Vec<_> = users.iter().map(|user| user.id.as_str()).collect();
    assert_eq!(found, [colleague.id(), owner.id()]);

    let many = BatchGetUsersRequest {
        ids: vec![owner.id().to_owned(); 101],
    };
    assert_invalid(
        world.client().batch_get_users(session.request(many)).await,
        &["ids"],
    );
    let bad = BatchGetUsersRequest {
        ids: vec![owner.id().to_owned(), "x".to_owned()],
    };
    assert_invalid(
        world.client().batch_get_users(session.request(bad)).await,
        &["ids[1]"],
    );
}

#[tokio::test]
async fn a_new_password_ends_other_sessions_and_raises_the_access_version() {
    let world = World::start().await;
    let (person, other) = world.somebody(UserKind::Mover).await;
    let session = world.login(&person).await;
    let change = ChangePasswordRequest {
        request_id: request_id(),
        current_password: PASSWORD.to_owned(),
        new_password: "a better password".to_owned(),
    };
    let response = world
        .client()
        .change_password(session.request(change.clone()))
        .await;
    assert_eq!(response.unwrap().into_inner().access_version, 2);
    assert_eq!(world.versions(person.id()).await, (4, 2));

    let again = world
        .client()
        .change_password(session.request(change.clone()))
        .await;
    assert_eq!(
        again.unwrap().into_inner().access_version,
        2,
        "the stored answer"
    );
    assert_eq!(world.versions(person.id()).await, (4, 2));

    let ended = RefreshSessionRequest {
        refresh_token: other.refresh,
    };
    let ended = world.client().refresh_session(ended).await;
    assert_refused(ended, ErrorReason::RefreshTokenInvalid);
    let kept = RefreshSessionRequest {
        refresh_token: session.refresh.clone(),
    };
    let kept = world
        .client()
        .refresh_session(kept)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(Session::from(kept.tokens.unwrap()).claims().ver, 2);

    let old = world.client().login(person.login()).await;
    assert_refused(old, ErrorReason::CredentialsInvalid);
    let new = LoginRequest {
        password: change.new_password,
        ..person.login()
    };
    world.client().login(new).await.unwrap();
}

#[tokio::test]
async fn a_password_changes_only_by_who_knows_it() {
    let world = World::start().await;
    let (person, session) = world.somebody(UserKind::Mover).await;
    let change = ChangePasswordRequest {
        request_id: request_id(),
        current_password: "not this one".to_owned(),
        new_password: "a better password".to_owned(),
    };
    let refused = world
        .client()
        .change_password(session.request(change))
        .await;
    assert_refused(refused, ErrorReason::CredentialsInvalid);
    assert_eq!(world.versions(person.id()).await, (2, 1));
    world.login(&person).await;
}

#[tokio::test]
async fn of_two_changes_of_a_password_at_once_one_counts() {
    let world = World::start().await;
    let (person, session) = world.somebody(UserKind::Mover).await;

    // Both have checked the old password before either is done.
    let mut conn = world.connect().await;
    let mut held = conn.begin().await.unwrap();
    sqlx::query("SELECT FROM passwords FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    let mut changes = JoinSet::new();
    for n in 0..2 {
        let request = session.request(ChangePasswordRequest {
            request_id: request_id(),
            current_password: PASSWORD.to_owned(),
            new_password: format!("a better password {n}"),
        });
        let mut client = world.client();
        changes.spawn(async move { client.change_password(request).await });
    }
    world.until_waiting(2).await;
    held.commit().await.unwrap();

    let answers = changes.join_all().await;
    let mut refused = answers.into_iter().filter(Result::is_err);
    assert_refused(refused.next().unwrap(), ErrorReason::CredentialsInvalid);
    assert!(refused.next().is_none());
    assert_eq!(world.versions(person.id()).await, (3, 2));
}
