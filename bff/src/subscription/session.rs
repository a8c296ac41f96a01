use api::homeward::identity::v1::{
    UserDeleted, UserRevoked, UserRoleGranted, UserRoleRevoked, UserSessionEnded,
};
use async_graphql::{Context, Enum, SimpleObject, Subscription};
use futures_util::{Stream, StreamExt, stream};
use platform_contract::Event;
use platform_events::broadcast;
use tonic::Status;
use uuid::Uuid;

use super::Feeds;
use super::vote::read;
use crate::clients::Owned;

#[derive(Default)]
pub(crate) struct SessionSubscription;

#[Subscription]
impl SessionSubscription {
    /// What becomes of the session of who asks: first that it is open, then each change, until it
    /// has ended.
    async fn session(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = Option<Result<SessionEvent, Status>>> + use<>, Status> {
        let services = Owned::of(ctx);
        let user = services.caller()?.user()?;
        let feeds: &Feeds = ctx.data_unchecked();
        let watch = Watch {
            events: feeds.users.follow(&user.id.to_string()),
            session: user.session_id,
        };
        let opened = stream::iter([Ok(SessionEventKind::Open)]);
        let events = opened.chain(stream::unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            let kind = watch.next().await;
            let over = !matches!(kind, Ok(SessionEventKind::RoleChanged));
            Some((kind, (!over).then_some(watch)))
        }));
        Ok(events.map(|kind| Some(kind.map(|kind| SessionEvent { kind }))))
    }
}

/// Something that became of a session.
#[derive(SimpleObject)]
struct SessionEvent {
    kind: SessionEventKind,
}

/// What became of a session.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum SessionEventKind {
    /// The session is open, and watched from now on.
    Open,
    /// What the user may do has changed, or the password: refresh the session, and if that is
    /// refused it has ended.
    RoleChanged,
    /// The session has ended; nothing comes after this.
    Ended,
}

/// The events of one user.
struct Watch {
    events: broadcast::Subscription,
    session: Uuid,
}

impl Watch {
    async fn next(&mut self) -> Result<SessionEventKind, Status> {
        loop {
            let Ok(event) = self.events.next().await else {
                // Whatever it was, a refresh tells.
                return Ok(SessionEventKind::RoleChanged);
            };
            if let Some(ended) = read::<UserSessionEnded>(&event)? {
                if ended.session_id == self.session.to_string() {
                    return Ok(SessionEventKind::Ended);
                }
                continue;
            }
            match event.meta.event.name {
                UserDeleted::NAME => return Ok(SessionEventKind::Ended),
                UserRevoked::NAME | UserRoleGranted::NAME | UserRoleRevoked::NAME => {
                    return Ok(SessionEventKind::RoleChanged);
                }
                _ => {}
            }
        }
    }
}
