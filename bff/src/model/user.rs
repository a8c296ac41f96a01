use api::homeward::identity::v1 as proto;
use async_graphql::{ComplexObject, Context, Enum, ID, SimpleObject};
use platform::auth::Caller;
use platform_graphql::hot::Hot;
use platform_graphql::{Context as Request, DateTime, Long};
use tonic::Status;

use super::{Organisation, missing, time};
use crate::clients::Services;
use crate::ids::{self, Kind};

/// A person with an account.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct User {
    pub(crate) id: ID,
    email: String,
    display_name: String,
    kind: UserKind,
    /// That of the kind first.
    roles: Vec<String>,
    created_at: DateTime,
    version: Long,
    /// The session of this user; none for anybody but the viewer.
    #[graphql(skip)]
    session: Option<Request>,
}

#[ComplexObject]
impl User {
    /// What the session acts for; null without one, and for anybody but the viewer.
    async fn organisation(&self, ctx: &Context<'_>) -> Option<Result<Hot<Organisation>, Status>> {
        let session = self.session.as_ref()?;
        let user = match session.caller() {
            Ok(Caller::User(user)) => user,
            Ok(_) => return None,
            Err(status) => return Some(Err(status)),
        };
        let (id, _) = user.organisation?;
        let services = Services::of(ctx).within(session);
        Organisation::get(services, id.to_string())
            .await
            .transpose()
    }
}

impl User {
    fn new(row: Option<proto::User>, session: Option<Request>) -> Result<User, Status> {
        let row = row.ok_or_else(|| missing("user"))?;
        Ok(User {
            id: ids::encode(Kind::User, &row.id)?,
            kind: UserKind::of(row.kind())?,
            email: row.email,
            display_name: row.display_name,
            roles: row.roles,
            created_at: time(row.create_time)?,
            version: Long(row.version),
            session,
        })
    }

    /// Who asks.
    pub(crate) async fn viewer(services: Services<'_>) -> Result<User, Status> {
        let request = proto::GetViewerRequest {};
        let answer = services.identity().get_viewer(request).await?.into_inner();
        User::new(answer.user, Some(services.context().clone()))
    }

    /// A user whom the caller may see; `None` if there is none.
    pub(crate) async fn get(services: Services<'_>, id: String) -> Result<Option<User>, Status> {
        let request = proto::BatchGetUsersRequest { ids: vec![id] };
        let answer = services
            .identity()
            .batch_get_users(request)
            .await?
            .into_inner();
        let row = answer.users.into_iter().next();
        row.map(|row| User::seen(services, row)).transpose()
    }

    /// A user as the caller sees them.
    pub(crate) fn seen(services: Services<'_>, row: proto::User) -> Result<User, Status> {
        let is_viewer =
            matches!(services.caller()?, Caller::User(user) if user.id.to_string() == row.id);
        let session = is_viewer.then(|| services.context().clone());
        User::new(Some(row), session)
    }
}

/// The two tokens of a session.
#[derive(SimpleObject)]
pub(crate) struct SessionTokens {
    /// Sent as `authorization: Bearer`.
    access_token: String,
    access_token_expires_at: DateTime,
    /// Good for one `refreshSession`.
    refresh_token: String,
    refresh_token_expires_at: DateTime,
}

/// A session just opened or renewed.
pub(crate) struct Session {
    pub(crate) tokens: SessionTokens,
    pub(crate) viewer: User,
}

impl Session {
    pub(crate) async fn new(
        services: Services<'_>,
        tokens: Option<proto::SessionTokens>,
        user: Option<proto::User>,
    ) -> Result<Session, Status> {
        let tokens = tokens.ok_or_else(|| missing("tokens"))?;
        // The request that opened the session knew nothing of it: its fields are read as the new one.
        let session = services.opened(&tokens.access_token).await;
        Ok(Session {
            viewer: User::new(user, Some(session))?,
            tokens: SessionTokens {
                access_token: tokens.access_token,
                access_token_expires_at: time(tokens.access_token_expire_time)?,
                refresh_token: tokens.refresh_token,
                refresh_token_expires_at: time(tokens.refresh_token_expire_time)?,
            },
        })
    }
}

/// What a person is here for; fixed when the account is made.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum UserKind {
    /// Moves house.
    Mover,
    /// An employer, university or housing association that sends movers.
    Client,
    /// Offers crews, storage, broadband, cleaning.
    Business,
}

impl UserKind {
    fn of(row: proto::UserKind) -> Result<UserKind, Status> {
        match row {
            proto::UserKind::Unspecified => Err(missing("kind")),
            proto::UserKind::Mover => Ok(UserKind::Mover),
            proto::UserKind::Client => Ok(UserKind::Client),
            proto::UserKind::Business => Ok(UserKind::Business),
        }
    }

    pub(crate) fn row(self) -> i32 {
        let row = match self {
            UserKind::Mover => proto::UserKind::Mover,
            UserKind::Client => proto::UserKind::Client,
            UserKind::Business => proto::UserKind::Business,
        };
        row.into()
    }
}
