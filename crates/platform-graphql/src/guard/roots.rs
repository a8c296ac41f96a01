//! The fields at the root of an operation.

use std::collections::HashSet;

use async_graphql::Positioned;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
    SelectionSet,
};

use crate::refusal::{Refusal, RequestReason};

/// Makes up for how the library reads roots.
///
/// It runs a mutation once per selection, where the specification merges selections of one
/// response key and runs it once. Nobody means to write that, so it is refused.
/// Of a subscription it does not see fields in fragments, and takes several; so the one field
/// that it may have is moved out of its fragments.
pub(super) fn straighten(document: &mut ExecutableDocument) -> Result<(), Refusal> {
    let mut moved = Vec::new();
    for (name, operation) in document.operations.iter() {
        match operation.node.ty {
            OperationType::Query => {}
            OperationType::Mutation => runs_once(document, operation)?,
            OperationType::Subscription => {
                moved.push((name.cloned(), subscribed(document, operation)?));
            }
        }
    }
    for (name, field) in moved {
        let operation = match (&mut document.operations, name) {
            (DocumentOperations::Single(operation), _) => Some(operation),
            (DocumentOperations::Multiple(operations), name) => {
                name.and_then(|name| operations.get_mut(&name))
            }
        };
        if let Some(operation) = operation {
            operation.node.selection_set.node.items = vec![field];
        }
    }
    Ok(())
}

fn runs_once(
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
) -> Result<(), Refusal> {
    let mut fields = Vec::new();
    collect(document, &operation.node.selection_set.node, &mut fields);
    let mut keys = HashSet::new();
    for (_, field) in fields {
        let key = field.node.response_key();
        if !keys.insert(key.node.as_str()) {
            let message = format!(
                "the mutation selects \"{}\" twice; use an alias to run it twice",
                key.node
            );
            return Err(Refusal::bad(RequestReason::GraphqlDocumentInvalid, message).at(field.pos));
        }
    }
    Ok(())
}

fn subscribed(
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
) -> Result<Positioned<Selection>, Refusal> {
    let mut fields = Vec::new();
    collect(document, &operation.node.selection_set.node, &mut fields);
    let message = match fields.as_slice() {
        [(_, field)] if field.node.name.node.starts_with("__") => {
            "a subscription is to a field of its own, not to one that every type has"
        }
        [_] if conditional(document, &operation.node.selection_set.node) => {
            "the root of a subscription depends on no condition"
        }
        [(selection, _)] => return Ok((*selection).clone()),
        _ => "a subscription has one field at its root",
    };
    Err(Refusal::bad(RequestReason::GraphqlDocumentInvalid, message).at(operation.pos))
}

/// Whether directives stand at the root, which has one field only.
fn conditional(document: &ExecutableDocument, set: &SelectionSet) -> bool {
    set.items.iter().any(|selection| {
        let inner = match &selection.node {
            Selection::Field(_) => None,
            Selection::InlineFragment(fragment) => Some(&fragment.node.selection_set),
            Selection::FragmentSpread(spread) => {
                let fragment = document.fragments.get(&spread.node.fragment_name.node);
                fragment.map(|fragment| &fragment.node.selection_set)
            }
        };
        let inner = inner.is_some_and(|set| conditional(document, &set.node));
        inner || !selection.node.directives().is_empty()
    })
}

type Found<'a> = (&'a Positioned<Selection>, &'a Positioned<Field>);

/// Expands the fragments; the number of fields and the depth are known to be bounded by now.
fn collect<'a>(
    document: &'a ExecutableDocument,
    set: &'a SelectionSet,
    fields: &mut Vec<Found<'a>>,
) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => fields.push((selection, field)),
            Selection::InlineFragment(fragment) => {
                collect(document, &fragment.node.selection_set.node, fields)
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    collect(document, &fragment.node.selection_set.node, fields);
                }
            }
        }
    }
}
