//! From the bytes of a message to JSON, along a plan.

use std::ops::Range;

use async_graphql::{PathSegment, Pos};
use bytes::Bytes;
use tonic::Status;

use super::join::{self, Batch, Fetched, Found};
use super::plan::{Entry, Plan, Root, What};
use super::scalar;
use super::slots::{Slots, Unread};
use super::table::{Field, Kind, Null};
use super::wire::{self, Malformed};
use crate::{Long, json};

/// Errors kept of one answer; no client is shown more.
const ERRORS_MAX: usize = 100;

/// What became null, and why.
#[derive(Debug)]
pub(super) struct Fault {
    /// From the projected object on.
    pub(super) path: Vec<PathSegment>,
    pub(super) pos: Pos,
    pub(super) status: Status,
}

/// The JSON of a projection with the errors of its fields.
pub(super) struct Projected {
    /// The error is that of the whole object, which must be null then.
    pub(super) json: Result<Vec<u8>, Fault>,
    pub(super) faults: Vec<Fault>,
}

/// The object is null, and the reason is noted.
struct Failed;

/// Where in the answer something is written.
#[derive(Clone, Copy)]
struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    segment: Segment<'p>,
}

#[derive(Clone, Copy)]
enum Segment<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl Path<'_> {
    fn with<'p>(&'p self, segment: Segment<'p>) -> Path<'p> {
        Path {
            parent: Some(self),
            segment,
        }
    }

    fn to_vec(self) -> Vec<PathSegment> {
        let mut path = self
            .parent
            .map(|parent| parent.to_vec())
            .unwrap_or_default();
        match self.segment {
            Segment::Root => {}
            Segment::Key(key) => path.push(PathSegment::Field(key.to_owned())),
            Segment::Index(index) => path.push(PathSegment::Index(index)),
        }
        path
    }
}

/// What an object is made from.
#[derive(Clone, Copy)]
enum Source<'m> {
    Message(&'m [u8]),
    /// The page, or what lies around it.
    Page,
    /// The edge of a row.
    Row(usize),
}

/// Which object of a batch is projected.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    Row(usize),
    Page { has_previous: bool },
}

/// Projects one object of `batch`, whose own field in the document is at `pos`.
pub(super) fn project(
    root: &Root,
    batch: &Batch,
    of: Of,
    fetched: &Fetched,
    pos: Pos,
) -> Projected {
    let source = match of {
        Of::Row(row) => Source::Message(&batch.rows[row]),
        Of::Page { .. } => Source::Page,
    };
    let mut projection = Projection {
        batch,
        has_previous: matches!(of, Of::Page { has_previous: true }),
        joined: root
            .joins
            .iter()
            .map(|join| join::find(fetched, join))
            .collect(),
        out: Vec::with_capacity(root.size * 24 * batch.rows.len().min(100)),
        faults: Vec::new(),
        fault: None,
        memos: (0..root.memos).map(|_| Memo::default()).collect(),
        written: Vec::new(),
    };
    let path = Path {
        parent: None,
        segment: Segment::Root,
    };
    let outcome = projection.object(&root.plan, source, pos, &path);
    let mut faults = projection.faults;
    let json = match outcome {
        Ok(()) => Ok(projection.out),
        // The last one ended it.
        Err(Failed) => match projection.fault.take().or_else(|| faults.pop()) {
            Some(fault) => Err(fault),
            None => Ok(b"null".to_vec()),
        },
    };
    Projected { json, faults }
}

/// What an entry wrote for each row of a join, as ranges of what is kept.
type Memo = Vec<Option<Range<usize>>>;

struct Projection<'b> {
    batch: &'b Batch,
    has_previous: bool,
    /// For each join of the plan what it led to, if any row asked.
    joined: Vec<Option<&'b Found>>,
    out: Vec<u8>,
    faults: Vec<Fault>,
    /// The last one, if there are too many to keep all.
    fault: Option<Fault>,
    memos: Vec<Memo>,
    written: Vec<u8>,
}

