//! Who belongs to an organisation. Who may change that stands in the statements of `store::member`.

use std::cmp::Ordering;

use api::homeward::identity::v1::{
    AddMemberRequest, AddMemberResponse, ListMembersRequest, ListMembersResponse, MemberRole,
    RemoveMemberRequest, RemoveMemberResponse, UpdateMemberRequest, UpdateMemberResponse,
    UserRoleGranted, UserRoleRevoked,
};
use chrono::{DateTime, Utc};
use platform::{auth::Caller, error::FieldErrors};
use platform_db::{Begun, Page};
use sqlx::PgConnection;
use tonic::{Request, Response};
use uuid::Uuid;

use super::{Answer, Identity, role, say, user_id};
use crate::{
    audit::{Action, Entry},
    domain::{Error, Membership, OrganisationId, Role, UserId},
    store,
};

pub(super) async fn list(
    identity: &Identity,
    request: Request<ListMembersRequest>,
) -> Answer<ListMembersResponse> {
    let caller = Caller::of(&request);
    let caller = user_id(caller.user()?);
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let organisation = OrganisationId(fields.id("organisation_id", &request.organisation_id));
    fields.check()?;
    let page: Page<(DateTime<Utc>, Uuid)> = identity.db.page(&request)?;

    let mut tx = identity.read().await?;
    let (after, limit) = (page.after, page.limit());
    let mut found = store::member::list(&mut tx, organisation, caller, after, limit).await?;
    // A member sees at least themselves on the first page.
    if found.is_empty() && !store::member::exists(&mut tx, organisation, caller).await? {
        return Err(Error::OrganisationNotFound.into());
    }
    let next_page_token = page.next(&mut found, |last| (last.created_at, last.user_id.0));
    Ok(Response::new(ListMembersResponse {
        memberships: found.into_iter().map(Into::into).collect(),
        next_page_token,
    }))
}

pub(super) async fn add(
    identity: &Identity,
    request: Request<AddMemberRequest>,
) -> Answer<AddMemberResponse> {
    let caller = Caller::of(&request);
    let user = user_id(caller.user()?);
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let organisation = OrganisationId(fields.id("organisation_id", &request.organisation_id));
    let email = fields.email("email", &request.email);
    let role = member_role(&mut fields, request.role);
    fields.check()?;

    let mut tx = match identity.db.begin_once(&caller, &request).await? {
        Begun::Done(response) => return Ok(Response::new(response)),
        Begun::New(tx) => tx,
    };
    let now = platform::time::now();
    store::organisation::lock(&mut tx, organisation).await?;
    let added = store::member::add(&mut tx, organisation, user, &email.key, role, now).await?;
    if !added.allowed {
        return Err(Error::OrganisationNotFound.into());
    }
    let user_id = added.user_id.ok_or(Error::UserNotFound)?;
    let entry = Entry::new(Action::MemberAdded, &caller);
    granted(&mut tx, organisation, user_id, role, entry, now).await?;
    let membership = Membership {
        organisation_id: organisation,
        user_id,
        role,
        created_at: now,
    };
    let response = AddMemberResponse {
        membership: Some(membership.into()),
    };
    tx.finish(&response).await?;
    Ok(Response::new(response))
}

pub(super) async fn update(
    identity: &Identity,
    request: Request<UpdateMemberRequest>,
) -> Answer<UpdateMemberResponse> {
    let caller = Caller::of(&request);
    let user = user_id(caller.user()?);
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let organisation = OrganisationId(fields.id("organisation_id", &request.organisation_id));
    let member = UserId(fields.id("user_id", &request.user_id));
    let role = member_role(&mut fields, request.role);
    fields.check()?;

    let mut tx = match identity.db.begin_once(&caller, &request).await? {
        Begun::Done(response) => return Ok(Response::new(response)),
        Begun::New(tx) => tx,
    };
    store::organisation::lock(&mut tx, organisation).await?;
    let updated = store::member::update(&mut tx, organisation, user, member, role).await?;
    let Some(updated) = updated else {
        return Err(not_found(&mut tx, organisation, user).await.into());
    };
    if !store::member::has_owner(&mut tx, organisation).await? {
        return Err(Error::LastOwner.into());
    }
    let now = platform::time::now();
    let entry = Entry::new(Action::MemberUpdated, &caller);
    match role.cmp(&updated.role_before) {
        Ordering::Less => {
            let lost = (updated.role_before, Some(role));
            revoked(&mut tx, organisation, member, lost, entry, now).await?;
        }
        Ordering::Equal => {}
        Ordering::Greater => granted(&mut tx, organisation, member, role, entry, now).await?,
    }
    let membership = Membership {
        organisation_id: organisation,
        user_id: member,
        role,
        created_at: updated.created_at,
    };
    let response = UpdateMemberResponse {
        membership: Some(membership.into()),
    };
    tx.finish(&response).await?;
    Ok(Response::new(response))
}

