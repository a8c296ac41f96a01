use api::homeward::identity::v1 as proto;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use platform_graphql::error::{Input, Payload};
use platform_graphql::{Failure, RequestId, UserError};
use tonic::Status;

use crate::clients::Services;
use crate::ids::{self, Kind};
use crate::model::{Session, SessionTokens, User};

/// A wrong password is something to put right, though its code is that of a bad token.
pub(super) const PASSWORD: Input = Input {
    names: &[],
    words: &["CREDENTIALS_INVALID"],
};

#[derive(Default)]
pub(crate) struct SessionMutation;

#[Object]
impl SessionMutation {
    /// Opens a session.
    async fn login(
        &self,
        ctx: &Context<'_>,
        input: LoginInput,
    ) -> Option<Result<LoginPayload, Status>> {
        Some(PASSWORD.payload(login(Services::of(ctx), input)).await)
    }

    /// Exchanges a refresh token for its successor and a new access token.
    async fn refresh_session(
        &self,
        ctx: &Context<'_>,
        input: RefreshSessionInput,
    ) -> Option<Result<LoginPayload, Status>> {
        let work = refresh_session(Services::of(ctx), input);
        Some(Input::default().payload(work).await)
    }

    /// Ends the session of the access token. Ending an ended one is no error.
    async fn logout(
        &self,
        ctx: &Context<'_>,
        input: LogoutInput,
    ) -> Option<Result<LogoutPayload, Status>> {
        Some(
            Input::default()
                .payload(logout(Services::of(ctx), input))
                .await,
        )
    }
}

#[derive(InputObject)]
struct LoginInput {
    email: String,
    #[graphql(secret)]
    password: String,
    /// What to act for; without it the organisation joined first, if any.
    organisation_id: Option<ID>,
}

#[derive(InputObject)]
struct RefreshSessionInput {
    #[graphql(secret)]
    refresh_token: String,
}

#[derive(SimpleObject)]
struct LoginPayload {
    tokens: Option<SessionTokens>,
    viewer: Option<User>,
    user_errors: Vec<UserError>,
}

impl Payload for LoginPayload {
    fn refused(user_errors: Vec<UserError>) -> LoginPayload {
        LoginPayload {
            tokens: None,
            viewer: None,
            user_errors,
        }
    }
}

impl From<Session> for LoginPayload {
    fn from(session: Session) -> LoginPayload {
        LoginPayload {
            tokens: Some(session.tokens),
            viewer: Some(session.viewer),
            user_errors: Vec::new(),
        }
    }
}

async fn login(services: Services<'_>, input: LoginInput) -> Result<LoginPayload, Failure> {
    let organisation_id = match &input.organisation_id {
        Some(id) => ids::input("organisationId", id, Kind::Organisation)?.to_string(),
        None => String::new(),
    };
    let request = proto::LoginRequest {
        email: input.email,
        password: input.password,
        organisation_id,
    };
    let answer = services
        .identity_as_nobody()
        .login(request)
        .await?
        .into_inner();
    Ok(Session::new(services, answer.tokens, answer.user)
        .await?
        .into())
}

async fn refresh_session(
    services: Services<'_>,
    input: RefreshSessionInput,
) -> Result<LoginPayload, Failure> {
    let request = proto::RefreshSessionRequest {
        refresh_token: input.refresh_token,
    };
    let answer = services
        .identity_as_nobody()
        .refresh_session(request)
        .await?
        .into_inner();
    Ok(Session::new(services, answer.tokens, answer.user)
        .await?
        .into())
}

#[derive(InputObject)]
struct LogoutInput {
    /// Not needed: a repeat changes nothing.
    #[graphql(name = "requestId")]
    _request_id: Option<RequestId>,
}

#[derive(SimpleObject)]
struct LogoutPayload {
    user_errors: Vec<UserError>,
}

impl Payload for LogoutPayload {
    fn refused(user_errors: Vec<UserError>) -> LogoutPayload {
        LogoutPayload { user_errors }
    }
}

async fn logout(services: Services<'_>, _input: LogoutInput) -> Result<LogoutPayload, Failure> {
    services.identity().logout(proto::LogoutRequest {}).await?;
    Ok(LogoutPayload {
        user_errors: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use platform_contract::Reason as _;

    use super::*;

    #[test]
    fn the_word_for_a_wrong_password_is_that_of_the_contract() {
        assert_eq!(
            PASSWORD.words,
            [proto::ErrorReason::CredentialsInvalid.word()]
        );
    }
}
