use api::homeward::identity::v1::{
    GrantRoleRequest, RevokeRoleRequest, UserRegistered, UserRoleGranted, UserRoleRevoked,
};
use platform_contract::PlatformReason;
use platform_testkit::kafka;
use sqlx::Connection as _;
use tokio::task::JoinSet;

use super::*;
use crate::{GrantArgs, grant as grant_by_command};

const OPERATOR: &str = "operator";

pub(super) fn grant_request(user_id: &str, role: &str) -> GrantRoleRequest {
    GrantRoleRequest {
        request_id: request_id(),
        user_id: user_id.to_owned(),
        role: role.to_owned(),
    }
}

pub(super) fn revoke_request(user_id: &str, role: &str) -> RevokeRoleRequest {
    RevokeRoleRequest {
        request_id: request_id(),
        user_id: user_id.to_owned(),
        role: role.to_owned(),
    }
}

async fn grant(
    world: &World,
    by: &Session,
    user_id: &str,
    role: &str,
) -> Result<Vec<String>, Status> {
    let request = by.request(grant_request(user_id, role));
    let answer = world.client().grant_role(request).await;
    answer.map(|answer| answer.into_inner().roles)
}

async fn revoke(
    world: &World,
    by: &Session,
    user_id: &str,
    role: &str,
) -> Result<Vec<String>, Status> {
    let request = by.request(revoke_request(user_id, role));
    let answer = world.client().revoke_role(request).await;
    answer.map(|answer| answer.into_inner().roles)
}

/// The first one, made by command.
pub(super) async fn operator(world: &World) -> (Person, Session) {
    let person = world.register(UserKind::Mover).await;
    let config = platform::config::parse("identity", &world.vars).unwrap();
    let args = GrantArgs {
        email: person.email.clone(),
        role: OPERATOR.to_owned(),
    };
    grant_by_command(config, args).await.unwrap();
    let session = world.login(&person).await;
    (person, session)
}

#[tokio::test]
async fn operators_appoint_and_dismiss_operators() {
    let kafka = kafka();
    let world = World::start_on(&kafka).await;
    let (first, session) = operator(&world).await;
    let person = world.register(UserKind::Business).await;

    // Once for each request, and the second changes nothing.
    let request = grant_request(person.id(), OPERATOR);
    for _ in 0..2 {
        let request = session.request(request.clone());
        let answer = world.client().grant_role(request).await.unwrap();
        let roles = answer.into_inner().roles;
        assert_eq!(roles, ["user-business", OPERATOR]);
    }
    grant(&world, &session, person.id(), OPERATOR)
        .await
        .unwrap();
    assert_eq!(world.versions(person.id()).await, (2, 1));
    let second = world.login(&person).await;
    assert_eq!(second.claims().roles, ["user-business", OPERATOR]);

    // The next one dismisses the first.
    for _ in 0..2 {
        let roles = revoke(&world, &second, first.id(), OPERATOR).await.unwrap();
        assert_eq!(roles, ["user-mover"]);
    }
    assert_eq!(world.versions(first.id()).await, (4, 2));
    assert_eq!(world.login(&first).await.claims().roles, ["user-mover"]);

    let said = kafka.said::<UserRegistered>(&world.db).await;
    let of = |id: &str, name: &str| -> Vec<_> {
        let of = |said: &&platform_testkit::Said| said.key == id && said.name == name;
        said.iter().filter(of).collect()
    };
    let granted = of(person.id(), "user.role_granted");
    assert_eq!(granted.len(), 1);
    let event = granted[0].event::<UserRoleGranted>();
    assert_eq!(
        (event.role.as_str(), event.organisation_id.as_str()),
        (OPERATOR, "")
    );
    assert_eq!(granted[0].headers["ce_actorid"], first.id());
    let revoked = of(first.id(), "user.role_revoked");
    assert_eq!(revoked.len(), 1);
    let event = revoked[0].event::<UserRoleRevoked>();
    assert_eq!((event.role.as_str(), event.access_version), (OPERATOR, 2));
    assert_eq!(revoked[0].headers["ce_actorid"], person.id());
}

#[tokio::test]
async fn roles_of_services_and_of_kinds_are_neither_given_nor_taken() {
    let world = World::start().await;
    let (first, session) = operator(&world).await;
    let person = world.register(UserKind::Mover).await;
    for role in ["system", "user-business", "user-mover", "Operator", ""] {
        let refused = grant(&world, &session, person.id(), role).await;
        assert_invalid(refused, &["role"]);
        let refused = revoke(&world, &session, first.id(), role).await;
        assert_invalid(refused, &["role"]);
    }
    let nobody = request_id();
    let refused = grant(&world, &session, &nobody, OPERATOR).await;
    assert_refused(refused, ErrorReason::UserNotFound);
    let refused = revoke(&world, &session, &nobody, OPERATOR).await;
    assert_refused(refused, ErrorReason::UserNotFound);
    let (_, mover) = world.somebody(UserKind::Mover).await;
    let refused = grant(&world, &mover, person.id(), OPERATOR).await;
    assert_refused(refused, PlatformReason::RoleRequired);
    assert_eq!(world.versions(person.id()).await, (1, 1));
}

#[tokio::test]
async fn the_last_operator_stays_one() {
    let world = World::start().await;
    let (first, session) = operator(&world).await;
    let refused = revoke(&world, &session, first.id(), OPERATOR).await;
    assert_refused(refused, ErrorReason::LastOperator);
    assert_eq!(world.versions(first.id()).await, (3, 1));
}

#[tokio::test]
async fn operators_who_dismiss_each_other_at_once_leave_one_behind() {
    let world = World::start().await;
    let (first, session) = operator(&world).await;
    let second = world.register(UserKind::Mover).await;
    grant(&world, &session, second.id(), OPERATOR)
        .await
        .unwrap();
    let own = world.login(&second).await;

    // Both get as far as they can before either is done.
    let mut conn = world.connect().await;
    let mut held = conn.begin().await.unwrap();
    sqlx::query("SELECT FROM users FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    let mut dismissing = JoinSet::new();
    for (session, other) in [(&session, second.id()), (&own, first.id())] {
        let request = session.request(revoke_request(other, OPERATOR));
        let mut client = world.client();
        dismissing.spawn(async move { client.revoke_role(request).await });
    }
    world.until_waiting(2).await;
    held.commit().await.unwrap();

    let answers = dismissing.join_all().await;
    let mut refused = answers.into_iter().filter(Result::is_err);
    assert_refused(refused.next().unwrap(), ErrorReason::LastOperator);
    assert!(refused.next().is_none());
}
