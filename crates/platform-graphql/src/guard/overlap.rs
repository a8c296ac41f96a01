//! Fields of one response key must be one field: the specification's "field selection merging".
//!
//! Not pair by pair, which is quadratic, but set by set: all selections that end in one object of
//! the answer are looked at together, level by level.

use std::collections::HashSet;

use async_graphql::Positioned;
use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationType, Selection, SelectionSet,
};
use async_graphql::registry::{MetaType, MetaTypeName, Registry};

use super::{Limits, too_large};
use crate::refusal::{Refusal, RequestReason};

/// Checks a document that keeps the other rules. Answers how many selections were looked at.
pub(super) fn check(
    document: &ExecutableDocument,
    registry: &Registry,
    limits: &Limits,
) -> Result<u64, Refusal> {
    let mut merging = Merging {
        document,
        registry,
        visits: 0,
        // Fields of interfaces are looked at for each type that is named beside them, so that
        // types inside types can multiply.
        visits_max: 4 * limits.weight,
    };
    for (_, operation) in document.operations.iter() {
        let root = match operation.node.ty {
            OperationType::Query => Some(&registry.query_type),
            OperationType::Mutation => registry.mutation_type.as_ref(),
            OperationType::Subscription => registry.subscription_type.as_ref(),
        };
        let mut picks = Vec::new();
        if let Some(root) = root.and_then(|root| registry.types.get(root)) {
            let set = &operation.node.selection_set.node;
            merging.collect(root, set, &mut HashSet::new(), &mut picks)?;
        }
        merging.merge(picks, Rules::BOTH)?;
    }
    Ok(merging.visits)
}

/// A field selected on a type.
#[derive(Clone, Copy)]
struct Pick<'a> {
    field: &'a Positioned<Field>,
    parent: &'a MetaType,
    ty: &'a str,
}

impl<'a> Pick<'a> {
    fn key(&self) -> &'a str {
        self.field.node.response_key().node.as_str()
    }
}

/// What is still to be checked of a set.
#[derive(Clone, Copy)]
struct Rules {
    /// The values have one shape, even those of which only one can be in an answer.
    shapes: bool,
    /// Those that can be in one answer are the same field with the same arguments.
    fields: bool,
}

impl Rules {
    const BOTH: Rules = Rules {
        shapes: true,
        fields: true,
    };
}

struct Merging<'a> {
    document: &'a ExecutableDocument,
    registry: &'a Registry,
    visits: u64,
    visits_max: u64,
}

impl<'a> Merging<'a> {
    /// The fields of a set, those of its fragments included; a fragment once.
    fn collect(
        &mut self,
        parent: &'a MetaType,
        set: &'a SelectionSet,
        spread: &mut HashSet<&'a str>,
        picks: &mut Vec<Pick<'a>>,
    ) -> Result<(), Refusal> {
        for selection in &set.items {
            self.visits += 1;
            if self.visits > self.visits_max {
                return Err(too_large("the document's fields overlap in too many ways"));
            }
            let (condition, set) = match &selection.node {
                Selection::Field(field) => {
                    if let Some(ty) = field_type(parent, &field.node) {
                        picks.push(Pick { field, parent, ty });
                    }
                    continue;
                }
                Selection::InlineFragment(fragment) => (
                    fragment.node.type_condition.as_ref(),
                    &fragment.node.selection_set,
                ),
                Selection::FragmentSpread(fragment) => {
                    let name = fragment.node.fragment_name.node.as_str();
                    match self.document.fragments.get(name) {
                        Some(fragment) if spread.insert(name) => (
                            Some(&fragment.node.type_condition),
                            &fragment.node.selection_set,
                        ),
                        _ => continue,
                    }
                }
            };
            let parent = match condition {
                Some(condition) => self.registry.types.get(condition.node.on.node.as_str()),
                None => Some(parent),
            };
            if let Some(parent) = parent {
                self.collect(parent, &set.node, spread, picks)?;
            }
        }
        Ok(())
    }

