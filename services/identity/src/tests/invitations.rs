use api::homeward::identity::v1::{
    AcceptInvitationRequest, CreateInvitationRequest, CreateInvitationResponse, Invitation,
    ListInvitationsRequest, MemberRole, Membership, RevokeInvitationRequest, UserRegistered,
    UserRoleGranted,
};
use platform_testkit::kafka;
use tokio::task::JoinSet;

use super::{
    members::{Team, add, remove, update},
    *,
};
use crate::expired_invitations_cleaner::clean;

/// By the session, into the organisation that `of` founded.
pub(super) async fn invite(
    world: &World,
    session: &Session,
    of: &Person,
    email: &str,
    role: MemberRole,
) -> Result<CreateInvitationResponse, Status> {
    let request = CreateInvitationRequest {
        organisation_id: of.organisation().to_owned(),
        email: email.to_owned(),
        role: role.into(),
    };
    let answer = world
        .client()
        .create_invitation(session.request(request))
        .await;
    answer.map(tonic::Response::into_inner)
}

pub(super) fn accept_request(token: &str) -> AcceptInvitationRequest {
    AcceptInvitationRequest {
        request_id: request_id(),
        token: token.to_owned(),
    }
}

pub(super) async fn accept(
    world: &World,
    session: &Session,
    token: &str,
) -> Result<Membership, Status> {
    let request = session.request(accept_request(token));
    let answer = world.client().accept_invitation(request).await;
    answer.map(|answer| answer.into_inner().membership.unwrap())
}

pub(super) async fn revoke(
    world: &World,
    session: &Session,
    of: &Person,
    invitation: &Invitation,
) -> Result<(), Status> {
    let request = RevokeInvitationRequest {
        request_id: request_id(),
        organisation_id: of.organisation().to_owned(),
        invitation_id: invitation.id.clone(),
    };
    let answer = world
        .client()
        .revoke_invitation(session.request(request))
        .await;
    answer.map(drop)
}

async fn list(
    world: &World,
    session: &Session,
    of: &Person,
    page: (i32, &str),
) -> Result<(Vec<String>, String), Status> {
    let request = ListInvitationsRequest {
        organisation_id: of.organisation().to_owned(),
        page_size: page.0,
        page_token: page.1.to_owned(),
    };
    let answer = world
        .client()
        .list_invitations(session.request(request))
        .await?
        .into_inner();
    let ids = answer.invitations.into_iter().map(|found| found.id);
    Ok((ids.collect(), answer.next_page_token))
}

#[tokio::test]
async fn owners_invite_as_anything_managers_as_members_and_others_nobody() {
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
            let invited = invite(&world, session, founder, &email(), role).await;
            if allowed.contains(&role) {
                let invitation = invited.unwrap().invitation.unwrap();
                assert_eq!(invitation.role(), role);
                let open_for = invitation.expire_time.unwrap().seconds
                    - invitation.create_time.unwrap().seconds;
                assert_eq!(open_for, 7 * 24 * 3600);
            } else {
                assert_refused(invited, ErrorReason::OrganisationNotFound);
            }
        }
    }
    let bad = invite(
        &world,
        &team.owner.1,
        founder,
        "nobody",
        MemberRole::Unspecified,
    );
    assert_invalid(bad.await, &["email", "role"]);
}

