//! The contract `homeward.identity.v1`: what comes in becomes types, what goes out comes from them.

mod accounts;
mod audit;
mod invitations;
mod members;
mod organisations;
pub(crate) mod roles;
mod sessions;

use api::homeward::identity::v1::{
    self as proto, ErrorReason, identity_service_server::IdentityService,
};
use chrono::{DateTime, Utc};
use platform::{
    auth,
    error::{FieldErrors, Refusal},
};
use platform_contract::{Event, PlatformReason};
use platform_db::{Db, Tx};
use platform_events::Actor;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    domain::{Error, Kind, Membership, Organisation, Role, SessionId, User, UserId},
    password::Passwords,
    service_secrets::ServiceSecrets,
    throttle::Throttle,
    tokens::Tokens,
};

/// Most ids of a `BatchGet`.
const BATCH_MAX: usize = 100;

pub(crate) struct Identity {
    pub(crate) db: Db,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) tokens: Tokens,
    pub(crate) service_secrets: ServiceSecrets,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl IdentityService for Identity {
    async fn register(
        &self,
        request: Request<proto::RegisterRequest>,
    ) -> Answer<proto::RegisterResponse> {
        accounts::register(self, request).await
    }

    async fn login(&self, request: Request<proto::LoginRequest>) -> Answer<proto::LoginResponse> {
        sessions::login(self, request).await
    }

    async fn refresh_session(
        &self,
        request: Request<proto::RefreshSessionRequest>,
    ) -> Answer<proto::RefreshSessionResponse> {
        sessions::refresh(self, request).await
    }

    async fn logout(
        &self,
        request: Request<proto::LogoutRequest>,
    ) -> Answer<proto::LogoutResponse> {
        sessions::logout(self, request).await
    }

    async fn change_password(
        &self,
        request: Request<proto::ChangePasswordRequest>,
    ) -> Answer<proto::ChangePasswordResponse> {
        accounts::change_password(self, request).await
    }

    async fn get_viewer(
        &self,
        request: Request<proto::GetViewerRequest>,
    ) -> Answer<proto::GetViewerResponse> {
        accounts::viewer(self, request).await
    }

    async fn batch_get_users(
        &self,
        request: Request<proto::BatchGetUsersRequest>,
    ) -> Answer<proto::BatchGetUsersResponse> {
        accounts::batch_get(self, request).await
    }

    async fn create_organisation(
        &self,
        request: Request<proto::CreateOrganisationRequest>,
    ) -> Answer<proto::CreateOrganisationResponse> {
        organisations::create(self, request).await
    }

    async fn batch_get_organisations(
        &self,
        request: Request<proto::BatchGetOrganisationsRequest>,
    ) -> Answer<proto::BatchGetOrganisationsResponse> {
        organisations::batch_get(self, request).await
    }

    async fn list_members(
        &self,
        request: Request<proto::ListMembersRequest>,
    ) -> Answer<proto::ListMembersResponse> {
        members::list(self, request).await
    }

    async fn add_member(
        &self,
        request: Request<proto::AddMemberRequest>,
    ) -> Answer<proto::AddMemberResponse> {
        members::add(self, request).await
    }

    async fn update_member(
        &self,
        request: Request<proto::UpdateMemberRequest>,
    ) -> Answer<proto::UpdateMemberResponse> {
        members::update(self, request).await
    }

    async fn remove_member(
        &self,
        request: Request<proto::RemoveMemberRequest>,
    ) -> Answer<proto::RemoveMemberResponse> {
        members::remove(self, request).await
    }

    async fn switch_organisation(
        &self,
        request: Request<proto::SwitchOrganisationRequest>,
    ) -> Answer<proto::SwitchOrganisationResponse> {
        sessions::switch_organisation(self, request).await
    }

    async fn create_invitation(
        &self,
        request: Request<proto::CreateInvitationRequest>,
    ) -> Answer<proto::CreateInvitationResponse> {
        invitations::create(self, request).await
    }

    async fn accept_invitation(
        &self,
        request: Request<proto::AcceptInvitationRequest>,
    ) -> Answer<proto::AcceptInvitationResponse> {
        invitations::accept(self, request).await
    }

    async fn revoke_invitation(
        &self,
        request: Request<proto::RevokeInvitationRequest>,
    ) -> Answer<proto::RevokeInvitationResponse> {
        invitations::revoke(self, request).await
    }

    async fn list_invitations(
        &self,
        request: Request<proto::ListInvitationsRequest>,
    ) -> Answer<proto::ListInvitationsResponse> {
        invitations::list(self, request).await
    }

    async fn grant_role(
        &self,
        request: Request<proto::GrantRoleRequest>,
    ) -> Answer<proto::GrantRoleResponse> {
        roles::grant(self, request).await
    }

    async fn revoke_role(
        &self,
        request: Request<proto::RevokeRoleRequest>,
    ) -> Answer<proto::RevokeRoleResponse> {
        roles::revoke(self, request).await
    }

    async fn list_audit_entries(
        &self,
        request: Request<proto::ListAuditEntriesRequest>,
    ) -> Answer<proto::ListAuditEntriesResponse> {
        audit::list(self, request).await
    }

    async fn issue_service_token(
        &self,
        request: Request<proto::IssueServiceTokenRequest>,
    ) -> Answer<proto::IssueServiceTokenResponse> {
        sessions::issue_service_token(self, request).await
    }
}

