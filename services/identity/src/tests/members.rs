use api::homeward::identity::v1::{
    AddMemberRequest, ListMembersRequest, MemberRole, Membership, RefreshSessionRequest,
    RemoveMemberRequest, UpdateMemberRequest,
};
use platform_contract::PlatformReason;
use sqlx::Connection as _;
use tokio::task::JoinSet;

use super::*;

/// By the session, to the organisation that `of` founded.
pub(super) async fn add(
    world: &World,
    session: &Session,
    of: &Person,
    who: &Person,
    role: MemberRole,
) -> Result<Membership, Status> {
    let request = AddMemberRequest {
        request_id: request_id(),
        organisation_id: of.organisation().to_owned(),
        email: who.email.to_uppercase(),
        role: role.into(),
    };
    let answer = world.client().add_member(session.request(request)).await;
    answer.map(|answer| answer.into_inner().membership.unwrap())
}

pub(super) async fn update(
    world: &World,
    session: &Session,
    of: &Person,
    who: &Person,
    role: MemberRole,
) -> Result<Membership, Status> {
    let request = UpdateMemberRequest {
        request_id: request_id(),
        organisation_id: of.organisation().to_owned(),
        user_id: who.id().to_owned(),
        role: role.into(),
    };
    let answer = world.client().update_member(session.request(request)).await;
    answer.map(|answer| answer.into_inner().membership.unwrap())
}

pub(super) async fn remove(
    world: &World,
    session: &Session,
    of: &Person,
    who: &Person,
) -> Result<(), Status> {
    let request = RemoveMemberRequest {
        request_id: request_id(),
        organisation_id: of.organisation().to_owned(),
        user_id: who.id().to_owned(),
    };
    world
        .client()
        .remove_member(session.request(request))
        .await
        .map(|_| ())
}

/// An organisation with one of each.
pub(super) struct Team {
    pub(super) owner: (Person, Session),
    pub(super) manager: (Person, Session),
    pub(super) member: (Person, Session),
    pub(super) stranger: (Person, Session),
}

impl Team {
    pub(super) async fn of(world: &World) -> Team {
        let team = Team {
            owner: world.somebody(UserKind::Business).await,
            manager: world.somebody(UserKind::Mover).await,
            member: world.somebody(UserKind::Mover).await,
            stranger: world.somebody(UserKind::Business).await,
        };
        let (founder, session) = &team.owner;
        add(
            world,
            session,
            founder,
            &team.manager.0,
            MemberRole::Manager,
        )
        .await
        .unwrap();
        add(world, session, founder, &team.member.0, MemberRole::Member)
            .await
            .unwrap();
        team
    }
}

#[tokio::test]
async fn owners_add_anybody_managers_add_members_and_others_nobody() {
    let world = World::start().await;
    let team = Team::of(&world).await;
    let founder = &team.owner.0;
    let roles = [MemberRole::Member, MemberRole::Manager, MemberRole::Owner];
    for (session, allowed) in [
        (&team.owner.1, &roles[..]),
        (&team.manager.1, &roles[..1]),
        (&team.member.1, &[]),
        (&team.stranger.1, &[]),
    ] {
        for role in roles {
            let person = world.register(UserKind::Mover).await;
            let added = add(&world, session, founder, &person, role).await;
            if allowed.contains(&role) {
                assert_eq!(added.unwrap().role(), role);
                assert_eq!(world.versions(person.id()).await, (2, 1));
            } else {
                assert_refused(added, ErrorReason::OrganisationNotFound);
                assert_eq!(world.versions(person.id()).await, (1, 1));
            }
        }
    }

    let twice = add(
        &world,
        &team.owner.1,
        founder,
        &team.member.0,
        MemberRole::Owner,
    )
    .await;
    assert_refused(twice, ErrorReason::MemberExists);
    let unknown = Person {
        email: email(),
        registered: RegisterResponse::default(),
    };
    let by_owner = add(&world, &team.owner.1, founder, &unknown, MemberRole::Member).await;
    assert_refused(by_owner, ErrorReason::UserNotFound);
    let by_stranger = add(
        &world,
        &team.stranger.1,
        founder,
        &unknown,
        MemberRole::Member,
    )
    .await;
    assert_refused(by_stranger, ErrorReason::OrganisationNotFound);
    let no_role = add(
        &world,
        &team.owner.1,
        founder,
        &unknown,
        MemberRole::Unspecified,
    )
    .await;
    assert_invalid(no_role, &["role"]);
}

