//! The fields at the root of the operation.

use std::collections::HashSet;

use async_graphql::parser::Positioned;
use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};

use super::{Limits, too_large};
use crate::refusal::{Refusal, RequestReason};

/// The library runs a mutation once per selection, where the specification merges selections of
/// one response key and runs it once. Nobody means to write that, so it is refused.
pub(super) fn check(
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    limits: &Limits,
) -> Result<(), Refusal> {
    let mut fields = Vec::new();
    collect(document, &operation.node.selection_set.node, &mut fields);
    if fields.len() > limits.root_fields {
        return Err(too_large(format!(
            "the operation has more than {} fields at its root",
            limits.root_fields
        )));
    }
    if operation.node.ty == OperationType::Mutation {
        let mut keys = HashSet::new();
        for field in fields {
            let key = field.node.response_key();
            if !keys.insert(key.node.as_str()) {
                let message = format!(
                    "the mutation selects \"{}\" twice; use an alias to run it twice",
                    key.node
                );
                return Err(Refusal::bad(RequestReason::DocumentInvalid, message).at(field.pos));
            }
        }
    }
    Ok(())
}

/// Expands the fragments; their weight is known to be bounded by now.
fn collect<'a>(
    document: &'a ExecutableDocument,
    set: &'a SelectionSet,
    fields: &mut Vec<&'a Positioned<Field>>,
) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => fields.push(field),
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
