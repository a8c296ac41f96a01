use std::borrow::Cow;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, OutputType, Positioned, ServerResult, Value};
use platform_graphql::hot::{Hot, Interface};

use super::{Offer, Organisation, User};

static NODE: Interface = Interface {
    name: "Node",
    about: "Anything with a global id.",
    fields: &[("id", "ID!", "Names the object among all types.")],
};

/// Anything with a global id.
pub(crate) enum Node {
    User(User),
    Organisation(Hot<Organisation>),
    Offer(Hot<Offer>),
}

impl OutputType for Node {
    fn type_name() -> Cow<'static, str> {
        NODE.name.into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        let types: [fn(&mut Registry) -> String; 3] = [
            <User as OutputType>::create_type_info,
            <Hot<Organisation> as OutputType>::create_type_info,
            <Hot<Offer> as OutputType>::create_type_info,
        ];
        NODE.register(registry, &types)
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        match self {
            Node::User(user) => user.resolve(ctx, field).await,
            Node::Organisation(organisation) => organisation.resolve(ctx, field).await,
            Node::Offer(offer) => offer.resolve(ctx, field).await,
        }
    }
}