#[tokio::test]
async fn who_accepts_has_the_invited_address_and_becomes_a_member_once() {
    let kafka = kafka();
    let world = World::start_on(&kafka).await;
    let (founder, owner) = world.somebody(UserKind::Business).await;
    let (guest, session) = world.somebody(UserKind::Mover).await;
    let (_, other) = world.somebody(UserKind::Mover).await;
    let address = guest.email.to_uppercase();
    let invited = invite(&world, &owner, &founder, &address, MemberRole::Manager)
        .await
        .unwrap();
    let token = invited.token;

    let stolen = accept(&world, &other, &token).await;
    assert_refused(stolen, ErrorReason::InvitationEmailMismatch);
    for nonsense in [
        "",
        "x",
        &token[1..],
        &format!("{token}AAAA"),
        &"A".repeat(43),
    ] {
        let refused = accept(&world, &session, nonsense).await;
        assert_refused(refused, ErrorReason::InvitationNotFound);
    }

    // At once, on two replicas; of the two requests one is told twice, the other too late.
    let (first, second) = (accept_request(&token), accept_request(&token));
    let mut accepting = JoinSet::new();
    for request in [first.clone(), first, second] {
        let (mut client, request) = (world.client(), session.request(request));
        accepting.spawn(async move { client.accept_invitation(request).await });
    }
    let (accepted, refused): (Vec<_>, Vec<_>) = accepting
        .join_all()
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!(accepted.len() + refused.len(), 3);
    assert!((1..=2).contains(&accepted.len()), "{accepted:?}");
    for answer in accepted {
        let membership = answer.unwrap().into_inner().membership.unwrap();
        assert_eq!(membership.organisation_id, founder.organisation());
        assert_eq!(membership.user_id, guest.id());
        assert_eq!(membership.role(), MemberRole::Manager);
    }
    for answer in refused {
        assert_refused(answer, ErrorReason::InvitationNotFound);
    }
    assert_eq!(world.versions(guest.id()).await, (3, 1), "one thing more");
    assert_eq!(
        world.login(&guest).await.claims().org_role,
        Some(platform::auth::OrgRole::Manager)
    );

    let said = kafka.said::<UserRegistered>(&world.db).await;
    let granted: Vec<_> = said
        .iter()
        .filter(|said| said.name == "user.role_granted" && said.key == guest.id())
        .map(|said| said.event::<UserRoleGranted>())
        .map(|event| (event.role, event.organisation_id))
        .collect();
    assert_eq!(
        granted,
        [("manager".to_owned(), founder.organisation().to_owned())]
    );
}

#[tokio::test]
async fn who_is_a_member_already_keeps_the_role() {
    let world = World::start().await;
    let team = Team::of(&world).await;
    let (member, session) = &team.member;
    let founder = &team.owner.0;
    let invited = invite(
        &world,
        &team.owner.1,
        founder,
        &member.email,
        MemberRole::Owner,
    );
    let token = invited.await.unwrap().token;
    let refused = accept(&world, session, &token).await;
    assert_refused(refused, ErrorReason::MemberExists);
    assert_eq!(
        world.login(member).await.claims().org_role,
        Some(platform::auth::OrgRole::Member)
    );
}

#[tokio::test]
async fn an_invitation_is_void_when_it_expired_was_revoked_or_its_inviter_may_not_any_more() {
    let world = World::start().await;
    let team = Team::of(&world).await;
    let (founder, owner) = &team.owner;
    let (manager, by_manager) = &team.manager;
    let (guest, session) = world.somebody(UserKind::Mover).await;
    let role = MemberRole::Member;
    let refused = async |token: &str| {
        let refused = accept(&world, &session, token).await;
        assert_refused(refused, ErrorReason::InvitationNotFound);
    };

    let late = invite(&world, owner, founder, &guest.email, role)
        .await
        .unwrap();
    let expires = "UPDATE invitations SET expires_at = now() - interval '1 second'";
    sqlx::query(expires)
        .execute(&mut world.connect().await)
        .await
        .unwrap();
    refused(&late.token).await;

    let revoked = invite(&world, owner, founder, &guest.email, role)
        .await
        .unwrap();
    let invitation = revoked.invitation.unwrap();
    revoke(&world, by_manager, founder, &invitation)
        .await
        .unwrap();
    refused(&revoked.token).await;
    let gone = revoke(&world, owner, founder, &invitation).await;
    assert_refused(gone, ErrorReason::InvitationNotFound);

    // Made by a manager who is lowered, raised again, and removed.
    let invited = invite(&world, by_manager, founder, &guest.email, role)
        .await
        .unwrap();
    update(&world, owner, founder, manager, MemberRole::Member)
        .await
        .unwrap();
    refused(&invited.token).await;
    remove(&world, owner, founder, manager).await.unwrap();
    add(&world, owner, founder, manager, MemberRole::Owner)
        .await
        .unwrap();
    refused(&invited.token).await;

    let good = invite(&world, owner, founder, &guest.email, role)
        .await
        .unwrap();
    accept(&world, &session, &good.token).await.unwrap();
}

