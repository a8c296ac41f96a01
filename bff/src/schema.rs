//! The schema, put together.

use async_graphql::{SDLExportOptions, Schema};
use platform_graphql::{Checker, Open, schemas};

use crate::clients::Clients;
use crate::mutation::Mutation;
use crate::query::Query;
use crate::subscription::{Feeds, Subscription};

pub(crate) type Api = Schema<Query, Mutation, Subscription>;

/// The schema that executes, and the one that checks documents; `open` lets them tell about
/// themselves.
pub(crate) fn build(clients: &Clients, feeds: &Feeds, open: bool) -> (Api, Checker) {
    let open = if open { Open::ALL } else { Open::NOTHING };
    schemas(open, || {
        Schema::build(
            Query::default(),
            Mutation::default(),
            Subscription::default(),
        )
        .data(clients.clone())
        .data(feeds.clone())
    })
}

/// As in production, without anything to execute with.
#[cfg(test)]
pub(crate) fn checker() -> Checker {
    schemas(Open::NOTHING, || {
        Schema::build(
            Query::default(),
            Mutation::default(),
            Subscription::default(),
        )
    })
    .1
}

/// The schema in its own language; `bff/schema.graphql` is a copy for clients and reviewers.
pub(crate) fn sdl() -> String {
    let schema = Schema::new(
        Query::default(),
        Mutation::default(),
        Subscription::default(),
    );
    let options = SDLExportOptions::new()
        .include_specified_by()
        .use_space_ident();
    schema.sdl_with_options(options.indent_width(2).prefer_single_line_descriptions())
}
