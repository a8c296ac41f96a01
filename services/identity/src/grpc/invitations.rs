//! Invitations into an organisation. Who may make and take them back stands in the statements of
//! `store::invitation`.

use api::homeward::identity::v1::{
    self as proto, AcceptInvitationRequest, AcceptInvitationResponse, CreateInvitationRequest,
    CreateInvitationResponse, ListInvitationsRequest, ListInvitationsResponse,
    RevokeInvitationRequest, RevokeInvitationResponse,
};
use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use platform::{auth::Caller, error::FieldErrors};
use platform_db::{Begun, Page};
use tonic::{Request, Response};
use uuid::Uuid;

use super::{
    Answer, Identity, commit,
    members::{granted, member_role},
    timestamp, user_id,
};
use crate::{
    audit::{Action, Entry},
    domain::{
        Error, INVITATION_OPEN_FOR, INVITATIONS_OPEN_MAX, Invitation, InvitationId, Membership,
        OrganisationId,
    },
    store,
};

const TOKEN_BYTES: usize = 32;

pub(super) async fn create(
    identity: &Identity,
    request: Request<CreateInvitationRequest>,
) -> Answer<CreateInvitationResponse> {
    let caller = Caller::of(&request);
    let user = user_id(caller.user()?);
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let organisation = OrganisationId(fields.id("organisation_id", &request.organisation_id));
    let email = fields.email("email", &request.email);
    let role = member_role(&mut fields, request.role);
    fields.check()?;

    let now = platform::time::now();
    let invitation = Invitation {
        id: InvitationId(Uuid::now_v7()),
        organisation_id: organisation,
        email: email.typed,
        role,
        invited_by: user,
        created_at: now,
        expires_at: now + INVITATION_OPEN_FOR,
    };
    let (token, hash) = new_token()?;
    let mut tx = identity.begin().await?;
    store::organisation::lock(&mut tx, organisation).await?;
    if !store::invitation::insert(&mut tx, &invitation, &email.key, &hash).await? {
        return Err(Error::OrganisationNotFound.into());
    }
    let open = store::invitation::count_open(&mut tx, organisation, now).await?;
    if open > INVITATIONS_OPEN_MAX {
        return Err(Error::InvitationsTooMany.into());
    }
    let entry = Entry::new(Action::InvitationCreated, &caller)
        .within(organisation)
        .role(role.as_str())
        .object(invitation.id.0);
    store::audit::insert(&mut tx, &entry, now).await?;
    commit(tx).await?;
    Ok(Response::new(CreateInvitationResponse {
        invitation: Some(invitation.into()),
        token,
    }))
}

pub(super) async fn accept(
    identity: &Identity,
    request: Request<AcceptInvitationRequest>,
) -> Answer<AcceptInvitationResponse> {
    let caller = Caller::of(&request);
    let user = user_id(caller.user()?);
    let request = request.into_inner();
    let hash = hash(&request.token).ok_or(Error::InvitationNotFound)?;

    let mut tx = match identity.db.begin_once(&caller, &request).await? {
        Begun::Done(response) => return Ok(Response::new(response)),
        Begun::New(tx) => tx,
    };
    let now = platform::time::now();
    store::invitation::lock_organisation(&mut tx, &hash).await?;
    let taken = store::invitation::take(&mut tx, &hash, user, now).await?;
    let taken = taken.ok_or(Error::InvitationNotFound)?;
    if !taken.matches {
        return Err(Error::InvitationEmailMismatch.into());
    }
    let membership = Membership {
        organisation_id: taken.organisation_id,
        user_id: user,
        role: taken.role,
        created_at: now,
    };
    store::member::insert(&mut tx, &membership).await?;
    let entry = Entry::new(Action::InvitationAccepted, &caller).object(taken.id.0);
    let organisation = membership.organisation_id;
    granted(&mut tx, organisation, user, membership.role, entry, now).await?;
    let response = AcceptInvitationResponse {
        membership: Some(membership.into()),
    };
    tx.finish(&response).await?;
    Ok(Response::new(response))
}

pub(super) async fn revoke(
    identity: &Identity,
    request: Request<RevokeInvitationRequest>,
) -> Answer<RevokeInvitationResponse> {
    let caller = Caller::of(&request);
    let user = user_id(caller.user()?);
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let organisation = OrganisationId(fields.id("organisation_id", &request.organisation_id));
    let id = InvitationId(fields.id("invitation_id", &request.invitation_id));
    fields.check()?;

    let mut tx = match identity.db.begin_once(&caller, &request).await? {
        Begun::Done(response) => return Ok(Response::new(response)),
        Begun::New(tx) => tx,
    };
    let revoked = store::invitation::revoke(&mut tx, organisation, user, id).await?;
    let Some(role) = revoked else {
        // Whoever is no manager there learns nothing of its invitations.
        let error = match store::member::manages(&mut tx, organisation, user).await? {
            true => Error::InvitationNotFound,
            false => Error::OrganisationNotFound,
        };
        return Err(error.into());
    };
    let entry = Entry::new(Action::InvitationRevoked, &caller)
        .within(organisation)
        .role(role.as_str())
        .object(id.0);
    store::audit::insert(&mut tx, &entry, platform::time::now()).await?;
    let response = RevokeInvitationResponse {};
    tx.finish(&response).await?;
    Ok(Response::new(response))
}

pub(super) async fn list(
    identity: &Identity,
    request: Request<ListInvitationsRequest>,
) -> Answer<ListInvitationsResponse> {
    let caller = Caller::of(&request);
    let user = user_id(caller.user()?);
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let organisation = OrganisationId(fields.id("organisation_id", &request.organisation_id));
    fields.check()?;
    let page: Page<(DateTime<Utc>, Uuid)> = identity.db.page(&request)?;

    let mut tx = identity.read().await?;
    let (after, limit, now) = (page.after, page.limit(), platform::time::now());
    let found = store::invitation::list(&mut tx, organisation, user, now, after, limit);
    let mut found = found.await?;
    if found.is_empty() && !store::member::manages(&mut tx, organisation, user).await? {
        return Err(Error::OrganisationNotFound.into());
    }
    let next_page_token = page.next(&mut found, |last| (last.created_at, last.id.0));
    Ok(Response::new(ListInvitationsResponse {
        invitations: found.into_iter().map(Into::into).collect(),
        next_page_token,
    }))
}

impl From<Invitation> for proto::Invitation {
    fn from(invitation: Invitation) -> Self {
        Self {
            id: invitation.id.0.to_string(),
            organisation_id: invitation.organisation_id.0.to_string(),
            email: invitation.email,
            role: proto::MemberRole::from(invitation.role).into(),
            inviter_id: invitation.invited_by.0.to_string(),
            create_time: Some(timestamp(invitation.created_at)),
            expire_time: Some(timestamp(invitation.expires_at)),
        }
    }
}

/// A token that nobody can guess, and what is stored of it.
fn new_token() -> Result<(String, Vec<u8>), Error> {
    let mut token = [0; TOKEN_BYTES];
    rand::fill(&mut token).map_err(|_| Error::Fault(anyhow::anyhow!("no randomness")))?;
    let hash = digest(&SHA256, &token).as_ref().to_vec();
    Ok((URL_SAFE_NO_PAD.encode(token), hash))
}

/// What is stored of a token; none if it cannot be one.
fn hash(token: &str) -> Option<Vec<u8>> {
    let mut bytes = [0; TOKEN_BYTES];
    let length = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).ok()?;
    (length == TOKEN_BYTES).then(|| digest(&SHA256, &bytes).as_ref().to_vec())
}
