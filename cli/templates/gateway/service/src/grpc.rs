//! The RPCs: parse, change under one transaction, answer.

use std::collections::HashSet;

use api::homeward::@module@::v1::{
    self as proto, BatchGet@Entities@Request, BatchGet@Entities@Response, Create@Entity@Request, Create@Entity@Response,
    ErrorReason, List@Entities@Request, List@Entities@Response, Rename@Entity@Request, Rename@Entity@Response,
    @module@_service_server::@Service@Service,
@if events@
    @Entity@Created, @Entity@Renamed,
@end@
};
use platform::auth::Caller;
use platform::error::{FieldErrors, Refusal};
use platform::time::now;
use platform_contract::PlatformReason;
use platform_db::{Begun, Db};
use prost_types::Timestamp;
use tonic::{Request, Response, Status};
use tracing::info;
use uuid::Uuid;

use crate::domain::{@Entity@, @Entity@Id, Error, UserId};
@if events@
use crate::events::say;
@end@
use crate::store;

const NAME_CHARS_MAX: usize = 120;
const BATCH_MAX: usize = 100;

pub(crate) struct @Service@ {
    pub(crate) db: Db,
}

#[tonic::async_trait]
impl @Service@Service for @Service@ {
    async fn create_@entity@(
        &self,
        request: Request<Create@Entity@Request>,
    ) -> Result<Response<Create@Entity@Response>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let owner = UserId(caller.user()?.id);
        let mut fields = FieldErrors::default();
        let name = fields.text("name", &request.name, 1..=NAME_CHARS_MAX);
        fields.check()?;

        let mut tx = match self.db.begin_once(&caller, &request).await? {
            Begun::Done(response) => return Ok(Response::new(response)),
            Begun::New(tx) => tx,
        };
        let @entity@ = @Entity@::new(owner, name, now());
        store::insert(&mut tx, &@entity@).await?;
@if events@
        say(&mut tx, @Entity@Created::from(&@entity@), &caller).await?;
@end@
        let id = @entity@.id.0;
        let response = Create@Entity@Response {
            @entity@: Some(@entity@.into()),
        };
        tx.finish(&response).await?;

        info!(@entity@.id = %id, "created @one@ {id}");
        Ok(Response::new(response))
    }

    async fn rename_@entity@(
        &self,
        request: Request<Rename@Entity@Request>,
    ) -> Result<Response<Rename@Entity@Response>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let owner = UserId(caller.user()?.id);
        let mut fields = FieldErrors::default();
        let id = @Entity@Id(fields.id("@entity@_id", &request.@entity@_id));
        let name = fields.text("name", &request.name, 1..=NAME_CHARS_MAX);
        fields.check()?;

        let mut tx = match self.db.begin_once(&caller, &request).await? {
            Begun::Done(response) => return Ok(Response::new(response)),
            Begun::New(tx) => tx,
        };
        let mut @entity@ = store::lock(&mut tx, id, owner).await?;
        if @entity@.rename(name, request.expected_version)? {
            store::save(&mut tx, &mut @entity@).await?;
@if events@
            say(&mut tx, @Entity@Renamed::from(&@entity@), &caller).await?;
@end@
        }
        let response = Rename@Entity@Response {
            @entity@: Some(@entity@.into()),
        };
        tx.finish(&response).await?;
        Ok(Response::new(response))
    }

    async fn batch_get_@entities@(
        &self,
        request: Request<BatchGet@Entities@Request>,
    ) -> Result<Response<BatchGet@Entities@Response>, Status> {
        let owner = UserId(Caller::of(&request).user()?.id);
        let ids = ids(&request.get_ref().ids)?;

        let mut conn = self.db.read().await.map_err(Error::Db)?;
        let found = store::batch(&mut conn, &ids, owner).await?;
        Ok(Response::new(BatchGet@Entities@Response {
            @entities@: found.into_iter().map(Into::into).collect(),
        }))
    }

    async fn list_@entities@(
        &self,
        request: Request<List@Entities@Request>,
    ) -> Result<Response<List@Entities@Response>, Status> {
        let owner = UserId(Caller::of(&request).user()?.id);
        let page = self.db.page::<Uuid>(request.get_ref())?;

        let mut conn = self.db.read().await.map_err(Error::Db)?;
        let mut found = store::page(&mut conn, owner, page.after, page.limit()).await?;
        let next_page_token = page.next(&mut found, |last| last.id.0);
        Ok(Response::new(List@Entities@Response {
            @entities@: found.into_iter().map(Into::into).collect(),
            next_page_token,
        }))
    }
}

/// Without repeats, in the order of their first mention.
fn ids(ids: &[String]) -> Result<Vec<@Entity@Id>, Status> {
    let mut fields = FieldErrors::default();
    if ids.len() > BATCH_MAX {
        fields.violation("ids", format!("has more than {BATCH_MAX} entries"));
    }
    let mut seen = HashSet::new();
    let ids = ids.iter().take(BATCH_MAX);
    let ids = ids.map(|id| @Entity@Id(fields.id("ids", id)));
    let ids = ids.filter(|id| seen.insert(*id)).collect();
    fields.check()?;
    Ok(ids)
}

impl From<@Entity@> for proto::@Entity@ {
    fn from(@entity@: @Entity@) -> Self {
        Self {
            id: @entity@.id.0.to_string(),
            owner_id: @entity@.owner_id.0.to_string(),
            name: @entity@.name,
            create_time: Some(Timestamp {
                seconds: @entity@.created_at.timestamp(),
                nanos: @entity@.created_at.timestamp_subsec_nanos().cast_signed(),
            }),
            version: @entity@.version,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NotFound => Refusal::new(ErrorReason::@Entity@NotFound, message).into(),
            Error::VersionMismatch(_) => Refusal::new(PlatformReason::VersionMismatch, message).into(),
            Error::Db(error) => platform_db::error::status(error),
        }
    }
}
