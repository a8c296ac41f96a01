//! What of a selection is to be written, in order, with everything found out that does not depend on the
//! message.

use std::collections::HashMap;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{Field, FragmentDefinition, Selection, SelectionSet};
use async_graphql::{Name, Pos, Positioned};

use super::join::Join;
use super::table::{self, Kind, Type};
use crate::json;

/// The plan of a whole selection.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) plan: Plan,
    /// All that is joined anywhere in it.
    pub(super) joins: Vec<&'static Join>,
    /// Entries that keep what they wrote.
    pub(super) memos: usize,
    /// Entries of all its objects.
    pub(super) size: usize,
}

/// The plan of one object.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
    /// The fields of the message, by number; `None` for an object that is no message.
    pub(super) known: Option<Box<[Known]>>,
    /// Joins one after the other that it leads to: each must be fetched before the next is known.
    pub(super) levels: usize,
}

/// One response key.
#[derive(Debug)]
pub(super) struct Entry {
    /// The bracket or comma before it, the key, and what follows if that is always the same.
    pub(super) prefix: Box<[u8]>,
    pub(super) key: Name,
    pub(super) pos: Pos,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// The prefix is all.
    Written,
    Scalar {
        slot: usize,
        field: &'static table::Field,
    },
    Object {
        slot: usize,
        field: &'static table::Field,
        inner: Plan,
    },
    Join {
        slot: usize,
        /// Among the joins of the whole plan.
        at: usize,
        /// What an entry wrote is good for that entry only: another alias selects other fields.
        memo: usize,
        inner: Plan,
    },
    Edges(Plan),
    Nodes(Plan),
    PageInfo(Plan),
    Node(Plan),
    Cursor,
    HasNextPage,
    HasPreviousPage,
    EndCursor,
}

/// What is to be done with a field of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub(super) wire: Option<On>,
    /// Where it is kept, if it is selected.
    pub(super) slot: Option<u8>,
}

/// What a field must be on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Varint,
    Bytes,
    /// Bytes that are merged if they come twice.
    Message,
}

/// The type of an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Object(&'static Type),
    /// A page of rows of the type, its edges, and what lies around it.
    Connection(&'static Type),
    Edge(&'static Type),
    PageInfo,
}

impl Shape {
    pub(super) fn name(self) -> String {
        match self {
            Shape::Object(ty) => ty.name.to_owned(),
            Shape::Connection(ty) => format!("{}Connection", ty.name),
            Shape::Edge(ty) => format!("{}Edge", ty.name),
            Shape::PageInfo => "PageInfo".to_owned(),
        }
    }

    /// A fragment on `condition` is about objects of this type.
    fn is(self, condition: &str) -> bool {
        let interface = match self {
            Shape::Object(ty) => ty.interfaces.contains(&condition),
            _ => false,
        };
        interface || self.name() == condition
    }
}

/// The plan of everything selected of an object in `sets`.
pub(super) fn compile(
    shape: Shape,
    sets: &[&Positioned<SelectionSet>],
    fragments: &HashMap<Name, Positioned<FragmentDefinition>>,
) -> Root {
    let mut compiler = Compiler {
        fragments,
        joins: Vec::new(),
        memos: 0,
        size: 0,
    };
    let plan = compiler.plan(shape, sets);
    Root {
        plan,
        joins: compiler.joins,
        memos: compiler.memos,
        size: compiler.size,
    }
}

/// The fields selected by each response key, in order of first appearance.
type Collected<'d> = IndexMap<&'d Name, Vec<&'d Positioned<Field>>>;

struct Compiler<'d> {
    fragments: &'d HashMap<Name, Positioned<FragmentDefinition>>,
    joins: Vec<&'static Join>,
    memos: usize,
    size: usize,
}

