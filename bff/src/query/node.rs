use async_graphql::{Context, ID, Object};
use tonic::Status;

use crate::clients::Services;
use crate::ids::{self, Kind};
use crate::model::{Node, Offer, Organisation, User};

#[derive(Default)]
pub(crate) struct NodeQuery;

#[Object]
impl NodeQuery {
    /// Any object by its global id; null if there is none that the caller may see.
    async fn node(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Node, Status>> {
        node(Services::of(ctx), &id).await.transpose()
    }
}

async fn node(services: Services<'_>, id: &ID) -> Result<Option<Node>, Status> {
    let id = ids::parse("id", id)?;
    // A bad token is told, also where it would not have been needed.
    services.caller()?;
    let uuid = id.id.to_string();
    Ok(match id.kind {
        None => None,
        Some(Kind::User) => User::get(services, uuid).await?.map(Node::User),
        Some(Kind::Organisation) => Organisation::get(services, uuid)
            .await?
            .map(Node::Organisation),
        Some(Kind::Offer) => Offer::get(services, uuid).await?.map(Node::Offer),
    })
}
