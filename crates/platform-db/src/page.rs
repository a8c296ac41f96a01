//! Keyset pages behind sealed tokens (AIP-158).

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use platform::error::Refusal;
use platform::sealed::Sealer;
use platform_contract::{Paged, PlatformReason};
use serde::{Serialize, de::DeserializeOwned};
use tonic::Status;

use crate::Db;

const SIZE_DEFAULT: i32 = 20;
const SIZE_MAX: i32 = 100;

/// One page that a caller asks for; `K` are the values that the list is ordered by.
pub struct Page<K> {
    /// At most this many entries, 1 to 100.
    pub size: i64,
    /// Begin behind this entry; `None` on the first page.
    pub after: Option<K>,
    sealer: Sealer,
    purpose: String,
}

impl Db {
    /// Reads page size and page token of a request.
    ///
    /// A token opens for the query it was made for only: same method, filter and order.
    pub fn page<K: DeserializeOwned>(&self, request: &impl Paged) -> Result<Page<K>, Status> {
        page(self.sealer(), request)
    }
}

pub(crate) fn page<R: Paged, K: DeserializeOwned>(
    sealer: &Sealer,
    request: &R,
) -> Result<Page<K>, Status> {
    let size = match request.page_size() {
        0 => SIZE_DEFAULT,
        size if size < 0 => {
            return Err(
                Refusal::new(PlatformReason::FieldInvalid, "page_size is negative")
                    .violation("page_size", "is negative")
                    .into(),
            );
        }
        size => size.min(SIZE_MAX),
    };
    let purpose = purpose(request);
    let after = match request.page_token() {
        "" => None,
        token => {
            let key = sealer
                .open(&purpose, token)
                .ok()
                .and_then(|key| serde_json::from_slice(&key).ok());
            Some(key.ok_or_else(token_invalid)?)
        }
    };
    Ok(Page {
        size: i64::from(size),
        after,
        sealer: sealer.clone(),
        purpose,
    })
}

impl<K: Serialize> Page<K> {
    /// How many rows to ask for: one more than the page holds tells whether there is a next.
    pub fn limit(&self) -> i64 {
        self.size + 1
    }

    /// Cuts the rows found with [`Page::limit`] to the page and makes the token of the next
    /// one; empty on the last page.
    pub fn next<T>(&self, rows: &mut Vec<T>, key: impl FnOnce(&T) -> K) -> String {
        let size = usize::try_from(self.size).expect("the size is between 1 and 100");
        if rows.len() <= size {
            return String::new();
        }
        rows.truncate(size);
        let last = key(&rows[size - 1]);
        let key = serde_json::to_vec(&last).expect("keys are plain values");
        self.sealer.seal(&self.purpose, &key)
    }
}

/// Names the query, so that a token sealed for it opens for no other.
fn purpose<R: Paged>(request: &R) -> String {
    let query = digest(&SHA256, &request.query().encode_to_vec());
    let mut purpose = format!("page {} ", R::METHOD);
    for byte in query.as_ref() {
        write!(purpose, "{byte:02x}").expect("a string takes all");
    }
    purpose
}

fn token_invalid() -> Status {
    Refusal::new(
        PlatformReason::PageTokenInvalid,
        "page_token is not one of this query",
    )
    .into()
}
