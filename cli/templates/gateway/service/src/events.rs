@if events@
//! What is said of @many@: ids and facts, nothing personal.

use api::homeward::@module@::v1::{@Entity@Created, @Entity@Renamed};
use platform::auth::Caller;
use platform_contract::Event;
use sqlx::PgConnection;

use crate::domain::{@Entity@, Error};

/// In the transaction that makes it true, behind the statement that counts it.
pub(crate) async fn say(tx: &mut PgConnection, event: impl Event, by: &Caller) -> Result<(), Error> {
    let said = platform_events::publish(tx, &event, by).await;
    said.map_err(|error| Error::Db(error.into()))
}

impl From<&@Entity@> for @Entity@Created {
    fn from(@entity@: &@Entity@) -> Self {
        Self {
            @entity@_id: @entity@.id.0.to_string(),
            version: @entity@.version,
            owner_id: @entity@.owner_id.0.to_string(),
        }
    }
}

impl From<&@Entity@> for @Entity@Renamed {
    fn from(@entity@: &@Entity@) -> Self {
        Self {
            @entity@_id: @entity@.id.0.to_string(),
            version: @entity@.version,
        }
    }
}
@end@
