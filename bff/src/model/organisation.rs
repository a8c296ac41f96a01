use std::collections::HashMap;

use api::homeward::identity::v1 as proto;
use async_graphql::{ID, SimpleObject};
use platform_graphql::{DateTime, Long};
use tokio::sync::OnceCell;
use tonic::Status;

use super::time;
use crate::clients::Services;
use crate::ids::{self, Kind};

/// A business, or another body that people act for.
#[derive(Clone, SimpleObject)]
pub(crate) struct Organisation {
    pub(crate) id: ID,
    name: String,
    created_at: DateTime,
    version: Long,
}

impl TryFrom<proto::Organisation> for Organisation {
    type Error = Status;

    fn try_from(row: proto::Organisation) -> Result<Organisation, Status> {
        Ok(Organisation {
            id: ids::encode(Kind::Organisation, &row.id)?,
            name: row.name,
            created_at: time(row.create_time)?,
            version: Long(row.version),
        })
    }
}

impl Organisation {
    pub(crate) async fn get(
        services: Services<'_>,
        id: String,
    ) -> Result<Option<Organisation>, Status> {
        Organisations::new([id.clone()]).get(services, &id).await
    }
}

/// The organisations of all rows of a page, fetched by one call when the first row asks.
pub(crate) struct Organisations {
    ids: Vec<String>,
    found: OnceCell<Result<HashMap<String, proto::Organisation>, Status>>,
}

impl Organisations {
    pub(crate) fn new(ids: impl IntoIterator<Item = String>) -> Organisations {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Organisations {
            ids,
            found: OnceCell::new(),
        }
    }

    pub(crate) async fn get(
        &self,
        services: Services<'_>,
        id: &str,
    ) -> Result<Option<Organisation>, Status> {
        let found = self.found.get_or_init(|| self.fetch(services)).await;
        let row = found.as_ref().map_err(Status::clone)?.get(id);
        row.cloned().map(Organisation::try_from).transpose()
    }

    async fn fetch(
        &self,
        services: Services<'_>,
    ) -> Result<HashMap<String, proto::Organisation>, Status> {
        let request = proto::BatchGetOrganisationsRequest {
            ids: self.ids.clone(),
        };
        let answer = services
            .identity()
            .batch_get_organisations(request)
            .await?
            .into_inner();
        Ok(answer
            .organisations
            .into_iter()
            .map(|row| (row.id.clone(), row))
            .collect())
    }
}