#[tokio::test]
async fn only_owners_change_roles() {
    let world = World::start().await;
    let team = Team::of(&world).await;
    let (founder, owner) = &team.owner;
    let member = &team.member.0;

    for (session, reason) in [
        (&team.manager.1, ErrorReason::MemberNotFound),
        (&team.member.1, ErrorReason::MemberNotFound),
        (&team.stranger.1, ErrorReason::OrganisationNotFound),
    ] {
        let refused = update(&world, session, founder, member, MemberRole::Manager).await;
        assert_refused(refused, reason);
    }
    let foreign = update(&world, owner, founder, &team.stranger.0, MemberRole::Owner).await;
    assert_refused(foreign, ErrorReason::MemberNotFound);

    assert_eq!(
        world.versions(member.id()).await,
        (3, 1),
        "registered, logged in, added"
    );
    let raised = update(&world, owner, founder, member, MemberRole::Manager)
        .await
        .unwrap();
    assert_eq!(raised.role(), MemberRole::Manager);
    assert_eq!(world.versions(member.id()).await, (4, 1));
    update(&world, owner, founder, member, MemberRole::Manager)
        .await
        .unwrap();
    assert_eq!(
        world.versions(member.id()).await,
        (4, 1),
        "nothing happened"
    );
    update(&world, owner, founder, member, MemberRole::Member)
        .await
        .unwrap();
    assert_eq!(
        world.versions(member.id()).await,
        (5, 2),
        "rights were lessened"
    );
}

#[tokio::test]
async fn owners_remove_anybody_managers_remove_members_and_everybody_may_leave() {
    let world = World::start().await;
    let team = Team::of(&world).await;
    let (founder, owner) = &team.owner;
    let (manager, by_manager) = &team.manager;
    let (member, by_member) = &team.member;

    let refused = remove(&world, by_member, founder, manager).await;
    assert_refused(refused, ErrorReason::MemberNotFound);
    let refused = remove(&world, by_manager, founder, founder).await;
    assert_refused(refused, ErrorReason::MemberNotFound);
    let refused = remove(&world, &team.stranger.1, founder, member).await;
    assert_refused(refused, ErrorReason::OrganisationNotFound);

    remove(&world, by_manager, founder, member).await.unwrap();
    assert_eq!(world.versions(member.id()).await, (4, 2));
    add(&world, owner, founder, member, MemberRole::Member)
        .await
        .unwrap();
    remove(&world, by_member, founder, member).await.unwrap();
    let gone = remove(&world, by_member, founder, member).await;
    assert_refused(gone, ErrorReason::OrganisationNotFound);
    remove(&world, owner, founder, manager).await.unwrap();
}

#[tokio::test]
async fn who_is_removed_stops_acting_for_the_organisation() {
    let world = World::start().await;
    let team = Team::of(&world).await;
    let (member, _) = &team.member;
    let session = world.login(member).await;
    assert_eq!(
        session.claims().org_role,
        Some(platform::auth::OrgRole::Member)
    );
    remove(&world, &team.owner.1, &team.owner.0, member)
        .await
        .unwrap();

    let request = RefreshSessionRequest {
        refresh_token: session.refresh,
    };
    let refreshed = world
        .client()
        .refresh_session(request)
        .await
        .unwrap()
        .into_inner();
    let refreshed = Session::from(refreshed.tokens.unwrap()).claims();
    assert_eq!((refreshed.org, refreshed.ver), (None, 2));
}

