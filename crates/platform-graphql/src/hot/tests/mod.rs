//! The same queries over hot types and over ordinary ones, made from the same messages.

mod fuzz;
mod ordinary;
mod queries;
mod world;

use async_graphql::{
    EmptyMutation, EmptySubscription, ObjectType, Schema, SchemaBuilder, Value, Variables,
};
use platform::auth::Caller;
use serde_json::json;

use self::world::{World, hot};
use crate::document::Documents;
use crate::guard::{Limits, Open, schemas};
use crate::{Context, error, json as writer};

type Of<Q> = Schema<Q, EmptyMutation, EmptySubscription>;

/// A schema as the endpoint runs it.
struct Path<Q> {
    schema: Of<Q>,
    documents: Documents,
    world: World,
}

/// What a client would read: the data as it is written, and the errors in the order of their paths.
#[derive(Debug, PartialEq)]
struct Answer {
    data: String,
    errors: Vec<serde_json::Value>,
}

impl<Q: ObjectType + Default + 'static> Path<Q> {
    fn new(world: World) -> Path<Q> {
        let builder = || -> SchemaBuilder<Q, EmptyMutation, EmptySubscription> {
            Schema::build(Q::default(), EmptyMutation, EmptySubscription)
        };
        let open = Open {
            introspection: true,
            suggestions: true,
        };
        let (schema, checker) = schemas(open, builder);
        let limits = Limits {
            tokens: 100_000,
            aliases: 100_000,
            weight: 1_000_000,
            cost: 100_000_000,
            ..Limits::default()
        };
        Path {
            schema,
            documents: Documents::new(checker, limits),
            world,
        }
    }

    async fn run(&self, query: &str, variables: serde_json::Value) -> async_graphql::Response {
        let document = self
            .documents
            .get(query)
            .unwrap_or_else(|refusal| panic!("{query}: {refusal:?}"));
        let variables = Variables::from_value(Value::from_json(variables).unwrap());
        let limits = Limits {
            aliases: 100_000,
            weight: 1_000_000,
            cost: 100_000_000,
            ..Limits::default()
        };
        let prepared = document
            .prepare(None, variables, &limits)
            .unwrap_or_else(|refusal| panic!("{query}: {refusal:?}"));
        let context = Context::new(Ok(Caller::Nobody));
        self.schema
            .execute(prepared.request(context).data(self.world.clone()))
            .await
    }

    async fn ask(&self, query: &str, variables: serde_json::Value) -> Answer {
        let mut response = self.run(query, variables).await;
        let mut data = Vec::new();
        writer::write(&response.data, &mut data);
        let mut errors: Vec<_> = response.errors.iter_mut().map(told).collect();
        errors.sort_by_key(|error| error["path"].to_string());
        Answer {
            data: String::from_utf8(data).unwrap(),
            errors,
        }
    }
}

fn told(error: &mut async_graphql::ServerError) -> serde_json::Value {
    error::complete(error, true);
    let mut told = serde_json::to_value(error).unwrap();
    told["extensions"]["traceId"] = json!(null);
    told
}

/// Both paths over one world.
struct Both {
    hot: Path<hot::Query>,
    ordinary: Path<ordinary::Query>,
}

impl Both {
    fn new(world: &World) -> Both {
        Both {
            hot: Path::new(world.fresh()),
            ordinary: Path::new(world.fresh()),
        }
    }

    /// Asks both, twice for the plan that is kept, and answers what they agree on.
    async fn ask(&self, query: &str, variables: serde_json::Value) -> Answer {
        let hot = self.hot.ask(query, variables.clone()).await;
        let ordinary = self.ordinary.ask(query, variables.clone()).await;
        assert_eq!(hot, ordinary, "{query} {variables}");
        assert_eq!(
            hot,
            self.hot.ask(query, variables.clone()).await,
            "kept: {query} {variables}"
        );
        hot
    }
}