impl Projection<'_> {
    fn object(
        &mut self,
        plan: &Plan,
        source: Source<'_>,
        pos: Pos,
        path: &Path<'_>,
    ) -> Result<(), Failed> {
        let message = match source {
            Source::Message(message) => message,
            Source::Page | Source::Row(_) => &[],
        };
        let mut slots = Slots::new(message);
        match slots.read(plan) {
            Ok(()) => {}
            Err(Unread::Malformed(malformed)) => {
                return Err(self.malformed(malformed, pos, path));
            }
            Err(Unread::Repeated(number)) => {
                return match wire::merged(message, number) {
                    Ok(merged) => self.object(plan, Source::Message(&merged), pos, path),
                    Err(malformed) => Err(self.malformed(malformed, pos, path)),
                };
            }
        }
        for entry in &plan.entries {
            self.out.extend_from_slice(&entry.prefix);
            match source {
                Source::Message(_) => self.field(entry, &slots, path)?,
                Source::Row(row) => self.edge(entry, row, path),
                Source::Page => self.page(entry, path)?,
            }
        }
        if plan.entries.is_empty() {
            self.out.push(b'{');
        }
        self.out.push(b'}');
        Ok(())
    }

    fn field(&mut self, entry: &Entry, slots: &Slots<'_>, path: &Path<'_>) -> Result<(), Failed> {
        let path = path.with(Segment::Key(&entry.key));
        let (null, outcome, start) = match &entry.what {
            What::Scalar { slot, field } => {
                let start = self.out.len();
                let written = match field.kind.is_varint() {
                    true => number(field, slots.varint(*slot), &mut self.out),
                    false => bytes(field, slots.bytes(*slot), &mut self.out),
                };
                let outcome = written.map_err(|cause| self.failed(&cause, entry.pos, &path));
                (field.null, outcome, start)
            }
            What::Object { slot, field, inner } => {
                let start = self.out.len();
                let outcome = match slots.bytes(*slot) {
                    Some(message) => self.object(inner, Source::Message(message), entry.pos, &path),
                    None if field.null != Null::Never => {
                        self.null();
                        Ok(())
                    }
                    None => Err(self.failed(&unset(field), entry.pos, &path)),
                };
                (field.null, outcome, start)
            }
            What::Join {
                slot,
                at,
                memo,
                inner,
            } => {
                let start = self.out.len();
                let id = slots.bytes(*slot).unwrap_or_default();
                let outcome = self.joined(id, *at, *memo, inner, entry.pos, &path);
                (Null::Default, outcome, start)
            }
            _ => return Ok(()),
        };
        match outcome {
            Err(Failed) if null != Null::Never => {
                self.out.truncate(start);
                self.null();
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn joined(
        &mut self,
        id: &[u8],
        at: usize,
        memo: usize,
        inner: &Plan,
        pos: Pos,
        path: &Path<'_>,
    ) -> Result<(), Failed> {
        if id.is_empty() {
            self.null();
            return Ok(());
        }
        let found = self.joined[at];
        let (row, rows) = match found.and_then(|found| Some((found.at(id)?, &found.rows))) {
            Some((Ok(Some(row)), rows)) => (*row, rows),
            Some((Ok(None), _)) => {
                self.null();
                return Ok(());
            }
            Some((Err(status), _)) => return Err(self.fail(status.clone(), pos, path)),
            // All that are text were asked for.
            None => return Err(self.malformed(Malformed::Text, pos, path)),
        };
        let known = self.memos[memo].get(row).cloned().flatten();
        if let Some(range) = known {
            self.out.extend_from_slice(&self.written[range]);
            return Ok(());
        }
        let (start, faults) = (self.out.len(), self.faults.len());
        self.object(inner, Source::Message(&rows[row]), pos, path)?;
        // An error has the path of its row, so what has one is written anew each time.
        if self.faults.len() == faults && self.fault.is_none() {
            let from = self.written.len();
            self.written.extend_from_slice(&self.out[start..]);
            let memo = &mut self.memos[memo];
            memo.resize(rows.len(), None);
            memo[row] = Some(from..self.written.len());
        }
        Ok(())
    }

    fn page(&mut self, entry: &Entry, path: &Path<'_>) -> Result<(), Failed> {
        let path = path.with(Segment::Key(&entry.key));
        let (batch, token) = (self.batch, &self.batch.next_page_token);
        match &entry.what {
            What::Edges(inner) => {
                for row in 0..batch.rows.len() {
                    self.out.push(if row == 0 { b'[' } else { b',' });
                    self.object(
                        inner,
                        Source::Row(row),
                        entry.pos,
                        &path.with(Segment::Index(row)),
                    )?;
                }
                self.end_list();
            }
            What::Nodes(inner) => {
                for row in 0..batch.rows.len() {
                    self.out.push(if row == 0 { b'[' } else { b',' });
                    self.row(inner, row, entry.pos, &path.with(Segment::Index(row)));
                }
                self.end_list();
            }
            What::PageInfo(inner) => self.object(inner, Source::Page, entry.pos, &path)?,
            What::HasNextPage => json::scalar(&!token.is_empty(), &mut self.out),
            What::HasPreviousPage => json::scalar(&self.has_previous, &mut self.out),
            What::EndCursor => cursor(token, &mut self.out),
            _ => {}
        }
        Ok(())
    }

    fn edge(&mut self, entry: &Entry, row: usize, path: &Path<'_>) {
        match &entry.what {
            What::Node(inner) => {
                self.row(inner, row, entry.pos, &path.with(Segment::Key(&entry.key)))
            }
            What::Cursor if row + 1 == self.batch.rows.len() => {
                cursor(&self.batch.next_page_token, &mut self.out);
            }
            What::Cursor => self.null(),
            _ => {}
        }
    }

    /// A row of a page; null if it cannot be shown, so that the others are.
    fn row(&mut self, plan: &Plan, row: usize, pos: Pos, path: &Path<'_>) {
        let start = self.out.len();
        let batch = self.batch;
        if self
            .object(plan, Source::Message(&batch.rows[row]), pos, path)
            .is_err()
        {
            self.out.truncate(start);
            self.null();
        }
    }

    fn end_list(&mut self) {
        if self.batch.rows.is_empty() {
            self.out.push(b'[');
        }
        self.out.push(b']');
    }

    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    fn malformed(&mut self, malformed: Malformed, pos: Pos, path: &Path<'_>) -> Failed {
        self.failed(
            &format!("a service answered what cannot be read: {malformed}"),
            pos,
            path,
        )
    }

    fn failed(&mut self, cause: &str, pos: Pos, path: &Path<'_>) -> Failed {
        let last = self
            .faults
            .last()
            .filter(|_| self.faults.len() == ERRORS_MAX);
        let status = match last {
            // Neither the log nor the client needs one more of these.
            Some(fault) => fault.status.clone(),
            None => platform::error::internal(cause),
        };
        self.fail(status, pos, path)
    }

    fn fail(&mut self, status: Status, pos: Pos, path: &Path<'_>) -> Failed {
        let fault = Fault {
            path: path.to_vec(),
            pos,
            status,
        };
        if self.faults.len() < ERRORS_MAX {
            self.faults.push(fault);
        } else {
            self.fault = Some(fault);
        }
        Failed
    }
}

/// The token of the next page, which was checked to be text.
fn cursor(token: &Bytes, out: &mut Vec<u8>) {
    match std::str::from_utf8(token) {
        Ok(token) if !token.is_empty() => json::string(token, out),
        _ => out.extend_from_slice(b"null"),
    }
}

/// Writes a field that is a varint, or says why it cannot be.
fn number(field: &Field, value: Option<u64>, out: &mut Vec<u8>) -> Result<(), String> {
    let null = match field.null {
        Null::Never => false,
        Null::Unset => value.is_none(),
        Null::Default => value.unwrap_or(0) == 0,
    };
    if null {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    let value = value.unwrap_or(0);
    match field.kind {
        Kind::Boolean => json::scalar(&(value != 0), out),
        Kind::Enum(words) => {
            // As the decoder has it: the lower half counts, and what is not known is as unset.
            let number = value as i32;
            let word = (number != 0).then(|| (words.word)(number)).flatten();
            match word {
                Some(word) => json::string(word, out),
                None if field.null != Null::Never => out.extend_from_slice(b"null"),
                None => return Err(unset(field)),
            }
        }
        _ => {
            let value = value as i64;
            if value.unsigned_abs() > Long::MAX as u64 {
                return Err("a value does not fit a Long".to_owned());
            }
            json::scalar(&value, out);
        }
    }
    Ok(())
}

/// As [`number`], for a field that has a length.
fn bytes(field: &Field, value: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), String> {
    let null = match field.null {
        Null::Never => false,
        Null::Unset => value.is_none(),
        Null::Default => value.is_none_or(<[u8]>::is_empty),
    };
    if null {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match field.kind {
        Kind::Id(kind) => scalar::id(kind, value.unwrap_or_default(), out),
        Kind::Time => match value {
            Some(message) => scalar::time(message, out),
            None => Err(unset(field)),
        },
        _ => {
            let text = std::str::from_utf8(value.unwrap_or_default());
            let text =
                text.map_err(|_| format!("a service answered a {} that is not UTF-8", field.name))?;
            json::string(text, out);
            Ok(())
        }
    }
}

fn unset(field: &Field) -> String {
    format!("a service answered no {} that is known here", field.name)
}
