//! The matrix: who may call what. The outcomes stand in `access.tsv`.

use api::homeward::identity::v1::*;
use chrono::{DateTime, Utc};
use platform_contract::Method;
use platform_testkit::access::{Call, Principal, check_grpc};

use super::{
    invitations::invite,
    members::add,
    roles::{grant_request, revoke_request},
    *,
};
use crate::domain::{self, SessionId, UserId};

/// One new cast per call, so that no call disturbs another.
struct Cast {
    owner: (Person, Session),
    caller: Option<(Person, Session)>,
    /// Somebody to be changed or removed.
    member: Person,
    /// Somebody to be added.
    outsider: Person,
    /// For the outsider, or for the caller who is to accept it.
    invitation: CreateInvitationResponse,
}

impl Cast {
    async fn of(world: &World, method: &str, principal: Principal) -> Cast {
        let owner = world.somebody(UserKind::Business).await;
        let member = world.register(UserKind::Mover).await;
        add(world, &owner.1, &owner.0, &member, MemberRole::Member)
            .await
            .unwrap();
        let caller = match principal {
            Principal::WrongRole => {
                let (person, session) = world.somebody(UserKind::Mover).await;
                // Too low a role in the organisation is a wrong role as well.
                let role = match method {
                    "AddMember" | "RemoveMember" | "CreateInvitation" | "RevokeInvitation"
                    | "ListInvitations" => Some(MemberRole::Member),
                    "UpdateMember" => Some(MemberRole::Manager),
                    _ => None,
                };
                if let Some(role) = role {
                    add(world, &owner.1, &owner.0, &person, role).await.unwrap();
                }
                Some((person, session))
            }
            Principal::OtherOrganisation => Some(world.somebody(UserKind::Business).await),
            // Who accepts is not a member yet.
            _ if method == "AcceptInvitation" => Some(world.somebody(UserKind::Mover).await),
            _ => None,
        };
        let outsider = world.register(UserKind::Mover).await;
        let invited = match (&caller, principal) {
            (Some((person, _)), Principal::RightRole) => person,
            _ => &outsider,
        };
        let role = MemberRole::Member;
        let invitation = invite(world, &owner.1, &owner.0, &invited.email, role)
            .await
            .unwrap();
        Cast {
            owner,
            caller,
            member,
            outsider,
            invitation,
        }
    }

    fn caller(&self) -> &(Person, Session) {
        self.caller.as_ref().unwrap_or(&self.owner)
    }

    fn call(&self, method: &str) -> Call {
        let organisation_id = self.owner.0.organisation().to_owned();
        let user_id = self.member.id().to_owned();
        let (person, session) = self.caller();
        match method {
            "Register" => Call::new(&registration(UserKind::Business)),
            "Login" => Call::new(&person.login()),
            "RefreshSession" => Call::new(&RefreshSessionRequest {
                refresh_token: session.refresh.clone(),
            }),
            "Logout" => Call::new(&LogoutRequest {}),
            "ChangePassword" => Call::new(&ChangePasswordRequest {
                request_id: request_id(),
                current_password: PASSWORD.to_owned(),
                new_password: "a better password".to_owned(),
            }),
            "GetViewer" => Call::new(&GetViewerRequest {}),
            "BatchGetUsers" => Call::new(&BatchGetUsersRequest { ids: vec![user_id] }),
            "CreateOrganisation" => Call::new(&CreateOrganisationRequest {
                request_id: request_id(),
                name: "Ada's Storage".to_owned(),
            }),
            "BatchGetOrganisations" => Call::new(&BatchGetOrganisationsRequest {
                ids: vec![organisation_id],
            }),
            "ListMembers" => Call::new(&ListMembersRequest {
                organisation_id,
                ..Default::default()
            }),
            "AddMember" => Call::new(&AddMemberRequest {
                request_id: request_id(),
                organisation_id,
                email: self.outsider.email.clone(),
                role: MemberRole::Member.into(),
            }),
            "UpdateMember" => Call::new(&UpdateMemberRequest {
                request_id: request_id(),
                organisation_id,
                user_id,
                role: MemberRole::Manager.into(),
            }),
            "RemoveMember" => Call::new(&RemoveMemberRequest {
                request_id: request_id(),
                organisation_id,
                user_id,
            }),
            "SwitchOrganisation" => Call::new(&SwitchOrganisationRequest { organisation_id }),
            "CreateInvitation" => Call::new(&CreateInvitationRequest {
                organisation_id,
                email: self.outsider.email.clone(),
                role: MemberRole::Member.into(),
            }),
            "AcceptInvitation" => Call::new(&AcceptInvitationRequest {
                request_id: request_id(),
                token: self.invitation.token.clone(),
            }),
            "RevokeInvitation" => Call::new(&RevokeInvitationRequest {
                request_id: request_id(),
                organisation_id,
                invitation_id: self.invitation.invitation.clone().unwrap().id,
            }),
            "ListInvitations" => Call::new(&ListInvitationsRequest {
                organisation_id,
                ..Default::default()
            }),
            "GrantRole" => Call::new(&grant_request(&user_id, "operator")),
            "RevokeRole" => Call::new(&revoke_request(&user_id, "operator")),
            "ListAuditEntries" => Call::new(&ListAuditEntriesRequest::default()),
            "IssueServiceToken" => Call::new(&IssueServiceTokenRequest {
                service: "catalog".to_owned(),
                secret: "0123456789abcdef".to_owned(),
            }),
            other => panic!("no valid request for {other}"),
        }
    }
}

#[tokio::test]
async fn everybody_may_do_what_the_table_says() {
    let world = World::start().await;
    let replicas: Vec<_> = world
        .replicas
        .iter()
        .map(|replica| replica.grpc.unwrap())
        .collect();
    let table = include_str!("../../access.tsv");
    let services = &[&IDENTITY_SERVICE];
    check_grpc(
        table,
        services,
        &replicas,
        async |method: &Method, principal| {
            let cast = Cast::of(&world, method.name, principal).await;
            let session = &cast.caller().1;
            let token = match principal {
                Principal::Nobody => None,
                Principal::Expired => {
                    let an_hour_ago = platform::time::now() - TimeDelta::hours(1);
                    Some(token(&world, session, &[], an_hour_ago))
                }
                Principal::RightRole if OPERATORS.contains(&method.name) => {
                    let now = platform::time::now();
                    Some(token(&world, session, &["operator"], now))
                }
                Principal::System => {
                    let now = platform::time::now();
                    Some(world.tokens.system("catalog", now).unwrap().token)
                }
                _ => Some(session.access.clone()),
            };
            cast.call(method.name).token(token)
        },
    )
    .await;
}

/// Methods for operators.
const OPERATORS: [&str; 3] = ["GrantRole", "RevokeRole", "ListAuditEntries"];

/// The session's token as it was made at `now`, with these roles.
fn token(world: &World, session: &Session, roles: &[&str], now: DateTime<Utc>) -> String {
    let claims = session.claims();
    let user = domain::User {
        id: UserId(claims.sub.parse().unwrap()),
        email: String::new(),
        display_name: String::new(),
        kind: domain::Kind::Business,
        granted: roles.iter().map(ToString::to_string).collect(),
        created_at: now,
        version: 1,
        access_version: claims.ver,
    };
    world
        .tokens
        .access(&user, SessionId(claims.sid), None, now)
        .unwrap()
        .token
}