impl Identity {
    async fn begin(&self) -> Result<Tx, Error> {
        Ok(self.db.begin().await?)
    }

    async fn read(&self) -> Result<Tx, Error> {
        Ok(self.db.read().await?)
    }
}

/// In the transaction that makes it true, after the UPDATE that counts it.
async fn say(tx: &mut PgConnection, event: impl Event, by: impl Into<Actor>) -> Result<(), Error> {
    let said = platform_events::publish(tx, &event, by).await;
    said.map_err(|error| Error::Db(error.into()))
}

async fn commit(tx: Tx) -> Result<(), Error> {
    Ok(tx.commit().await?)
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let refusal = |reason| Refusal::new(reason, message.clone());
        match error {
            Error::EmailTaken => refusal(ErrorReason::EmailTaken).into(),
            Error::CredentialsInvalid => refusal(ErrorReason::CredentialsInvalid).into(),
            Error::RefreshTokenInvalid => refusal(ErrorReason::RefreshTokenInvalid).into(),
            Error::RefreshTokenReused => refusal(ErrorReason::RefreshTokenReused).into(),
            Error::LoginOverloaded { retry_after } => refusal(ErrorReason::LoginOverloaded)
                .retry_after(retry_after)
                .into(),
            Error::LoginThrottled { retry_after } => refusal(ErrorReason::LoginThrottled)
                .retry_after(retry_after)
                .into(),
            Error::OrganisationNotFound => refusal(ErrorReason::OrganisationNotFound).into(),
            Error::MemberNotFound => refusal(ErrorReason::MemberNotFound).into(),
            Error::MemberExists => refusal(ErrorReason::MemberExists).into(),
            Error::UserNotFound => refusal(ErrorReason::UserNotFound).into(),
            Error::LastOwner => refusal(ErrorReason::LastOwner).into(),
            Error::InvitationNotFound => refusal(ErrorReason::InvitationNotFound).into(),
            Error::InvitationEmailMismatch => refusal(ErrorReason::InvitationEmailMismatch).into(),
            Error::InvitationsTooMany => refusal(ErrorReason::InvitationsTooMany).into(),
            Error::LastOperator => refusal(ErrorReason::LastOperator).into(),
            Error::ServiceSecretInvalid => refusal(ErrorReason::ServiceSecretInvalid).into(),
            Error::SessionEnded => Refusal::new(PlatformReason::TokenRevoked, message).into(),
            Error::KeysNotLoaded => {
                Refusal::new(PlatformReason::DependencyUnavailable, message).into()
            }
            Error::Db(error) => platform_db::error::status(error),
            Error::Fault(error) => platform::error::internal(format!("{error:#}")),
        }
    }
}

/// At most 100 ids, without repeats, in the order asked.
fn ids(fields: &mut FieldErrors, asked: &[String]) -> Vec<Uuid> {
    if asked.len() > BATCH_MAX {
        fields.violation("ids", format!("has more than {BATCH_MAX} entries"));
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(asked.len());
    for (place, id) in asked.iter().enumerate() {
        let id = fields.id(&format!("ids[{place}]"), id);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// Who calls, as ids of ours.
fn user_id(user: &auth::User) -> UserId {
    UserId(user.id)
}

fn session_id(user: &auth::User) -> SessionId {
    SessionId(user.session_id)
}

fn kind(kind: proto::UserKind) -> Option<Kind> {
    match kind {
        proto::UserKind::Unspecified => None,
        proto::UserKind::Mover => Some(Kind::Mover),
        proto::UserKind::Client => Some(Kind::Client),
        proto::UserKind::Business => Some(Kind::Business),
    }
}

fn role(role: proto::MemberRole) -> Option<Role> {
    match role {
        proto::MemberRole::Unspecified => None,
        proto::MemberRole::Member => Some(Role::Member),
        proto::MemberRole::Manager => Some(Role::Manager),
        proto::MemberRole::Owner => Some(Role::Owner),
    }
}

fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.timestamp(),
        nanos: at.timestamp_subsec_nanos().cast_signed(),
    }
}

impl From<User> for proto::User {
    fn from(user: User) -> Self {
        let kind = match user.kind {
            Kind::Mover => proto::UserKind::Mover,
            Kind::Client => proto::UserKind::Client,
            Kind::Business => proto::UserKind::Business,
        };
        Self {
            id: user.id.0.to_string(),
            roles: user.roles(),
            email: user.email,
            display_name: user.display_name,
            kind: kind.into(),
            create_time: Some(timestamp(user.created_at)),
            version: user.version,
        }
    }
}

impl From<Organisation> for proto::Organisation {
    fn from(organisation: Organisation) -> Self {
        Self {
            id: organisation.id.0.to_string(),
            name: organisation.name,
            create_time: Some(timestamp(organisation.created_at)),
            version: organisation.version,
        }
    }
}

impl From<Role> for proto::MemberRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Member => Self::Member,
            Role::Manager => Self::Manager,
            Role::Owner => Self::Owner,
        }
    }
}

impl From<Membership> for proto::Membership {
    fn from(membership: Membership) -> Self {
        Self {
            organisation_id: membership.organisation_id.0.to_string(),
            user_id: membership.user_id.0.to_string(),
            role: proto::MemberRole::from(membership.role).into(),
            create_time: Some(timestamp(membership.created_at)),
        }
    }
}
