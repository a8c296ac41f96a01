//! The schema of the tables written out, with a resolver for each field over decoded messages.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::{Context, ID, Interface, Object, SimpleObject};
use prost::Message;
use tokio::sync::OnceCell;
use tonic::Status;

use super::world::{self, Colour, World};
use crate::{Connection, Currency, DateTime, GlobalId, Long, Page};

#[derive(Clone, Copy, PartialEq)]
struct Letter(u8);

impl crate::Kind for Letter {
    fn byte(self) -> u8 {
        self.0
    }

    fn of(byte: u8) -> Option<Letter> {
        Some(Letter(byte))
    }
}

fn id(kind: u8, text: &str) -> Result<ID, Status> {
    GlobalId::encode_text(Letter(kind), text).map_err(|_| platform::error::internal("no id"))
}

fn time(time: Option<&world::Timestamp>) -> Result<DateTime, Status> {
    let time = time.and_then(|time| DateTime::from_parts(time.seconds, time.nanos));
    time.ok_or_else(|| platform::error::internal("no time"))
}

/// The owners that rows lead to, by one call for each level.
struct Owners {
    ids: Vec<String>,
    found: OnceCell<Result<HashMap<String, Owner>, Status>>,
}

impl Owners {
    fn of(ids: impl Iterator<Item = String>) -> Arc<Owners> {
        let mut ids: Vec<_> = ids.filter(|id| !id.is_empty()).collect();
        ids.sort();
        ids.dedup();
        Arc::new(Owners {
            ids,
            found: OnceCell::new(),
        })
    }

    async fn get(&self, ctx: &Context<'_>, id: &str) -> Option<Result<Owner, Status>> {
        if id.is_empty() {
            return None;
        }
        let found = self.found.get_or_init(async || {
            let rows = ctx.data_unchecked::<World>().owners(&self.ids)?.rows;
            let parents = Owners::of(rows.iter().map(|row| row.parent_id.clone()));
            let owner = |row: world::Owner| (row.id.clone(), Owner(row, parents.clone()));
            Ok(rows.into_iter().map(owner).collect())
        });
        match found.await {
            Ok(found) => found.get(id).cloned().map(Ok),
            Err(status) => Some(Err(status.clone())),
        }
    }
}

#[derive(Clone)]
struct Item(world::Item, Arc<Owners>);

#[Object]
impl Item {
    async fn id(&self) -> Result<ID, Status> {
        id(3, &self.0.id)
    }
    async fn title(&self) -> &str {
        &self.0.title
    }
    async fn note(&self) -> Option<&str> {
        self.0.note.as_deref()
    }
    async fn nick(&self) -> Option<&str> {
        Some(self.0.nick.as_str()).filter(|nick| !nick.is_empty())
    }
    async fn colour(&self) -> Result<Colour, Status> {
        Colour::of(self.0.colour).ok_or_else(|| platform::error::internal("no colour"))
    }
    async fn mood(&self) -> Option<Colour> {
        Colour::of(self.0.mood)
    }
    async fn price(&self) -> Result<Price, Status> {
        self.0
            .price
            .clone()
            .map(Price)
            .ok_or_else(|| platform::error::internal("no price"))
    }
    async fn last_price(&self) -> Option<Price> {
        self.0.last_price.clone().map(Price)
    }
    async fn created_at(&self) -> Result<DateTime, Status> {
        time(self.0.created.as_ref())
    }
    async fn ended_at(&self) -> Option<Result<DateTime, Status>> {
        let ended = self.0.ended.as_ref()?;
        Some(time(Some(ended)))
    }
    async fn count(&self) -> Long {
        Long(self.0.count)
    }
    async fn open(&self) -> bool {
        self.0.open
    }
    async fn known(&self) -> Option<bool> {
        self.0.known
    }
    async fn owner(&self, ctx: &Context<'_>) -> Option<Result<Owner, Status>> {
        self.1.get(ctx, &self.0.owner_id).await
    }
}

#[derive(Clone)]
struct Price(world::Price);

#[Object]
impl Price {
    async fn amount(&self) -> Long {
        Long(self.0.amount)
    }
    async fn currency(&self) -> Currency {
        Currency(self.0.currency.clone())
    }
}

#[derive(Clone)]
struct Owner(world::Owner, Arc<Owners>);

#[Object]
impl Owner {
    async fn id(&self) -> Result<ID, Status> {
        id(2, &self.0.id)
    }
    async fn name(&self) -> &str {
        &self.0.name
    }
    async fn created_at(&self) -> Result<DateTime, Status> {
        time(self.0.created.as_ref())
    }
    async fn version(&self) -> Long {
        Long(self.0.version)
    }
    async fn parent(&self, ctx: &Context<'_>) -> Option<Result<Owner, Status>> {
        self.1.get(ctx, &self.0.parent_id).await
    }
}

#[derive(SimpleObject)]
struct Pair {
    left: Option<Item>,
    right: Option<Item>,
    size: i32,
}

#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID"))]
enum Thing {
    Item(Item),
    Owner(Owner),
}

#[derive(Default)]
pub(super) struct Query;

#[Object]
impl Query {
    async fn items(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Option<Result<Connection<Item>, Status>> {
        let page = match Page::new(first, after) {
            Ok(page) => page,
            Err(status) => return Some(Err(status)),
        };
        Some(rows(ctx).map(|(rows, token)| Connection::new(&page, rows.into_iter().map(Ok), token)))
    }

    async fn empty(&self) -> Connection<Item> {
        Connection::new(&Page::new(None, None).unwrap(), [], String::new())
    }

    async fn item(&self, ctx: &Context<'_>, at: usize) -> Option<Result<Item, Status>> {
        rows(ctx).map(|(rows, _)| rows.get(at).cloned()).transpose()
    }

    async fn sure(&self, ctx: &Context<'_>, at: usize) -> Result<Item, Status> {
        rows(ctx).map(|(rows, _)| rows[at].clone())
    }

    async fn all(&self, ctx: &Context<'_>) -> Result<Vec<Option<Item>>, Status> {
        Ok(rows(ctx)?.0.into_iter().map(Some).collect())
    }

    async fn pair(&self, ctx: &Context<'_>, at: usize) -> Option<Pair> {
        let item = rows(ctx).ok()?.0.get(at)?.clone();
        Some(Pair {
            left: Some(item.clone()),
            right: Some(item),
            size: 2,
        })
    }

    async fn thing(&self, ctx: &Context<'_>, at: usize) -> Option<Result<Thing, Status>> {
        match rows(ctx).map(|(rows, _)| rows.get(at).cloned()) {
            Ok(Some(item)) => Some(Ok(Thing::Item(item))),
            Ok(None) => {
                let world: &World = ctx.data_unchecked();
                let owner = world.owners(&[world::uuid(1_000)]).ok()?.rows.remove(0);
                let parents = Owners::of([owner.parent_id.clone()].into_iter());
                Some(Ok(Thing::Owner(Owner(owner, parents))))
            }
            Err(status) => Some(Err(status)),
        }
    }
}

fn rows(ctx: &Context<'_>) -> Result<(Vec<Item>, String), Status> {
    let world: &World = ctx.data_unchecked();
    let items = world::Items::decode(world.items()).map_err(platform::error::internal)?;
    let owners = Owners::of(items.rows.iter().map(|row| row.owner_id.clone()));
    let rows = items.rows.into_iter().map(|row| Item(row, owners.clone()));
    Ok((rows.collect(), items.next_page_token))
}
