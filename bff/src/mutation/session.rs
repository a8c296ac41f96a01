use api::homeward::identity::v1 as proto;
use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use platform_graphql::error::{Input, Payload};
use platform_graphql::rate::Origin;
use platform_graphql::session::Jar;
use platform_graphql::{Failure, RequestId, UserError};
use tonic::{Code, Request, Status};

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
        let origin = ctx.data_unchecked();
        let work = login(Services::of(ctx), Jar::of(ctx), origin, input);
        Some(PASSWORD.payload(work).await)
    }

    /// Exchanges a refresh token for its successor and a new access token.
    async fn refresh_session(
        &self,
        ctx: &Context<'_>,
        input: RefreshSessionInput,
    ) -> Option<Result<LoginPayload, Status>> {
        let work = refresh_session(Services::of(ctx), Jar::of(ctx), input);
        Some(Input::default().payload(work).await)
    }

    /// Ends the session of the access token or cookie. Ending an ended one is no error.
    async fn logout(
        &self,
        ctx: &Context<'_>,
        input: LogoutInput,
    ) -> Option<Result<LogoutPayload, Status>> {
        let work = logout(Services::of(ctx), Jar::of(ctx), input);
        Some(Input::default().payload(work).await)
    }
}

/// Where a client keeps its session.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum SessionKind {
    /// The client keeps the tokens and sends them itself.
    Tokens,
    /// For browsers: a cookie keeps them that no script can read; the payload has none.
    Cookie,
}

#[derive(InputObject)]
struct LoginInput {
    email: String,
    #[graphql(secret)]
    password: String,
    /// What to act for; without it the organisation joined first, if any.
    organisation_id: Option<ID>,
    /// `TOKENS` without it.
    session: Option<SessionKind>,
}

#[derive(InputObject)]
struct RefreshSessionInput {
    /// Not with `session: COOKIE`, which takes the one in the cookie.
    #[graphql(secret)]
    refresh_token: Option<String>,
    /// `TOKENS` without it.
    session: Option<SessionKind>,
}

#[derive(SimpleObject)]
struct LoginPayload {
    /// Null with `session: COOKIE`.
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

async fn login(
    services: Services<'_>,
    jar: &Jar,
    origin: &Origin,
    input: LoginInput,
) -> Result<LoginPayload, Failure> {
    let in_cookie = input.session == Some(SessionKind::Cookie);
    if in_cookie {
        jar.ready()?;
    }
    let organisation_id = match &input.organisation_id {
        Some(id) => ids::input("organisationId", id, Kind::Organisation)?.to_string(),
        None => String::new(),
    };
    let mut request = Request::new(proto::LoginRequest {
        email: input.email,
        password: input.password,
        organisation_id,
    });
    services.introduce(&mut request, origin);
    let answer = services
        .identity_as_nobody()
        .login(request)
        .await?
        .into_inner();
    opened(services, jar, in_cookie, answer.tokens, answer.user).await
}

async fn refresh_session(
    services: Services<'_>,
    jar: &Jar,
    input: RefreshSessionInput,
) -> Result<LoginPayload, Failure> {
    let in_cookie = input.session == Some(SessionKind::Cookie);
    let refresh_token = match (input.refresh_token, in_cookie) {
        (Some(token), false) => token,
        (None, true) => {
            jar.ready()?;
            let token = jar.refresh_token().map(str::to_owned);
            token.ok_or_else(|| UserError::at(&["session"], "there is no session in a cookie"))?
        }
        // A cookie never buys a token, nor a token a cookie.
        (None, false) => return Err(UserError::at(&["refreshToken"], "is missing").into()),
        (Some(_), true) => {
            return Err(UserError::at(&["refreshToken"], "does not go with COOKIE").into());
        }
    };
    let request = proto::RefreshSessionRequest { refresh_token };
    let answer = services
        .identity_as_nobody()
        .refresh_session(request)
        .await?
        .into_inner();
    opened(services, jar, in_cookie, answer.tokens, answer.user).await
}

/// The payload of a session just opened or renewed; its tokens go to one place only.
async fn opened(
    services: Services<'_>,
    jar: &Jar,
    in_cookie: bool,
    tokens: Option<proto::SessionTokens>,
    user: Option<proto::User>,
) -> Result<LoginPayload, Failure> {
    let kept = in_cookie.then(|| crate::session::tokens(tokens.clone()));
    let session = Session::new(services, tokens, user).await?;
    if let Some(kept) = kept {
        jar.keep(kept?)?;
    }
    Ok(LoginPayload {
        tokens: (!in_cookie).then_some(session.tokens),
        viewer: Some(session.viewer),
        user_errors: Vec::new(),
    })
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

async fn logout(
    services: Services<'_>,
    jar: &Jar,
    _input: LogoutInput,
) -> Result<LogoutPayload, Failure> {
    let done = services.identity().logout(proto::LogoutRequest {}).await;
    match done {
        Ok(_) => {}
        // The session in the cookie had ended before.
        Err(status) if jar.came() && status.code() == Code::Unauthenticated => {}
        Err(status) => return Err(status.into()),
    }
    jar.clear();
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