#[tokio::test]
async fn the_last_owner_stays_an_owner() {
    let world = World::start().await;
    let (founder, owner) = world.somebody(UserKind::Business).await;
    let leaves = remove(&world, &owner, &founder, &founder).await;
    assert_refused(leaves, ErrorReason::LastOwner);
    let steps_down = update(&world, &owner, &founder, &founder, MemberRole::Manager).await;
    assert_refused(steps_down, ErrorReason::LastOwner);
    assert_eq!(world.versions(founder.id()).await, (2, 1));
    let same = update(&world, &owner, &founder, &founder, MemberRole::Owner).await;
    assert_eq!(same.unwrap().role(), MemberRole::Owner);
}

#[tokio::test]
async fn owners_who_leave_at_once_leave_one_behind() {
    let world = World::start().await;
    let (founder, session) = world.somebody(UserKind::Business).await;
    let (second, own) = world.somebody(UserKind::Mover).await;
    add(&world, &session, &founder, &second, MemberRole::Owner)
        .await
        .unwrap();

    // Both get as far as they can before either is done.
    let mut conn = world.connect().await;
    let mut held = conn.begin().await.unwrap();
    sqlx::query("SELECT FROM users FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    let mut leaving = JoinSet::new();
    for (person, session) in [(&founder, &session), (&second, &own)] {
        let request = session.request(RemoveMemberRequest {
            request_id: request_id(),
            organisation_id: founder.organisation().to_owned(),
            user_id: person.id().to_owned(),
        });
        let mut client = world.client();
        leaving.spawn(async move { client.remove_member(request).await });
    }
    world.until_waiting(2).await;
    held.commit().await.unwrap();

    let answers = leaving.join_all().await;
    let mut refused = answers.into_iter().filter(Result::is_err);
    assert_refused(refused.next().unwrap(), ErrorReason::LastOwner);
    assert!(refused.next().is_none());
}

#[tokio::test]
async fn a_repeated_change_of_members_counts_once() {
    let world = World::start().await;
    let (founder, owner) = world.somebody(UserKind::Business).await;
    let person = world.register(UserKind::Mover).await;
    let request = AddMemberRequest {
        request_id: request_id(),
        organisation_id: founder.organisation().to_owned(),
        email: person.email.clone(),
        role: MemberRole::Member.into(),
    };
    let first = world
        .client()
        .add_member(owner.request(request.clone()))
        .await
        .unwrap();
    let again = world
        .client()
        .add_member(owner.request(request))
        .await
        .unwrap();
    assert_eq!(first.into_inner(), again.into_inner());
    assert_eq!(world.versions(person.id()).await, (2, 1));
}

#[tokio::test]
async fn members_are_listed_to_members_page_by_page_eldest_first() {
    let world = World::start().await;
    let team = Team::of(&world).await;
    let list = async |session: &Session, page_size, page_token: &str| {
        let request = ListMembersRequest {
            organisation_id: team.owner.0.organisation().to_owned(),
            page_size,
            page_token: page_token.to_owned(),
        };
        let answer = world.client().list_members(session.request(request)).await;
        answer.map(tonic::Response::into_inner)
    };
    let first = list(&team.member.1, 2, "").await.unwrap();
    let second = list(&team.member.1, 2, &first.next_page_token)
        .await
        .unwrap();
    assert_eq!(second.next_page_token, "");
    let listed: Vec<_> = first
        .memberships
        .iter()
        .chain(&second.memberships)
        .collect();
    let ids: Vec<_> = listed
        .iter()
        .map(|membership| membership.user_id.as_str())
        .collect();
    assert_eq!(
        ids,
        [team.owner.0.id(), team.manager.0.id(), team.member.0.id()]
    );

    let foreign = list(&team.stranger.1, 0, "").await;
    assert_refused(foreign, ErrorReason::OrganisationNotFound);
    let stolen = list(&team.stranger.1, 2, &first.next_page_token).await;
    assert_refused(stolen, ErrorReason::OrganisationNotFound);
    let damaged = list(&team.member.1, 2, &first.next_page_token[1..]).await;
    assert_refused(damaged, PlatformReason::PageTokenInvalid);
}
