//! Where in the document a field is being resolved, and all that is selected of it there.

use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::MetaType;
use async_graphql::{ContextSelectionSet, Name, Positioned, QueryPathNode, QueryPathSegment};

/// Everything that the document selects of the object that is being resolved, to be answered together: the
/// library runs a field once for each time that it is selected, and cannot merge what is written already.
///
/// `None` if an earlier selection of the same response key answers for this one.
pub(super) fn selections<'c>(
    ctx: &ContextSelectionSet<'c>,
    field: &Positioned<Field>,
) -> Option<Vec<&'c Positioned<SelectionSet>>> {
    let mut sets = vec![&ctx.query_env.operation.node.selection_set];
    let names = names(ctx.path_node.as_ref());
    let Some((last, above)) = names.split_last() else {
        return Some(vec![ctx.item]);
    };
    for name in above {
        let found = collect(ctx, &sets, name);
        sets = found
            .into_iter()
            .map(|(_, field)| &field.node.selection_set)
            .collect();
    }
    let mut found = collect(ctx, &sets, last);
    let here = found.iter().find(|(_, found)| found.pos == field.pos);
    let Some(&(condition, _)) = here else {
        return Some(vec![ctx.item]);
    };
    // Fields of the same key belong to another object if they are of another type.
    found.retain(|(other, _)| condition.is_none() || other.is_none() || *other == condition);
    let first = found.first()?.1;
    let sets = found.iter().map(|(_, field)| &field.node.selection_set);
    (first.pos == field.pos).then(|| sets.collect())
}

/// The response keys from the root of the operation to where it is.
pub(super) fn names<'n>(path: Option<&'n QueryPathNode<'_>>) -> Vec<&'n str> {
    let Some(node) = path else {
        return Vec::new();
    };
    let mut names: Vec<_> = std::iter::once(node)
        .chain(node.parents())
        .filter_map(|node| match node.segment {
            QueryPathSegment::Name(name) => Some(name),
            QueryPathSegment::Index(_) => None,
        })
        .collect();
    names.reverse();
    names
}

/// A field, and the object type on which it is selected, where a fragment says that.
type Found<'c> = (Option<&'c Name>, &'c Positioned<Field>);

fn collect<'c>(
    ctx: &ContextSelectionSet<'c>,
    sets: &[&'c Positioned<SelectionSet>],
    key: &str,
) -> Vec<Found<'c>> {
    let mut found = Vec::new();
    for set in sets {
        collect_from(ctx, set, key, None, &mut found);
    }
    found
}

fn collect_from<'c>(
    ctx: &ContextSelectionSet<'c>,
    set: &'c Positioned<SelectionSet>,
    key: &str,
    on: Option<&'c Name>,
    found: &mut Vec<Found<'c>>,
) {
    let narrowed = |condition: &'c Name| {
        let ty = ctx.schema_env.registry.types.get(condition.as_str());
        match ty {
            Some(MetaType::Object { .. }) => Some(condition),
            _ => on,
        }
    };
    for selection in &set.node.items {
        match &selection.node {
            Selection::Field(field) => {
                if field.node.response_key().node == key {
                    found.push((on, field));
                }
            }
            Selection::InlineFragment(fragment) => {
                let condition = fragment.node.type_condition.as_ref();
                let on = condition.map_or(on, |condition| narrowed(&condition.node.on.node));
                collect_from(ctx, &fragment.node.selection_set, key, on, found);
            }
            Selection::FragmentSpread(spread) => {
                let name = &spread.node.fragment_name.node;
                if let Some(fragment) = ctx.query_env.fragments.get(name) {
                    let on = narrowed(&fragment.node.type_condition.node.on.node);
                    collect_from(ctx, &fragment.node.selection_set, key, on, found);
                }
            }
        }
    }
}
