//! What can be read.

mod node;
mod offer;
mod recommendation;
mod status;
mod viewer;

use async_graphql::MergedObject;

/// Every field is null on its own when the service behind it is away.
#[derive(MergedObject, Default)]
pub(crate) struct Query(
    node::NodeQuery,
    viewer::ViewerQuery,
    offer::OfferQuery,
    recommendation::RecommendationQuery,
    status::StatusQuery,
);
