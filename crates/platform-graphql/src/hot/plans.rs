//! The plans of one document, kept with it.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use async_graphql::parser::types::{Directive, ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{ContextSelectionSet, Name, Positioned, Value};
use async_graphql_value::Value as Input;

use super::place;
use super::plan::{self, Root, Shape};
use crate::document::Document;

/// The plans of one document.
///
/// The executor drops what `@skip` and `@include` leave out before a field sees its selection, so there
/// is one plan for each set of values of the variables that decide it.
#[derive(Debug, Default)]
pub struct Plans {
    deciding: OnceLock<Vec<Name>>,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// `None` where another field answers for this one.
    plans: HashMap<String, Option<Arc<Root>>>,
    size: usize,
}

impl Plans {
    /// The plan for the field that is being resolved, of `document`.
    pub(super) fn get(
        &self,
        document: &Document,
        shape: Shape,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> Option<Arc<Root>> {
        let key = self.key(document, shape, ctx, field);
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = kept.plans.get(&key) {
            return plan.clone();
        }
        drop(kept);
        let plan = compile(shape, ctx, field).map(Arc::new);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let size = plan.as_ref().map_or(1, |plan| plan.size + 1);
        // So that plans take about as much as the document; what is beyond is compiled for each request.
        let size_max = 16 + document.text.len() / 4;
        if kept.size + size <= size_max && kept.plans.insert(key, plan.clone()).is_none() {
            kept.size += size;
        }
        plan
    }

    /// Everything that a plan depends on, within one document.
    fn key(
        &self,
        document: &Document,
        shape: Shape,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> String {
        let mut key = String::with_capacity(64);
        let (operation, field) = (ctx.query_env.operation.pos, field.pos);
        let (kind, ty) = match shape {
            Shape::Object(ty) => ('o', ty.name),
            Shape::Connection(ty) => ('c', ty.name),
            Shape::Edge(ty) => ('e', ty.name),
            Shape::PageInfo => ('p', ""),
        };
        let written = write!(key, "{operation} {field} {kind}{ty}");
        written.expect("a string takes everything");
        for name in place::names(ctx.path_node.as_ref()) {
            key.push(' ');
            key.push_str(name);
        }
        key.push(' ');
        for name in self.deciding.get_or_init(|| deciding(&document.parsed)) {
            let is_true = ctx.query_env.variables.get(name) == Some(&Value::Boolean(true));
            key.push(if is_true { '1' } else { '0' });
        }
        key
    }
}

/// The plan for the field that is being resolved; `None` if an earlier selection of the same response key
/// answers for this one.
pub(super) fn compile(
    shape: Shape,
    ctx: &ContextSelectionSet<'_>,
    field: &Positioned<Field>,
) -> Option<Root> {
    let sets = place::selections(ctx, field)?;
    Some(plan::compile(shape, &sets, &ctx.query_env.fragments))
}

/// The variables that directives of the document ask for.
fn deciding(document: &ExecutableDocument) -> Vec<Name> {
    let mut names = Vec::new();
    for (_, operation) in document.operations.iter() {
        add_deciding(&operation.node.selection_set.node, &mut names);
    }
    for fragment in document.fragments.values() {
        add_deciding(&fragment.node.selection_set.node, &mut names);
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn add_deciding(set: &SelectionSet, names: &mut Vec<Name>) {
    for selection in &set.items {
        let (directives, inner): (&[Positioned<Directive>], _) = match &selection.node {
            Selection::Field(field) => (&field.node.directives, Some(&field.node.selection_set)),
            Selection::InlineFragment(fragment) => (
                &fragment.node.directives,
                Some(&fragment.node.selection_set),
            ),
            Selection::FragmentSpread(spread) => (&spread.node.directives, None),
        };
        for (_, value) in directives
            .iter()
            .flat_map(|directive| &directive.node.arguments)
        {
            if let Input::Variable(name) = &value.node {
                names.push(name.clone());
            }
        }
        if let Some(inner) = inner {
            add_deciding(&inner.node, names);
        }
    }
}
