use api::homeward::identity::v1 as proto;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use platform_graphql::error::{Input, Payload};
use platform_graphql::{Failure, RequestId, UserError};
use tonic::Status;

use crate::clients::Services;
use crate::ids::{self, Kind};
use crate::model::UserKind;

#[derive(Default)]
pub(crate) struct AccountMutation;

#[Object]
impl AccountMutation {
    /// Makes an account; log in next.
    async fn register(
        &self,
        ctx: &Context<'_>,
        input: RegisterInput,
    ) -> Option<Result<RegisterPayload, Status>> {
        let work = register(Services::of(ctx), input);
        Some(Input::default().payload(work).await)
    }

    /// Sets a new password and ends every other session.
    async fn change_password(
        &self,
        ctx: &Context<'_>,
        input: ChangePasswordInput,
    ) -> Option<Result<ChangePasswordPayload, Status>> {
        let work = change_password(Services::of(ctx), input);
        Some(super::session::PASSWORD.payload(work).await)
    }
}

#[derive(InputObject)]
struct RegisterInput {
    /// The same id again is the same registration, not a second one.
    request_id: Option<RequestId>,
    email: String,
    /// 10 to 128 characters.
    #[graphql(secret)]
    password: String,
    /// 1 to 80 characters.
    display_name: String,
    kind: UserKind,
    /// Required of a business, refused of others; 1 to 120 characters.
    organisation_name: Option<String>,
}

#[derive(SimpleObject)]
struct RegisterPayload {
    user_id: Option<ID>,
    /// That of a business.
    organisation_id: Option<ID>,
    user_errors: Vec<UserError>,
}

impl Payload for RegisterPayload {
    fn refused(user_errors: Vec<UserError>) -> RegisterPayload {
        RegisterPayload {
            user_id: None,
            organisation_id: None,
            user_errors,
        }
    }
}

async fn register(
    services: Services<'_>,
    input: RegisterInput,
) -> Result<RegisterPayload, Failure> {
    let request = proto::RegisterRequest {
        request_id: RequestId::or_new(input.request_id),
        email: input.email,
        password: input.password,
        display_name: input.display_name,
        kind: input.kind.row(),
        organisation_name: input.organisation_name.unwrap_or_default(),
    };
    let answer = services
        .identity_as_nobody()
        .register(request)
        .await?
        .into_inner();
    let organisation_id = Some(answer.organisation_id).filter(|id| !id.is_empty());
    Ok(RegisterPayload {
        user_id: Some(ids::encode(Kind::User, &answer.user_id)?),
        organisation_id: organisation_id
            .map(|id| ids::encode(Kind::Organisation, &id))
            .transpose()?,
        user_errors: Vec::new(),
    })
}

#[derive(InputObject)]
struct ChangePasswordInput {
    /// The same id again changes nothing.
    request_id: Option<RequestId>,
    #[graphql(secret)]
    current_password: String,
    /// 10 to 128 characters.
    #[graphql(secret)]
    new_password: String,
}

#[derive(SimpleObject)]
struct ChangePasswordPayload {
    user_errors: Vec<UserError>,
}

impl Payload for ChangePasswordPayload {
    fn refused(user_errors: Vec<UserError>) -> ChangePasswordPayload {
        ChangePasswordPayload { user_errors }
    }
}

async fn change_password(
    services: Services<'_>,
    input: ChangePasswordInput,
) -> Result<ChangePasswordPayload, Failure> {
    let request = proto::ChangePasswordRequest {
        request_id: RequestId::or_new(input.request_id),
        current_password: input.current_password,
        new_password: input.new_password,
    };
    services.identity().change_password(request).await?;
    Ok(ChangePasswordPayload {
        user_errors: Vec::new(),
    })
}
