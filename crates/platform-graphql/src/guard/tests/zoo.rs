//! A schema with one of everything that the checks look at.

use async_graphql::futures_util::{Stream, stream};
use async_graphql::{
    Enum, InputObject, Interface, MaybeUndefined, Object, OneofObject, Schema, SchemaBuilder,
    SimpleObject, Subscription, Union, Value, Variables,
};

use crate::guard::{Checker, Limits, Open, Work, check, prepare, schemas};
use crate::refusal::Refusal;
use crate::scalars::Long;

pub(super) struct Query;

#[derive(Interface)]
#[graphql(
    field(name = "name", ty = "String"),
    field(name = "friend", ty = "Option<Pet>"),
    field(
        name = "toy",
        ty = "Option<Thing>",
        arg(name = "at", ty = "Option<i32>")
    )
)]
pub(super) enum Pet {
    Dog(Dog),
    Cat(Cat),
}

#[derive(Union)]
pub(super) enum Thing {
    Ball(Ball),
    Bone(Bone),
}

#[derive(SimpleObject)]
pub(super) struct Ball {
    size: i32,
    colour: Option<String>,
}

#[derive(SimpleObject)]
pub(super) struct Bone {
    size: String,
    colour: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum Command {
    Sit,
    Heel,
}

pub(super) struct Dog;

#[Object]
impl Dog {
    async fn name(&self) -> String {
        String::new()
    }

    async fn friend(&self) -> Option<Pet> {
        None
    }

    async fn toy(&self, at: Option<i32>) -> Option<Thing> {
        at.map(|size| Thing::Ball(Ball { size, colour: None }))
    }

    async fn barks(&self) -> bool {
        true
    }

    async fn knows(&self, command: Command) -> bool {
        command == Command::Sit
    }

    async fn puppies(&self, first: Option<i32>) -> Vec<Dog> {
        (0..first.unwrap_or_default()).map(|_| Dog).collect()
    }
}

pub(super) struct Cat;

#[Object]
impl Cat {
    async fn name(&self) -> String {
        String::new()
    }

    async fn friend(&self) -> Option<Pet> {
        None
    }

    async fn toy(&self, at: Option<i32>) -> Option<Thing> {
        at.map(|at| {
            let (size, colour) = (at.to_string(), None);
            Thing::Bone(Bone { size, colour })
        })
    }

    async fn lives(&self) -> i32 {
        9
    }

    async fn barks(&self) -> Option<bool> {
        None
    }

    async fn kittens(&self) -> Vec<Cat> {
        Vec::new()
    }
}

#[derive(InputObject)]
pub(super) struct Filter {
    name: String,
    commands: Option<Vec<Command>>,
    weight: Option<Long>,
    #[graphql(default = 7)]
    legs: i32,
    or: Option<Box<Filter>>,
}

#[derive(InputObject)]
pub(super) struct Patch {
    to: MaybeUndefined<i32>,
    all: Option<Vec<Option<i32>>>,
}

#[derive(OneofObject)]
pub(super) enum By {
    Name(String),
    Chip(i32),
}

#[Object]
impl Query {
    async fn pet(&self) -> Option<Pet> {
        Some(Pet::Dog(Dog))
    }

    async fn cat(&self) -> Option<Cat> {
        Some(Cat)
    }

    async fn dogs(&self, first: Option<i32>, filter: Option<Filter>) -> Vec<Dog> {
        let legs = filter.map_or(0, |filter| {
            let commands = filter.commands.unwrap_or_default().len();
            let more = filter.or.is_some() || filter.weight.is_some();
            filter.legs + filter.name.len() as i32 + commands as i32 + i32::from(more)
        });
        (0..first.unwrap_or(legs)).map(|_| Dog).collect()
    }

    async fn find(&self, by: By) -> Option<Dog> {
        match by {
            By::Name(name) => (!name.is_empty()).then_some(Dog),
            By::Chip(chip) => (chip > 0).then_some(Dog),
        }
    }

    async fn numbers(&self, of: Option<Vec<i32>>) -> i32 {
        of.unwrap_or_default().iter().sum()
    }

    async fn many(&self, ids: Vec<String>) -> Vec<Dog> {
        ids.iter().map(|_| Dog).collect()
    }

    async fn fallback(&self, #[graphql(default = 20)] of: i32) -> i32 {
        of
    }

    async fn patch(&self, to: MaybeUndefined<i32>, r#in: Option<Patch>) -> String {
        let told = |value: MaybeUndefined<i32>| match value {
            MaybeUndefined::Undefined => "undefined".to_owned(),
            MaybeUndefined::Null => "null".to_owned(),
            MaybeUndefined::Value(value) => value.to_string(),
        };
        let Some(patch) = r#in else {
            return told(to);
        };
        let all = patch.all.unwrap_or_default();
        let all: Vec<_> = all.into_iter().map(|one| told(Some(one).into())).collect();
        format!("{} {} [{}]", told(to), told(patch.to), all.join(","))
    }

    async fn echo(
        &self,
        text: Option<String>,
        on: Option<bool>,
        command: Option<Command>,
    ) -> String {
        format!("{text:?} {on:?} {}", command.is_some())
    }
}

pub(super) struct Mutation;

#[Object]
impl Mutation {
    async fn bump(&self) -> i32 {
        1
    }

    async fn set(&self, to: i32) -> i32 {
        to
    }
}

pub(super) struct Changes;

#[Subscription]
impl Changes {
    async fn ticks(&self, of: i32) -> impl Stream<Item = i32> {
        stream::iter([of, of + 1])
    }

    async fn tocks(&self) -> impl Stream<Item = i32> {
        stream::iter([3])
    }
}

pub(super) type Zoo = Schema<Query, Mutation, Changes>;

pub(super) fn recipe() -> SchemaBuilder<Query, Mutation, Changes> {
    Schema::build(Query, Mutation, Changes)
}

pub(super) fn checker(open: Open) -> Checker {
    schemas(open, recipe).1
}

/// Variables from JSON.
pub(super) fn given(json: &str) -> Variables {
    let json = serde_json::from_str(json).unwrap();
    Variables::from_value(Value::from_json(json).unwrap())
}

/// Checks a document and prepares its only operation: the cost, or why not.
pub(super) fn run(
    checker: &Checker,
    text: &str,
    variables: &str,
    limits: &Limits,
    work: &mut Work,
) -> Result<u64, Refusal> {
    let (_, facts) = check(text, checker, limits, work)?;
    let variables = given(variables);
    let chosen = prepare(&facts, None, variables, checker, limits, work)?;
    Ok(chosen.cost)
}

/// The word for which a document is refused, or `OK`.
pub(super) fn word(text: &str) -> &'static str {
    word_with(text, "{}")
}

pub(super) fn word_with(text: &str, variables: &str) -> &'static str {
    let (checker, limits) = (checker(Open::ALL), Limits::default());
    let mut work = Work::default();
    match run(&checker, text, variables, &limits, &mut work) {
        Ok(_) => "OK",
        Err(refusal) => refusal.word,
    }
}
