//! The schema, put together.

use async_graphql::{EmptySubscription, SDLExportOptions, Schema};
use platform_graphql::{Checker, Open, schemas};

use crate::clients::Clients;
use crate::mutation::Mutation;
use crate::query::Query;

pub(crate) type Api = Schema<Query, Mutation, EmptySubscription>;

/// The schema that executes, and the one that checks documents; `open` lets them tell about
/// themselves.
pub(crate) fn build(clients: &Clients, open: bool) -> (Api, Checker) {
    let open = if open { Open::ALL } else { Open::NOTHING };
    schemas(open, || {
        Schema::build(Query::default(), Mutation::default(), EmptySubscription)
            .data(clients.clone())
    })
}

/// The schema in its own language; `bff/schema.graphql` is a copy for clients and reviewers.
pub(crate) fn sdl() -> String {
    let schema = Schema::new(Query::default(), Mutation::default(), EmptySubscription);
    let options = SDLExportOptions::new()
        .include_specified_by()
        .use_space_ident();
    schema.sdl_with_options(options.indent_width(2).prefer_single_line_descriptions())
}
