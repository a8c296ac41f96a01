//! Organisations.

use api::homeward::identity::v1::{
    BatchGetOrganisationsRequest, BatchGetOrganisationsResponse, CreateOrganisationRequest,
    CreateOrganisationResponse,
};
use platform::{auth::Caller, error::FieldErrors};
use platform_db::Begun;
use tonic::{Request, Response};
use uuid::Uuid;

use super::{Answer, Identity, ids, members::granted, user_id};
use crate::{
    audit::{Action, Entry},
    domain::{Membership, Organisation, OrganisationId, Role},
    store,
};

pub(super) async fn create(
    identity: &Identity,
    request: Request<CreateOrganisationRequest>,
) -> Answer<CreateOrganisationResponse> {
    let caller = Caller::of(&request);
    let user = user_id(caller.user()?);
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let name = fields.text("name", &request.name, 1..=120);
    fields.check()?;

    let mut tx = match identity.db.begin_once(&caller, &request).await? {
        Begun::Done(response) => return Ok(Response::new(response)),
        Begun::New(tx) => tx,
    };
    let now = platform::time::now();
    let organisation = Organisation {
        id: OrganisationId(Uuid::now_v7()),
        name,
        created_at: now,
        version: 1,
    };
    let founder = Membership {
        organisation_id: organisation.id,
        user_id: user,
        role: Role::Owner,
        created_at: now,
    };
    store::organisation::insert(&mut tx, &organisation).await?;
    store::member::insert(&mut tx, &founder).await?;
    let entry = Entry::new(Action::MemberAdded, &caller);
    granted(&mut tx, organisation.id, user, founder.role, entry, now).await?;
    let response = CreateOrganisationResponse {
        organisation: Some(organisation.into()),
    };
    tx.finish(&response).await?;
    Ok(Response::new(response))
}

pub(super) async fn batch_get(
    identity: &Identity,
    request: Request<BatchGetOrganisationsRequest>,
) -> Answer<BatchGetOrganisationsResponse> {
    let mut fields = FieldErrors::default();
    let ids = ids(&mut fields, &request.into_inner().ids);
    fields.check()?;

    let organisations = store::organisation::list(&mut *identity.read().await?, &ids).await?;
    let organisations = organisations.into_iter().map(Into::into).collect();
    Ok(Response::new(BatchGetOrganisationsResponse {
        organisations,
    }))
}
