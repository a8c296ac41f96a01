use api::homeward::identity::v1::{
    GetViewerRequest, IssueServiceTokenRequest, LogoutRequest, RefreshSessionRequest,
    RefreshSessionResponse, SwitchOrganisationRequest,
};
use platform_contract::PlatformReason;
use sqlx::Connection as _;
use tokio::task::JoinSet;

use super::*;

pub(super) async fn refresh(
    world: &World,
    refresh_token: &str,
) -> Result<RefreshSessionResponse, Status> {
    let request = RefreshSessionRequest {
        refresh_token: refresh_token.to_owned(),
    };
    world
        .client()
        .refresh_session(request)
        .await
        .map(tonic::Response::into_inner)
}

pub(super) fn tokens(response: RefreshSessionResponse) -> Session {
    Session::from(response.tokens.unwrap())
}

/// As if the session had been refreshed longer ago.
pub(super) async fn age_rotation(world: &World, session: &Session, by: TimeDelta) {
    let done = sqlx::query("UPDATE sessions SET rotated_at = rotated_at - $2 WHERE id = $1")
        .bind(session.claims().sid)
        .bind(by)
        .execute(&mut world.connect().await)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_are_answered_alike() {
    let world = World::start().await;
    let person = world.register(UserKind::Mover).await;
    let wrong = LoginRequest {
        password: "wrong".to_owned(),
        ..person.login()
    };
    let wrong = world.client().login(wrong).await.unwrap_err();
    let unknown = LoginRequest {
        email: email(),
        ..person.login()
    };
    let unknown = world.client().login(unknown).await.unwrap_err();
    assert_eq!(wrong.code(), unknown.code());
    assert_eq!(wrong.message(), unknown.message());
    assert_eq!(wrong.details(), unknown.details());
    assert_refused(Err::<(), _>(wrong), ErrorReason::CredentialsInvalid);
    assert_eq!(world.versions(person.id()).await, (1, 1));
}

#[tokio::test]
async fn a_login_says_who_one_is() {
    let world = World::start().await;
    let (person, session) = world.somebody(UserKind::Business).await;
    let Ok(Caller::User(user)) = world.verify(&session.access).await else {
        panic!("a user");
    };
    assert_eq!(user.id.to_string(), person.id());
    assert_eq!(user.kind, "user-business");
    assert_eq!(user.roles, ["user-business"]);
    assert_eq!(user.access_version, 1);
    let (organisation, role) = user.organisation.unwrap();
    assert_eq!(organisation.to_string(), person.organisation());
    assert_eq!(role, platform::auth::OrgRole::Owner);
    assert_eq!(world.versions(person.id()).await, (2, 1));

    let (_, mover) = world.somebody(UserKind::Mover).await;
    assert_eq!(mover.claims().org, None);
    let elsewhere = LoginRequest {
        organisation_id: Uuid::now_v7().to_string(),
        ..person.login()
    };
    let elsewhere = world.client().login(elsewhere).await;
    assert_refused(elsewhere, ErrorReason::OrganisationNotFound);
}

#[tokio::test]
async fn a_refresh_token_yields_its_successor_and_the_one_before_the_same() {
    let world = World::start().await;
    let (_, first) = world.somebody(UserKind::Mover).await;
    let second = tokens(refresh(&world, &first.refresh).await.unwrap());
    assert_ne!(second.refresh, first.refresh);
    assert_eq!(second.claims().sid, first.claims().sid);
    let again = tokens(refresh(&world, &first.refresh).await.unwrap());
    assert_eq!(again.refresh, second.refresh, "a lost answer");
    let third = tokens(refresh(&world, &second.refresh).await.unwrap());
    assert_ne!(third.refresh, second.refresh);
}

#[tokio::test]
async fn refreshing_at_once_on_two_replicas_yields_one_successor() {
    let world = World::start().await;
    let (_, session) = world.somebody(UserKind::Mover).await;
    let mut refreshes = JoinSet::new();
    for _ in 0..8 {
        let mut client = world.client();
        let request = RefreshSessionRequest {
            refresh_token: session.refresh.clone(),
        };
        refreshes.spawn(async move { client.refresh_session(request).await });
    }
    let mut successors: Vec<_> = refreshes
        .join_all()
        .await
        .into_iter()
        .map(|answer| tokens(answer.unwrap().into_inner()).refresh)
        .collect();
    successors.dedup();
    assert_eq!(successors.len(), 1);
    let counter: i64 = sqlx::query_scalar("SELECT counter FROM sessions")
        .fetch_one(&mut world.connect().await)
        .await
        .unwrap();
    assert_eq!(counter, 2);
}

#[tokio::test]
async fn a_late_refresh_does_not_undo_a_later_one() {
    let world = World::start().await;
    let (_, session) = world.somebody(UserKind::Mover).await;
    let mut conn = world.connect().await;
    let mut later = conn.begin().await.unwrap();
    sqlx::query("UPDATE sessions SET counter = counter + 2, rotated_at = now()")
        .execute(&mut *later)
        .await
        .unwrap();
    let mut client = world.client();
    let request = RefreshSessionRequest {
        refresh_token: session.refresh,
    };
    let late = tokio::spawn(async move { client.refresh_session(request).await });
    world.until_waiting(1).await;
    later.commit().await.unwrap();
    assert_refused(late.await.unwrap(), ErrorReason::RefreshTokenReused);
}

#[tokio::test]
async fn reuse_of_a_refresh_token_ends_the_family() {
    let world = World::start().await;
    let (person, first) = world.somebody(UserKind::Mover).await;
    let second = tokens(refresh(&world, &first.refresh).await.unwrap());
    age_rotation(&world, &first, TimeDelta::seconds(31)).await;

    let reused = refresh(&world, &first.refresh).await;
    assert_refused(reused, ErrorReason::RefreshTokenReused);
    assert_eq!(
        world.versions(person.id()).await,
        (3, 1),
        "the end of a session is counted"
    );
    let after = refresh(&world, &second.refresh).await;
    assert_refused(after, ErrorReason::RefreshTokenInvalid);
    let again = refresh(&world, &first.refresh).await;
    assert_refused(again, ErrorReason::RefreshTokenInvalid);
    assert_eq!(world.versions(person.id()).await, (3, 1));
    world.login(&person).await;
}

#[tokio::test]
async fn a_token_two_steps_old_is_reuse_at_once() {
    let world = World::start().await;
    let (_, first) = world.somebody(UserKind::Mover).await;
    let second = tokens(refresh(&world, &first.refresh).await.unwrap());
    refresh(&world, &second.refresh).await.unwrap();
    let reused = refresh(&world, &first.refresh).await;
    assert_refused(reused, ErrorReason::RefreshTokenReused);
}

#[tokio::test]
async fn an_expired_or_forged_refresh_token_is_invalid() {
    let world = World::start().await;
    let (_, session) = world.somebody(UserKind::Mover).await;
    for forged in ["", "x", &session.refresh[1..], &session.access] {
        let answer = refresh(&world, forged).await;
        assert_refused(answer, ErrorReason::RefreshTokenInvalid);
    }
    sqlx::query("UPDATE sessions SET expires_at = now()")
        .execute(&mut world.connect().await)
        .await
        .unwrap();
    let expired = refresh(&world, &session.refresh).await;
    assert_refused(expired, ErrorReason::RefreshTokenInvalid);
}

#[tokio::test]
async fn a_login_does_not_outrun_a_change_of_the_password() {
    let world = World::start().await;
    let person = world.register(UserKind::Mover).await;
    let mut conn = world.connect().await;
    let mut change = conn.begin().await.unwrap();
    sqlx::query("UPDATE passwords SET hash = '$argon2id$another', changed_at = now()")
        .execute(&mut *change)
        .await
        .unwrap();
    let (mut client, request) = (world.client(), person.login());
    let login = tokio::spawn(async move { client.login(request).await });
    world.until_waiting(1).await;
    change.commit().await.unwrap();
    assert_refused(login.await.unwrap(), ErrorReason::CredentialsInvalid);
    assert_eq!(world.versions(person.id()).await, (1, 1));
}

#[tokio::test]
async fn logout_ends_this_session_only_and_once() {
    let world = World::start().await;
    let (person, other) = world.somebody(UserKind::Mover).await;
    let session = world.login(&person).await;
    for _ in 0..2 {
        world
            .client()
            .logout(session.request(LogoutRequest {}))
            .await
            .unwrap();
        assert_eq!(world.versions(person.id()).await, (4, 1));
    }
    let ended = refresh(&world, &session.refresh).await;
    assert_refused(ended, ErrorReason::RefreshTokenInvalid);
    refresh(&world, &other.refresh).await.unwrap();
}

#[tokio::test]
async fn a_session_switches_between_the_organisations_of_its_user() {
    let world = World::start().await;
    let (owner, session) = world.somebody(UserKind::Business).await;
    let switch = async |session: &Session, organisation_id: &str| {
        let request = SwitchOrganisationRequest {
            organisation_id: organisation_id.to_owned(),
        };
        let answer = world
            .client()
            .switch_organisation(session.request(request))
            .await;
        answer.map(|answer| answer.into_inner().access_token)
    };

    let none = switch(&session, "").await.unwrap();
    assert_eq!(claims(&none).org, None);
    let refreshed = tokens(refresh(&world, &session.refresh).await.unwrap());
    assert_eq!(refreshed.claims().org, None, "the session remembers");

    let back = switch(&refreshed, owner.organisation()).await.unwrap();
    assert_eq!(claims(&back).org.unwrap().to_string(), owner.organisation());
    assert_eq!(
        world.versions(owner.id()).await,
        (2, 1),
        "no rights were lessened"
    );

    let (_, stranger) = world.somebody(UserKind::Business).await;
    let foreign = switch(&stranger, owner.organisation()).await;
    assert_refused(foreign, ErrorReason::OrganisationNotFound);
    assert_invalid(switch(&session, "x").await, &["organisation_id"]);

    world
        .client()
        .logout(session.request(LogoutRequest {}))
        .await
        .unwrap();
    assert_refused(switch(&session, "").await, PlatformReason::TokenRevoked);
}

#[tokio::test]
async fn a_service_gets_a_token_for_its_own_secret() {
    let world = World::start().await;
    let issue = async |service: &str, secret: &str| {
        let request = IssueServiceTokenRequest {
            service: service.to_owned(),
            secret: secret.to_owned(),
        };
        let answer = world.client().issue_service_token(request).await;
        answer.map(|answer| answer.into_inner().access_token)
    };
    let token = issue("catalog", "0123456789abcdef").await.unwrap();
    let Ok(Caller::System(system)) = world.verify(&token).await else {
        panic!("a service");
    };
    assert_eq!(system.name, "catalog");
    let viewer = world
        .client()
        .get_viewer(authorized(&token, GetViewerRequest {}))
        .await;
    assert_refused(viewer, PlatformReason::RoleRequired);

    for (service, secret) in [
        ("bff", "0123456789abcdef"),
        ("catalog", "0123456789abcdeF"),
        ("catalog", ""),
        ("", ""),
        ("unknown", "0123456789abcdef"),
    ] {
        let answer = issue(service, secret).await;
        assert_refused(answer, ErrorReason::ServiceSecretInvalid);
    }
}

#[tokio::test]
async fn expired_sessions_are_forgotten() {
    let world = World::start().await;
    let (person, kept) = world.somebody(UserKind::Mover).await;
    let expired = world.login(&person).await;
    sqlx::query("UPDATE sessions SET expires_at = now() - interval '1 s' WHERE id = $1")
        .bind(expired.claims().sid)
        .execute(&mut world.connect().await)
        .await
        .unwrap();
    let cleaned = crate::expired_sessions_cleaner::clean(&world.db.pool())
        .await
        .unwrap();
    assert_eq!(cleaned, 1);
    refresh(&world, &kept.refresh).await.unwrap();
}

#[tokio::test]
async fn logins_over_the_limit_are_shed_with_a_hint_and_the_rest_succeed() {
    let world = World::start_with(&[
        ("PASSWORD_MEMORY_KIB", "65536"),
        ("PASSWORD_PASSES", "4"),
        ("PASSWORD_THREADS", "1"),
        ("PASSWORD_QUEUE_MAX", "1"),
        ("PASSWORD_QUEUE_AGE_MAX", "60s"),
    ])
    .await;
    let person = world.register(UserKind::Mover).await;
    let mut logins = JoinSet::new();
    for _ in 0..12 {
        let (mut client, request) = (world.client_of(0), person.login());
        logins.spawn(async move { client.login(request).await });
    }
    let answers = logins.join_all().await;
    let (opened, shed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert!(!opened.is_empty());
    assert!(!shed.is_empty());
    for answer in shed {
        let details = assert_refused(answer, ErrorReason::LoginOverloaded);
        assert!(details.retry_after.is_some());
        assert_eq!(details.retryable, Some(true));
    }
    let version = i64::try_from(opened.len()).unwrap() + 1;
    assert_eq!(world.versions(person.id()).await, (version, 1));
}
