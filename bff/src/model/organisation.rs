use api::homeward::identity::v1 as proto;
use async_graphql::Context;
use bytes::Bytes;
use platform_graphql::hot::{Fetching, Field, Hot, Join, Kind, Model, Type};
use tonic::Status;

use crate::clients::Services;
use crate::ids;

/// A business, or another body that people act for.
pub(crate) struct Organisation;

impl Model for Organisation {
    const TYPE: &'static Type = &ORGANISATION;
}

impl Organisation {
    /// The organisation as the caller may see it; `None` if there is none.
    pub(crate) async fn get(
        services: Services<'_>,
        id: String,
    ) -> Result<Option<Hot<Organisation>>, Status> {
        let rows = Organisation::batch(services, vec![id]).await?;
        Ok(rows.into_iter().next())
    }

    /// Those of the organisations that the caller may see.
    pub(crate) async fn batch(
        services: Services<'_>,
        ids: Vec<String>,
    ) -> Result<Vec<Hot<Organisation>>, Status> {
        Hot::rows(&answer(services, ids).await?)
    }
}

static ORGANISATION: Type = Type {
    name: "Organisation",
    message: "homeward.identity.v1.Organisation",
    about: "A business, or another body that people act for.",
    interfaces: &["Node"],
    fields: &[
        Field::new("id", 1, Kind::Id(ids::Kind::Organisation as u8)),
        Field::new("name", 2, Kind::TEXT),
        Field::new("createdAt", 3, Kind::Time),
        Field::new("version", 4, Kind::Long),
    ],
};

/// From the id of an organisation to itself.
pub(super) static ORGANISATIONS: Join = Join {
    to: &ORGANISATION,
    fetch,
};

fn fetch<'a>(ctx: &'a Context<'a>, ids: Vec<String>) -> Fetching<'a> {
    Box::pin(answer(Services::of(ctx), ids))
}

async fn answer(services: Services<'_>, ids: Vec<String>) -> Result<Bytes, Status> {
    let request = proto::BatchGetOrganisationsRequest { ids };
    services
        .raw_identity("BatchGetOrganisations", request)
        .await
}
