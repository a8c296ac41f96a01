//! The audit log, for operators.

use api::homeward::identity::v1::{
    AuditAction, AuditEntry, ListAuditEntriesRequest, ListAuditEntriesResponse,
};
use chrono::{DateTime, Utc};
use platform::error::FieldErrors;
use platform_db::Page;
use prost_types::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use super::{Answer, Identity, timestamp};
use crate::{
    audit,
    domain::UserId,
    store::audit::{Filter, Found},
};

pub(super) async fn list(
    identity: &Identity,
    request: Request<ListAuditEntriesRequest>,
) -> Answer<ListAuditEntriesResponse> {
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let filter = Filter {
        actor_id: match request.actor_id.as_str() {
            "" => None,
            id => Some(fields.text("actor_id", id, 1..=64)),
        },
        user_id: fields.optional_id("user_id", &request.user_id).map(UserId),
        action: match request.action {
            0 => None,
            action => Some(fields.choice::<AuditAction>("action", action)),
        },
        start: moment(&mut fields, "start_time", request.start_time.as_ref()),
        end: moment(&mut fields, "end_time", request.end_time.as_ref()),
    };
    fields.check()?;
    let page: Page<(DateTime<Utc>, Uuid)> = identity.db.page(&request)?;

    let mut tx = identity.read().await?;
    let mut found = crate::store::audit::list(&mut tx, &filter, page.after, page.limit()).await?;
    let next_page_token = page.next(&mut found, |last| (last.created_at, last.id));
    Ok(Response::new(ListAuditEntriesResponse {
        audit_entries: found.into_iter().map(Into::into).collect(),
        next_page_token,
    }))
}

fn moment(
    fields: &mut FieldErrors,
    field: &str,
    value: Option<&Timestamp>,
) -> Option<DateTime<Utc>> {
    let value = value?;
    let moment = u32::try_from(value.nanos)
        .ok()
        .and_then(|nanos| DateTime::from_timestamp(value.seconds, nanos))
        // What the contract allows; Postgres would take more.
        .filter(|moment| (1..=9999).contains(&chrono::Datelike::year(moment)));
    if moment.is_none() {
        fields.violation(field, "is not a moment of the years 1 to 9999");
    }
    moment
}

impl From<Found> for AuditEntry {
    fn from(found: Found) -> Self {
        let text = |id: Option<Uuid>| id.map_or_else(String::new, |id| id.to_string());
        Self {
            id: found.id.to_string(),
            create_time: Some(timestamp(found.created_at)),
            action: audit::action(&found.action).into(),
            actor_id: found.actor_id,
            actor_kind: found.actor_kind,
            client_id: found.client_id,
            user_id: text(found.user_id.map(|id| id.0)),
            organisation_id: text(found.organisation_id.map(|id| id.0)),
            role: found.role.unwrap_or_default(),
            object_id: found.object_id.unwrap_or_default(),
            trace_id: found.trace_id.unwrap_or_default(),
        }
    }
}
