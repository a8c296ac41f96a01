//! Arguments whose variable is not given are not given either; the library would overlook their
//! default.

use async_graphql::Variables;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Selection, SelectionSet,
};
use async_graphql_value::Value as InputValue;

/// Takes them out of what is executed.
pub(crate) fn leave_out(document: &mut ExecutableDocument, variables: &Variables) {
    let mut definitions = document
        .operations
        .iter()
        .flat_map(|(_, operation)| &operation.node.variable_definitions);
    if definitions.all(|definition| variables.contains_key(&definition.node.name.node)) {
        return;
    }
    let absent = |value: &InputValue| match value {
        InputValue::Variable(name) => !variables.contains_key(name),
        _ => false,
    };
    if let DocumentOperations::Single(operation) = &mut document.operations {
        set(&mut operation.node.selection_set.node, &absent);
    }
    for fragment in document.fragments.values_mut() {
        set(&mut fragment.node.selection_set.node, &absent);
    }
}

fn set(selections: &mut SelectionSet, absent: &impl Fn(&InputValue) -> bool) {
    for selection in &mut selections.items {
        match &mut selection.node {
            Selection::Field(field) => {
                let arguments = &mut field.node.arguments;
                arguments.retain(|(_, argument)| !absent(&argument.node));
                set(&mut field.node.selection_set.node, absent);
            }
            Selection::InlineFragment(fragment) => {
                set(&mut fragment.node.selection_set.node, absent);
            }
            Selection::FragmentSpread(_) => {}
        }
    }
}
