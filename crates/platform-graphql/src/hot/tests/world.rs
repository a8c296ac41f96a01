//! Messages, the tables over them, and a service that answers them from memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::OutputType;
use bytes::Bytes;
use prost::Message;
use tonic::Status;

use crate::hot::{Fetching, Field, Join, Kind, Model, Null, Type, Words};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Price {
    #[prost(int64, tag = "1")]
    pub(super) amount: i64,
    #[prost(string, tag = "2")]
    pub(super) currency: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Item {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) owner_id: String,
    #[prost(string, tag = "3")]
    pub(super) title: String,
    #[prost(string, optional, tag = "4")]
    pub(super) note: Option<String>,
    #[prost(int32, tag = "5")]
    pub(super) colour: i32,
    #[prost(string, tag = "6")]
    pub(super) nick: String,
    #[prost(message, optional, tag = "7")]
    pub(super) price: Option<Price>,
    #[prost(int32, tag = "8")]
    pub(super) mood: i32,
    #[prost(message, optional, tag = "9")]
    pub(super) created: Option<Timestamp>,
    #[prost(message, optional, tag = "10")]
    pub(super) ended: Option<Timestamp>,
    #[prost(int64, tag = "12")]
    pub(super) count: i64,
    #[prost(message, optional, tag = "13")]
    pub(super) last_price: Option<Price>,
    #[prost(bool, tag = "14")]
    pub(super) open: bool,
    #[prost(bool, optional, tag = "15")]
    pub(super) known: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Owner {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(message, optional, tag = "3")]
    pub(super) created: Option<Timestamp>,
    #[prost(int64, tag = "4")]
    pub(super) version: i64,
    #[prost(string, tag = "5")]
    pub(super) parent_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Items {
    #[prost(message, repeated, tag = "1")]
    pub(super) rows: Vec<Item>,
    #[prost(string, tag = "2")]
    pub(super) next_page_token: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Owners {
    #[prost(message, repeated, tag = "1")]
    pub(super) rows: Vec<Owner>,
}

#[derive(Clone, Copy, PartialEq, Eq, async_graphql::Enum)]
pub(super) enum Colour {
    Red,
    DarkGreen,
}

impl Colour {
    pub(super) fn of(number: i32) -> Option<Colour> {
        match number {
            1 => Some(Colour::Red),
            2 => Some(Colour::DarkGreen),
            _ => None,
        }
    }
}

/// A service that knows some items, and another one that knows their owners.
#[derive(Clone)]
pub(super) struct World(Arc<State>);

struct State {
    items: Bytes,
    owners: Vec<Owner>,
    /// The second one is down.
    down: bool,
    calls: AtomicUsize,
}

impl World {
    pub(super) fn new(items: &Items, owners: Vec<Owner>) -> World {
        World::of_bytes(items.encode_to_vec().into(), owners)
    }

    pub(super) fn of_bytes(items: Bytes, owners: Vec<Owner>) -> World {
        World(Arc::new(State {
            items,
            owners,
            down: false,
            calls: AtomicUsize::new(0),
        }))
    }

    pub(super) fn down(self) -> World {
        World(Arc::new(State {
            items: self.0.items.clone(),
            owners: self.0.owners.clone(),
            down: true,
            calls: AtomicUsize::new(0),
        }))
    }

    /// The same, with nothing asked yet.
    pub(super) fn fresh(&self) -> World {
        let world = World::of_bytes(self.0.items.clone(), self.0.owners.clone());
        if self.0.down { world.down() } else { world }
    }

    pub(super) fn items(&self) -> Bytes {
        self.0.items.clone()
    }

    /// The answer to a call for owners by id.
    pub(super) fn owners(&self, ids: &[String]) -> Result<Owners, Status> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        if self.0.down {
            return Err(Status::unavailable("down"));
        }
        let owners = self.0.owners.iter().filter(|owner| ids.contains(&owner.id));
        Ok(Owners {
            rows: owners.cloned().collect(),
        })
    }

    /// Calls for owners since the last time.
    pub(super) fn calls(&self) -> usize {
        self.0.calls.swap(0, Ordering::Relaxed)
    }
}

pub(super) fn uuid(number: u128) -> String {
    uuid::Uuid::from_u128(0x0197_b1c4_5c3e_7a10_8d2f_6b1c_0a9e_0000 + number).to_string()
}

pub(super) fn item(number: u128) -> Item {
    Item {
        id: uuid(number),
        owner_id: uuid(1_000 + number % 3),
        title: format!("Item {number}"),
        note: Some("a note".to_owned()),
        colour: 1,
        nick: "nick".to_owned(),
        price: Some(Price {
            amount: 12_30 + number as i64,
            currency: "EUR".to_owned(),
        }),
        mood: 2,
        created: Some(Timestamp {
            seconds: 1_767_225_600 + number as i64,
            nanos: 123_456_000,
        }),
        ended: None,
        count: number as i64,
        last_price: None,
        open: true,
        known: Some(false),
    }
}

pub(super) fn owner(number: u128) -> Owner {
    Owner {
        id: uuid(1_000 + number),
        name: format!("Owner \"{number}\" & søn"),
        created: Some(Timestamp {
            seconds: 0,
            nanos: 0,
        }),
        version: 7,
        parent_id: if number == 0 {
            String::new()
        } else {
            uuid(1_000 + number - 1)
        },
    }
}

pub(super) struct ItemModel;

impl Model for ItemModel {
    const TYPE: &'static Type = &ITEM;
}

pub(super) static ITEM: Type = Type {
    name: "Item",
    message: "test.Item",
    about: "",
    interfaces: &["Thing"],
    fields: &[
        Field::new("id", 1, Kind::Id(3)),
        Field::new("title", 3, Kind::TEXT),
        Field::new("note", 4, Kind::TEXT).null(Null::Unset),
        Field::new("nick", 6, Kind::TEXT).null(Null::Default),
        Field::new("colour", 5, Kind::Enum(&COLOUR)),
        Field::new("mood", 8, Kind::Enum(&COLOUR)).null(Null::Default),
        Field::new("price", 7, Kind::Object(&PRICE)),
        Field::new("lastPrice", 13, Kind::Object(&PRICE)).null(Null::Unset),
        Field::new("createdAt", 9, Kind::Time),
        Field::new("endedAt", 10, Kind::Time).null(Null::Unset),
        Field::new("count", 12, Kind::Long),
        Field::new("open", 14, Kind::Boolean),
        Field::new("known", 15, Kind::Boolean).null(Null::Unset),
        Field::new("owner", 2, Kind::Join(&OWNERS)),
    ],
};

static PRICE: Type = Type {
    name: "Price",
    message: "test.Price",
    about: "",
    interfaces: &[],
    fields: &[
        Field::new("amount", 1, Kind::Long),
        Field::new(
            "currency",
            2,
            Kind::Text(<crate::Currency as OutputType>::create_type_info),
        ),
    ],
};

static COLOUR: Words = Words {
    register: <Colour as OutputType>::create_type_info,
    word: |number| match Colour::of(number)? {
        Colour::Red => Some("RED"),
        Colour::DarkGreen => Some("DARK_GREEN"),
    },
};

pub(super) struct OwnerModel;

impl Model for OwnerModel {
    const TYPE: &'static Type = &OWNER;
}

static OWNER: Type = Type {
    name: "Owner",
    message: "test.Owner",
    about: "",
    interfaces: &["Thing"],
    fields: &[
        Field::new("id", 1, Kind::Id(2)),
        Field::new("name", 2, Kind::TEXT),
        Field::new("createdAt", 3, Kind::Time),
        Field::new("version", 4, Kind::Long),
        Field::new("parent", 5, Kind::Join(&OWNERS)),
    ],
};

static OWNERS: Join = Join { to: &OWNER, fetch };

fn fetch<'a>(ctx: &'a async_graphql::Context<'a>, ids: Vec<String>) -> Fetching<'a> {
    Box::pin(async move {
        let world: &World = ctx.data_unchecked();
        Ok(world.owners(&ids)?.encode_to_vec().into())
    })
}

/// The schema over the tables.
pub(super) mod hot {
    use std::borrow::Cow;

    use async_graphql::parser::types::Field;
    use async_graphql::registry::Registry;
    use async_graphql::{
        Context, ContextSelectionSet, Object, OutputType, Positioned, ServerResult, SimpleObject,
        Value,
    };
    use tonic::Status;

    use super::{ItemModel, OwnerModel, World};
    use crate::Page;
    use crate::hot::{Hot, Interface, List};

    #[derive(Default)]
    pub(in crate::hot) struct Query;

    #[Object]
    impl Query {
        async fn items(
            &self,
            ctx: &Context<'_>,
            first: Option<i32>,
            after: Option<String>,
        ) -> Option<Result<List<ItemModel>, Status>> {
            let page = match Page::new(first, after) {
                Ok(page) => page,
                Err(status) => return Some(Err(status)),
            };
            Some(List::new(&page, &world(ctx).items()))
        }

        async fn empty(&self) -> List<ItemModel> {
            List::empty(&Page::new(None, None).unwrap())
        }

        async fn item(
            &self,
            ctx: &Context<'_>,
            at: usize,
        ) -> Option<Result<Hot<ItemModel>, Status>> {
            row(ctx, at)
        }

        async fn sure(&self, ctx: &Context<'_>, at: usize) -> Result<Hot<ItemModel>, Status> {
            row(ctx, at).unwrap()
        }

        async fn all(&self, ctx: &Context<'_>) -> Result<Vec<Option<Hot<ItemModel>>>, Status> {
            Ok(Hot::rows(&world(ctx).items())?
                .into_iter()
                .map(Some)
                .collect())
        }

        async fn pair(&self, ctx: &Context<'_>, at: usize) -> Option<Pair> {
            let item = row(ctx, at)?.ok()?;
            Some(Pair {
                left: Some(item.clone()),
                right: Some(item),
                size: 2,
            })
        }

        async fn thing(&self, ctx: &Context<'_>, at: usize) -> Option<Result<Thing, Status>> {
            match row(ctx, at) {
                Some(item) => Some(item.map(Thing::Item)),
                None => {
                    let owner = world(ctx)
                        .owners(&[super::uuid(1_000)])
                        .ok()?
                        .rows
                        .remove(0);
                    Some(Ok(Thing::Owner(Hot::of(&owner))))
                }
            }
        }
    }

    #[derive(SimpleObject)]
    struct Pair {
        left: Option<Hot<ItemModel>>,
        right: Option<Hot<ItemModel>>,
        size: i32,
    }

    enum Thing {
        Item(Hot<ItemModel>),
        Owner(Hot<OwnerModel>),
    }

    static THING: Interface = Interface {
        name: "Thing",
        about: "",
        fields: &[("id", "ID!", "")],
    };

    impl OutputType for Thing {
        fn type_name() -> Cow<'static, str> {
            THING.name.into()
        }

        fn create_type_info(registry: &mut Registry) -> String {
            let types: [fn(&mut Registry) -> String; 2] = [
                <Hot<ItemModel> as OutputType>::create_type_info,
                <Hot<OwnerModel> as OutputType>::create_type_info,
            ];
            THING.register(registry, &types)
        }

        async fn resolve(
            &self,
            ctx: &ContextSelectionSet<'_>,
            field: &Positioned<Field>,
        ) -> ServerResult<Value> {
            match self {
                Thing::Item(item) => item.resolve(ctx, field).await,
                Thing::Owner(owner) => owner.resolve(ctx, field).await,
            }
        }
    }

    fn world<'a>(ctx: &Context<'a>) -> &'a World {
        ctx.data_unchecked()
    }

    fn row(ctx: &Context<'_>, at: usize) -> Option<Result<Hot<ItemModel>, Status>> {
        match Hot::rows(&world(ctx).items()) {
            Ok(rows) => rows.get(at).cloned().map(Ok),
            Err(status) => Some(Err(status)),
        }
    }
}
