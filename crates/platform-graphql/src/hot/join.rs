//! Messages of one answer, and those of other services that their objects lead to.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use async_graphql::Context;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Mutex, MutexGuard};
use tonic::Status;

use super::plan::{Plan, Root, What};
use super::slots::{Slots, Unread};
use super::table::{Kind, Type};
use super::wire::{self, Malformed, Raw, Wire};

/// Lists and batches answer their rows here, and lists the token of the next page after them.
pub(super) const ROWS: u32 = 1;
pub(super) const NEXT_PAGE_TOKEN: u32 = 2;

/// Asks for messages by their ids; answers them in field 1.
pub type Fetch = for<'a> fn(&'a Context<'a>, Vec<String>) -> Fetching<'a>;
/// The answer to come.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Bytes, Status>> + Send + 'a>>;

/// From an id to an object that another service knows. One call fetches those of all rows.
pub struct Join {
    /// The type of the object; it has an id.
    pub to: &'static Type,
    /// Makes the call. An id without a message is an object that does not exist.
    pub fetch: Fetch,
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("to", &self.to.name).finish()
    }
}

/// The messages of one answer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) rows: Vec<Bytes>,
    pub(super) next_page_token: Bytes,
    fetched: Mutex<Fetched>,
}

/// What was fetched for the rows of a batch.
pub(super) type Fetched = Vec<(&'static Join, Found)>;

/// What the ids of a join led to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: Vec<Bytes>,
    /// For every id that was asked for; `None` if there is no such object.
    by_id: HashMap<Vec<u8>, Result<Option<usize>, Status>>,
}

impl Found {
    pub(super) fn at(&self, id: &[u8]) -> Option<&Result<Option<usize>, Status>> {
        self.by_id.get(id)
    }

    fn add(&mut self, ty: &Type, ids: Vec<String>, answer: Result<Vec<Bytes>, Status>) {
        let asked = |outcome: Result<Option<usize>, Status>| {
            ids.into_iter()
                .map(move |id| (id.into_bytes(), outcome.clone()))
        };
        match answer {
            Err(status) => self.by_id.extend(asked(Err(status))),
            Ok(rows) => {
                self.by_id.extend(asked(Ok(None)));
                let first = self.rows.len();
                for (at, row) in rows.iter().enumerate() {
                    if let Some(outcome) = id(ty, row).and_then(|id| self.by_id.get_mut(id)) {
                        *outcome = Ok(Some(first + at));
                    }
                }
                self.rows.extend(rows);
            }
        }
    }
}

impl Batch {
    /// One message.
    pub(super) fn one(message: Bytes) -> Batch {
        Batch {
            rows: vec![message],
            ..Batch::default()
        }
    }

    /// The answer of a list or a batch.
    pub(super) fn of(answer: &Bytes) -> Result<Batch, Malformed> {
        let mut batch = Batch::default();
        let mut wire = Wire::new(answer);
        while let Some((number, raw)) = wire.next()? {
            match (number, raw) {
                (ROWS, Raw::Bytes(row)) => batch.rows.push(answer.slice_ref(row)),
                (NEXT_PAGE_TOKEN, Raw::Bytes(token)) => {
                    std::str::from_utf8(token).map_err(|_| Malformed::Text)?;
                    batch.next_page_token = answer.slice_ref(token);
                }
                (ROWS | NEXT_PAGE_TOKEN, _) => return Err(Malformed::WireType),
                _ => {}
            }
        }
        Ok(batch)
    }

