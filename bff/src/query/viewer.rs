use async_graphql::{Context, Object};
use platform::auth::Caller;
use tonic::Status;

use crate::clients::Services;
use crate::model::User;

#[derive(Default)]
pub(crate) struct ViewerQuery;

#[Object]
impl ViewerQuery {
    /// Who asks; null without a token.
    async fn viewer(&self, ctx: &Context<'_>) -> Option<Result<User, Status>> {
        let services = Services::of(ctx);
        match services.caller() {
            Ok(Caller::Nobody) => None,
            Ok(_) => Some(User::viewer(services).await),
            Err(status) => Some(Err(status)),
        }
    }
}