pub(super) async fn remove(
    identity: &Identity,
    request: Request<RemoveMemberRequest>,
) -> Answer<RemoveMemberResponse> {
    let caller = Caller::of(&request);
    let user = user_id(caller.user()?);
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let organisation = OrganisationId(fields.id("organisation_id", &request.organisation_id));
    let member = UserId(fields.id("user_id", &request.user_id));
    fields.check()?;

    let mut tx = match identity.db.begin_once(&caller, &request).await? {
        Begun::Done(response) => return Ok(Response::new(response)),
        Begun::New(tx) => tx,
    };
    store::organisation::lock(&mut tx, organisation).await?;
    let removed = store::member::remove(&mut tx, organisation, user, member).await?;
    let Some(lost) = removed else {
        return Err(not_found(&mut tx, organisation, user).await.into());
    };
    if !store::member::has_owner(&mut tx, organisation).await? {
        return Err(Error::LastOwner.into());
    }
    let entry = Entry::new(Action::MemberRemoved, &caller);
    let now = platform::time::now();
    revoked(&mut tx, organisation, member, (lost, None), entry, now).await?;
    let response = RemoveMemberResponse {};
    tx.finish(&response).await?;
    Ok(Response::new(response))
}

/// Counts, says and records that a member is more than before.
pub(super) async fn granted(
    tx: &mut PgConnection,
    organisation: OrganisationId,
    user: UserId,
    role: Role,
    entry: Entry,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let granted = UserRoleGranted {
        user_id: user.0.to_string(),
        version: store::user::raise_version(tx, user).await?,
        role: role.as_str().to_owned(),
        organisation_id: organisation.0.to_string(),
    };
    say(tx, granted, entry.by.actor.clone()).await?;
    let entry = entry.to(user).within(organisation).role(role.as_str());
    store::audit::insert(tx, &entry, now).await
}

/// Counts, says and records that a member is less than before, and voids the tokens that do not know it.
async fn revoked(
    tx: &mut PgConnection,
    organisation: OrganisationId,
    user: UserId,
    (lost, remaining): (Role, Option<Role>),
    entry: Entry,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let raised = store::user::raise_access_version(tx, user).await?;
    let revoked = UserRoleRevoked {
        user_id: user.0.to_string(),
        version: raised.version,
        role: lost.as_str().to_owned(),
        organisation_id: organisation.0.to_string(),
        access_version: raised.access_version,
        remaining_role: remaining.map_or_else(String::new, |role| role.as_str().to_owned()),
    };
    say(tx, revoked, entry.by.actor.clone()).await?;
    let role = remaining.unwrap_or(lost);
    let entry = entry.to(user).within(organisation).role(role.as_str());
    store::audit::insert(tx, &entry, now).await
}

/// Those who do not belong to an organisation do not learn whether there is such a member.
async fn not_found(tx: &mut PgConnection, organisation: OrganisationId, caller: UserId) -> Error {
    match store::member::exists(tx, organisation, caller).await {
        Ok(true) => Error::MemberNotFound,
        Ok(false) => Error::OrganisationNotFound,
        Err(error) => error,
    }
}

pub(super) fn member_role(fields: &mut FieldErrors, value: i32) -> Role {
    role(fields.choice::<MemberRole>("role", value)).unwrap_or(Role::Member)
}