impl<'d> Compiler<'d> {
    fn plan(&mut self, shape: Shape, sets: &[&'d Positioned<SelectionSet>]) -> Plan {
        let mut collected = Collected::new();
        for set in sets {
            self.collect(shape, set, &mut collected);
        }
        let mut known = match shape {
            Shape::Object(ty) => Some(known(ty)),
            _ => None,
        };
        let mut slots = 0;
        let mut entries: Vec<Entry> = Vec::with_capacity(collected.len());
        for (key, fields) in collected {
            let mut prefix = vec![if entries.is_empty() { b'{' } else { b',' }];
            json::string(key, &mut prefix);
            prefix.push(b':');
            let mut slot = |field: &table::Field| {
                let known = known.as_mut()?.get_mut(field.number as usize)?;
                let slot = known.slot.unwrap_or(slots);
                slots = slots.max(slot + 1);
                known.slot = Some(slot);
                Some(usize::from(slot))
            };
            let sets: Vec<_> = fields
                .iter()
                .map(|field| &field.node.selection_set)
                .collect();
            let Some(what) = self.what(
                shape,
                &fields[0].node.name.node,
                &sets,
                &mut slot,
                &mut prefix,
            ) else {
                // No field of the type: the document was not checked against the schema.
                continue;
            };
            entries.push(Entry {
                prefix: prefix.into(),
                key: key.clone(),
                pos: fields[0].pos,
                what,
            });
        }
        self.size += entries.len();
        let levels = entries.iter().map(|entry| match &entry.what {
            What::Join { inner, .. } => 1 + inner.levels,
            What::Object { inner, .. } => inner.levels,
            What::Edges(inner) | What::Nodes(inner) | What::Node(inner) => inner.levels,
            _ => 0,
        });
        Plan {
            levels: levels.max().unwrap_or(0),
            entries,
            known,
        }
    }

    fn what(
        &mut self,
        shape: Shape,
        name: &str,
        sets: &[&'d Positioned<SelectionSet>],
        slot: &mut impl FnMut(&table::Field) -> Option<usize>,
        prefix: &mut Vec<u8>,
    ) -> Option<What> {
        if name == "__typename" {
            json::string(&shape.name(), prefix);
            return Some(What::Written);
        }
        Some(match (shape, name) {
            (Shape::Object(ty), _) => {
                let field = ty.fields.iter().find(|field| field.name == name)?;
                let slot = slot(field)?;
                match field.kind {
                    Kind::Object(inner) => {
                        let inner = self.plan(Shape::Object(inner), sets);
                        What::Object { slot, field, inner }
                    }
                    Kind::Join(join) => {
                        let known = self
                            .joins
                            .iter()
                            .position(|there| std::ptr::eq(*there, join));
                        let at = known.unwrap_or_else(|| {
                            self.joins.push(join);
                            self.joins.len() - 1
                        });
                        let memo = self.memos;
                        self.memos += 1;
                        let inner = self.plan(Shape::Object(join.to), sets);
                        What::Join {
                            slot,
                            at,
                            memo,
                            inner,
                        }
                    }
                    _ => What::Scalar { slot, field },
                }
            }
            (Shape::Connection(ty), "edges") => What::Edges(self.plan(Shape::Edge(ty), sets)),
            (Shape::Connection(ty), "nodes") => What::Nodes(self.plan(Shape::Object(ty), sets)),
            (Shape::Connection(_), "pageInfo") => What::PageInfo(self.plan(Shape::PageInfo, sets)),
            (Shape::Edge(ty), "node") => What::Node(self.plan(Shape::Object(ty), sets)),
            (Shape::Edge(_), "cursor") => What::Cursor,
            (Shape::PageInfo, "hasNextPage") => What::HasNextPage,
            (Shape::PageInfo, "hasPreviousPage") => What::HasPreviousPage,
            (Shape::PageInfo, "startCursor") => {
                prefix.extend_from_slice(b"null");
                What::Written
            }
            (Shape::PageInfo, "endCursor") => What::EndCursor,
            _ => return None,
        })
    }

    fn collect(&self, shape: Shape, set: &'d Positioned<SelectionSet>, into: &mut Collected<'d>) {
        for selection in &set.node.items {
            let (condition, set) = match &selection.node {
                Selection::Field(field) => {
                    into.entry(&field.node.response_key().node)
                        .or_default()
                        .push(field);
                    continue;
                }
                Selection::InlineFragment(fragment) => (
                    fragment.node.type_condition.as_ref(),
                    &fragment.node.selection_set,
                ),
                Selection::FragmentSpread(spread) => {
                    match self.fragments.get(&spread.node.fragment_name.node) {
                        Some(fragment) => (
                            Some(&fragment.node.type_condition),
                            &fragment.node.selection_set,
                        ),
                        None => continue,
                    }
                }
            };
            if condition.is_none_or(|condition| shape.is(&condition.node.on.node)) {
                self.collect(shape, set, into);
            }
        }
    }
}

fn known(ty: &Type) -> Box<[Known]> {
    let highest = ty
        .fields
        .iter()
        .map(|field| field.number)
        .max()
        .unwrap_or(0);
    let mut known = vec![Known::default(); highest as usize + 1];
    for field in ty.fields {
        known[field.number as usize].wire = Some(match field.kind {
            kind if kind.is_varint() => On::Varint,
            kind if kind.is_message() => On::Message,
            _ => On::Bytes,
        });
    }
    known.into()
}
