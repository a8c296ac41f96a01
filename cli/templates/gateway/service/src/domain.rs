//! @Many@, and what may happen to them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct @Entity@Id(pub(crate) Uuid);

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct UserId(pub(crate) Uuid);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct @Entity@ {
    pub(crate) id: @Entity@Id,
    /// To whom it belongs.
    pub(crate) owner_id: UserId,
    pub(crate) name: String,
    pub(crate) created_at: DateTime<Utc>,
    /// Raised by each change.
    pub(crate) version: i64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no such @one@")]
    NotFound,
    #[error("the @one@ is at version {0}")]
    VersionMismatch(i64),
    #[error(transparent)]
    Db(#[from] sqlx::Error),
}

impl @Entity@ {
    pub(crate) fn new(owner_id: UserId, name: String, now: DateTime<Utc>) -> Self {
        Self {
            id: @Entity@Id(Uuid::now_v7()),
            owner_id,
            name,
            created_at: now,
            version: 1,
        }
    }

    /// Says whether anything changed.
    pub(crate) fn rename(&mut self, name: String, expected_version: Option<i64>) -> Result<bool, Error> {
        if expected_version.is_some_and(|expected| expected != self.version) {
            return Err(Error::VersionMismatch(self.version));
        }
        let changed = self.name != name;
        self.name = name;
        Ok(changed)
    }
}