    /// Checks fields that end in one object, and then what they select.
    fn merge(&mut self, mut picks: Vec<Pick<'a>>, rules: Rules) -> Result<(), Refusal> {
        picks.sort_by_key(Pick::key);
        for group in picks.chunk_by(|one, other| one.key() == other.key()) {
            if rules.shapes {
                let same = |other: &Pick<'_>| self.same_shape(group[0].ty, other.ty);
                if let Some(other) = group.iter().find(|other| !same(other)) {
                    return Err(conflict(&group[0], other, "values of different kinds"));
                }
            }
            let classes = if rules.fields {
                classes(group)
            } else {
                Vec::new()
            };
            for class in &classes {
                let first = class[0];
                for other in &class[1..] {
                    if first.field.node.name.node != other.field.node.name.node {
                        return Err(conflict(&first, other, "different fields"));
                    }
                    if !same_arguments(&first.field.node, &other.field.node) {
                        return Err(conflict(&first, other, "different arguments"));
                    }
                }
            }
            match classes.as_slice() {
                [class] => self.inside(class, rules)?,
                classes => {
                    if rules.shapes {
                        let fields = false;
                        self.inside(group, Rules { fields, ..rules })?;
                    }
                    for class in classes {
                        let shapes = false;
                        self.inside(class, Rules { shapes, ..rules })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The selections of these fields end in one object.
    fn inside(&mut self, picks: &[Pick<'a>], rules: Rules) -> Result<(), Refusal> {
        let (mut spread, mut inner) = (HashSet::new(), Vec::new());
        for pick in picks {
            let set = &pick.field.node.selection_set.node;
            if let Some(ty) = self.registry.concrete_type_by_name(pick.ty) {
                self.collect(ty, set, &mut spread, &mut inner)?;
            }
        }
        if inner.is_empty() {
            return Ok(());
        }
        self.merge(inner, rules)
    }

    fn same_shape(&self, one: &str, other: &str) -> bool {
        match (MetaTypeName::create(one), MetaTypeName::create(other)) {
            (MetaTypeName::NonNull(one), MetaTypeName::NonNull(other))
            | (MetaTypeName::List(one), MetaTypeName::List(other)) => self.same_shape(one, other),
            (MetaTypeName::Named(one), MetaTypeName::Named(other)) => {
                let composite = |name| {
                    let ty = self.registry.types.get(name);
                    ty.is_some_and(MetaType::is_composite)
                };
                one == other || composite(one) && composite(other)
            }
            _ => false,
        }
    }
}

/// The type of a field, also of those that every type has.
fn field_type<'a>(parent: &'a MetaType, field: &Field) -> Option<&'a str> {
    match field.name.node.as_str() {
        "__typename" => Some("String!"),
        "__schema" => Some("__Schema!"),
        "__type" => Some("__Type"),
        name => Some(parent.field_by_name(name)?.ty.as_str()),
    }
}

/// Which fields of a group can be in one answer: those on the same object type, and those on
/// interfaces and unions with each of them.
fn classes<'a>(group: &[Pick<'a>]) -> Vec<Vec<Pick<'a>>> {
    let same = |one: &Pick<'_>, other: &Pick<'_>| one.parent.name() == other.parent.name();
    if group[1..].iter().all(|pick| same(pick, &group[0])) {
        return vec![group.to_vec()];
    }
    let (wide, mut narrow): (Vec<_>, Vec<_>) =
        group.iter().partition(|pick| pick.parent.is_abstract());
    if narrow.is_empty() {
        return vec![wide];
    }
    narrow.sort_by_key(|pick| pick.parent.name());
    let types = narrow.chunk_by(|one, other| same(one, other));
    types.map(|ty| [&wide, ty].concat()).collect()
}

fn same_arguments(one: &Field, other: &Field) -> bool {
    one.arguments.len() == other.arguments.len()
        && one.arguments.iter().all(|(name, value)| {
            let same = other.get_argument(&name.node);
            same.is_some_and(|same| same.node == value.node)
        })
}

fn conflict(one: &Pick<'_>, other: &Pick<'_>, how: &str) -> Refusal {
    let message = format!("\"{}\" stands for {how}; use an alias for one", one.key());
    Refusal::bad(RequestReason::GraphqlDocumentInvalid, message)
        .at(one.field.pos)
        .at(other.field.pos)
}
