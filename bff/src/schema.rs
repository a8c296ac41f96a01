//! The schema, put together.

use async_graphql::{EmptySubscription, SDLExportOptions, Schema};

use crate::clients::Clients;
use crate::mutation::Mutation;
use crate::query::Query;

pub(crate) type Api = Schema<Query, Mutation, EmptySubscription>;

/// `open` adds suggestions to the errors of documents that do not fit.
pub(crate) fn build(clients: Clients, open: bool) -> Api {
    let schema =
        Schema::build(Query::default(), Mutation::default(), EmptySubscription).data(clients);
    if open {
        schema.finish()
    } else {
        schema.disable_suggestions().finish()
    }
}

/// The schema in its own language; `bff/schema.graphql` is a copy for clients and reviewers.
pub(crate) fn sdl() -> String {
    let schema = Schema::new(Query::default(), Mutation::default(), EmptySubscription);
    let options = SDLExportOptions::new()
        .include_specified_by()
        .use_space_ident();
    schema.sdl_with_options(options.indent_width(2).prefer_single_line_descriptions())
}