    /// Fetches what all joins of the plan lead to: for all rows of the answer, also those that other
    /// objects show, and each by one call for each level.
    pub(super) async fn join(&self, root: &Root, ctx: &Context<'_>) -> MutexGuard<'_, Fetched> {
        let mut fetched = self.fetched.lock().await;
        for _ in 0..root.plan.levels {
            let mut wanted = Wanted::new();
            for row in &self.rows {
                gather(root, &root.plan, row, &fetched, &mut wanted);
            }
            if wanted.is_empty() {
                break;
            }
            let calls = wanted.into_iter().map(async |(join, ids)| {
                let ids: Vec<_> = ids.into_iter().collect();
                let answer = (join.fetch)(ctx, ids.clone()).await;
                (join, ids, answer)
            });
            for (join, ids, answer) in join_all(calls).await {
                let rows = answer.and_then(|answer| match Batch::of(&answer) {
                    Ok(batch) => Ok(batch.rows),
                    Err(malformed) => Err(platform::error::internal(malformed)),
                });
                let there = fetched
                    .iter()
                    .position(|(there, _)| std::ptr::eq(*there, join));
                let at = there.unwrap_or_else(|| {
                    fetched.push((join, Found::default()));
                    fetched.len() - 1
                });
                fetched[at].1.add(join.to, ids, rows);
            }
        }
        fetched
    }
}

pub(super) fn find<'f>(fetched: &'f Fetched, join: &Join) -> Option<&'f Found> {
    let mut fetched = fetched.iter();
    fetched
        .find(|(there, _)| std::ptr::eq(*there, join))
        .map(|(_, found)| found)
}

/// The id in a message. A malformed message is told where it is shown, unless not even its id can be read.
pub(super) fn id<'m>(ty: &Type, message: &'m [u8]) -> Option<&'m [u8]> {
    let number = ty
        .fields
        .iter()
        .find(|field| matches!(field.kind, Kind::Id(_)))?
        .number;
    let mut wire = Wire::new(message);
    let mut last = None;
    while let Ok(Some((found, raw))) = wire.next() {
        if let Raw::Bytes(id) = raw
            && found == number
        {
            last = Some(id);
        }
    }
    last
}

/// Ids to ask for, in an order that does not depend on that of the rows.
type Wanted = Vec<(&'static Join, BTreeSet<String>)>;

/// The ids that the objects made of `message` lead to and that were not asked for yet.
///
/// What is malformed is left out here, and told where it is shown.
fn gather(root: &Root, plan: &Plan, message: &[u8], fetched: &Fetched, wanted: &mut Wanted) {
    if plan.levels == 0 {
        return;
    }
    let mut slots = Slots::new(message);
    match slots.read(plan) {
        Ok(()) => {}
        Err(Unread::Repeated(number)) => {
            if let Ok(merged) = wire::merged(message, number) {
                gather(root, plan, &merged, fetched, wanted);
            }
            return;
        }
        Err(Unread::Malformed(_)) => return,
    }
    for entry in &plan.entries {
        match &entry.what {
            What::Edges(inner) | What::Nodes(inner) | What::Node(inner) => {
                gather(root, inner, message, fetched, wanted);
            }
            What::Object { slot, inner, .. } => {
                if let Some(nested) = slots.bytes(*slot) {
                    gather(root, inner, nested, fetched, wanted);
                }
            }
            What::Join {
                slot, at, inner, ..
            } => {
                let join = root.joins[*at];
                let Some(id) = slots.bytes(*slot).filter(|id| !id.is_empty()) else {
                    continue;
                };
                let found = find(fetched, join);
                match found.and_then(|found| Some((found, found.at(id)?))) {
                    Some((found, Ok(Some(row)))) => {
                        gather(root, inner, &found.rows[*row], fetched, wanted);
                    }
                    Some(_) => {}
                    None => want(join, id, wanted),
                }
            }
            _ => {}
        }
    }
}

fn want(join: &'static Join, id: &[u8], wanted: &mut Wanted) {
    let Ok(id) = std::str::from_utf8(id) else {
        return;
    };
    let there = wanted
        .iter()
        .position(|(there, _)| std::ptr::eq(*there, join));
    let at = there.unwrap_or_else(|| {
        wanted.push((join, BTreeSet::new()));
        wanted.len() - 1
    });
    if !wanted[at].1.contains(id) {
        wanted[at].1.insert(id.to_owned());
    }
}