#[tokio::test]
async fn invitations_are_listed_and_revoked_by_who_could_make_them() {
    let world = World::start().await;
    let team = Team::of(&world).await;
    let (founder, owner) = &team.owner;
    let mut ids = Vec::new();
    let mut invitations = Vec::new();
    for role in [MemberRole::Owner, MemberRole::Manager, MemberRole::Member] {
        let invited = invite(&world, owner, founder, &email(), role)
            .await
            .unwrap();
        let invitation = invited.invitation.unwrap();
        ids.push(invitation.id.clone());
        invitations.push(invitation);
    }

    let by_manager = &team.manager.1;
    let (first, token) = list(&world, by_manager, founder, (2, "")).await.unwrap();
    let (second, end) = list(&world, by_manager, founder, (2, &token))
        .await
        .unwrap();
    assert_eq!([first, second].concat(), ids);
    assert_eq!(end, "");
    for session in [&team.member.1, &team.stranger.1] {
        let refused = list(&world, session, founder, (2, &token)).await;
        assert_refused(refused, ErrorReason::OrganisationNotFound);
        let refused = revoke(&world, session, founder, &invitations[2]).await;
        assert_refused(refused, ErrorReason::OrganisationNotFound);
    }
    for too_high in &invitations[..2] {
        let refused = revoke(&world, by_manager, founder, too_high).await;
        assert_refused(refused, ErrorReason::InvitationNotFound);
    }
    for invitation in &invitations {
        revoke(&world, owner, founder, invitation).await.unwrap();
    }
    let none = list(&world, owner, founder, (0, "")).await.unwrap();
    assert_eq!(none, (vec![], String::new()));
}

#[tokio::test]
async fn an_organisation_has_a_hundred_open_invitations_and_no_more() {
    let world = World::start().await;
    let (founder, owner) = world.somebody(UserKind::Business).await;
    let fill = "INSERT INTO invitations (
            id, organisation_id, email, email_key, role, token_hash, invited_by, created_at, expires_at
        )
        SELECT gen_random_uuid(), $1, '', '', 'member', sha256(n::text::bytea), $2, now(), now() + $3::interval
        FROM generate_series($4::int, $5::int) AS n";
    let mut conn = world.connect().await;
    for (open_for, from, to) in [("1 day", 1, 98), ("-1 second", 99, 300)] {
        sqlx::query(fill)
            .bind(Uuid::try_parse(founder.organisation()).unwrap())
            .bind(Uuid::try_parse(founder.id()).unwrap())
            .bind(open_for)
            .bind(from)
            .bind(to)
            .execute(&mut conn)
            .await
            .unwrap();
    }
    let mut inviting = JoinSet::new();
    for _ in 0..6 {
        let request = owner.request(CreateInvitationRequest {
            organisation_id: founder.organisation().to_owned(),
            email: email(),
            role: MemberRole::Member.into(),
        });
        let mut client = world.client();
        inviting.spawn(async move { client.create_invitation(request).await });
    }
    let answers = inviting.join_all().await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (2, 4));
    for answer in refused {
        assert_refused(answer, ErrorReason::InvitationsTooMany);
    }

    let (pool, now) = (world.db.pool(), platform::time::now());
    assert_eq!(clean(&pool, now).await.unwrap(), 202, "those that expired");
    let later = now + TimeDelta::days(8);
    assert_eq!(clean(&pool, later).await.unwrap(), 100);
}

#[tokio::test]
async fn the_token_of_an_invitation_is_told_once_and_kept_nowhere() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let world = World::start().await;
    let (founder, owner) = world.somebody(UserKind::Business).await;
    let invited = invite(&world, &owner, &founder, &email(), MemberRole::Member)
        .await
        .unwrap();
    assert!(!format!("{invited:?}").contains(&invited.token));
    let bytes = URL_SAFE_NO_PAD.decode(&invited.token).unwrap();
    assert_eq!(bytes.len(), 32);
    let again = invite(&world, &owner, &founder, &email(), MemberRole::Member)
        .await
        .unwrap();
    assert_ne!(invited.token, again.token);

    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for table in [
        "invitations",
        "audit_entries",
        "platform.outbox",
        "platform.requests",
    ] {
        let rows = format!("SELECT t::text FROM {table} AS t");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(rows))
            .fetch_all(&mut world.connect().await)
            .await
            .unwrap();
        for row in rows {
            assert!(
                !row.contains(&invited.token) && !row.contains(&hex),
                "{row}"
            );
        }
    }
}
