use std::collections::HashMap;

use api::homeward::identity::v1 as identity;
use async_graphql::{Context, ID, Object};
use platform::error::Refusal;
use platform_contract::PlatformReason;
use platform_graphql::GlobalId;
use platform_graphql::hot::{Hot, Model};
use tonic::Status;

use crate::clients::Services;
use crate::ids::{self, Kind};
use crate::model::{Node, Offer, Organisation, User};

/// What the services answer at once.
const NODES_MAX: usize = 100;

/// Each in the place of its id.
type Nodes = Vec<Option<Result<Node, Status>>>;

#[derive(Default)]
pub(crate) struct NodeQuery;

#[Object]
impl NodeQuery {
    /// Any object by its global id; null if there is none that the caller may see.
    async fn node(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Node, Status>> {
        node(Services::of(ctx), &id).await.transpose()
    }

    /// Objects by their global ids, in the order asked; null where there is none that the caller
    /// may see.
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most 100.")] ids: Vec<ID>,
    ) -> Option<Result<Nodes, Status>> {
        Some(nodes(Services::of(ctx), &ids).await)
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

/// One call for each type; where a service is down each of its ids is null with an error.
async fn nodes(services: Services<'_>, ids: &[ID]) -> Result<Nodes, Status> {
    if ids.len() > NODES_MAX {
        let message = format!("more than {NODES_MAX} ids");
        return Err(Refusal::new(PlatformReason::FieldInvalid, &message)
            .violation("ids", message)
            .into());
    }
    let ids = ids
        .iter()
        .map(|id| ids::parse("ids", id))
        .collect::<Result<Vec<_>, _>>()?;
    services.caller()?;
    let mut identity = services.identity();
    let users = Found::fetch(&ids, Kind::User, async |ids| {
        let answer = identity.batch_get_users(identity::BatchGetUsersRequest { ids });
        let rows = answer.await?.into_inner().users.into_iter();
        Ok(rows.map(|row| (row.id.clone(), row)).collect())
    });
    let organisations = Found::fetch(&ids, Kind::Organisation, async |ids| {
        by_id(Organisation::batch(services, ids).await?)
    });
    let offers = Found::fetch(&ids, Kind::Offer, async |ids| {
        by_id(Offer::batch(services, ids).await?)
    });
    let (users, organisations, offers) = tokio::join!(users, organisations, offers);
    let node = |id: &GlobalId<Kind>| {
        Some(match id.kind? {
            Kind::User => users
                .get(id)?
                .and_then(|row| User::seen(services, row))
                .map(Node::User),
            Kind::Organisation => organisations.get(id)?.map(Node::Organisation),
            Kind::Offer => offers.get(id)?.map(Node::Offer),
        })
    };
    Ok(ids.iter().map(node).collect())
}

fn by_id<M: Model>(rows: Vec<Hot<M>>) -> Result<HashMap<String, Hot<M>>, Status> {
    let rows = rows.into_iter();
    Ok(rows
        .filter_map(|row| Some((row.id()?.to_owned(), row)))
        .collect())
}

/// What a service has answered, or why it has not.
struct Found<T>(Result<HashMap<String, T>, Status>);

impl<T: Clone> Found<T> {
    /// One call for the ids of a kind, none if there are none.
    async fn fetch(
        ids: &[GlobalId<Kind>],
        kind: Kind,
        call: impl AsyncFnOnce(Vec<String>) -> Result<HashMap<String, T>, Status>,
    ) -> Found<T> {
        let of_kind = ids.iter().filter_map(|id| id.only(kind));
        let mut ids: Vec<String> = of_kind.map(|id| id.to_string()).collect();
        ids.sort_unstable();
        ids.dedup();
        Found(if ids.is_empty() {
            Ok(HashMap::new())
        } else {
            call(ids).await
        })
    }

    fn get(&self, id: &GlobalId<Kind>) -> Option<Result<T, Status>> {
        match &self.0 {
            Ok(rows) => rows.get(&id.id.to_string()).cloned().map(Ok),
            Err(status) => Some(Err(status.clone())),
        }
    }
}
