//! Variables as the specification coerces them, as far as that needs no schema.

use async_graphql::parser::Positioned;
use async_graphql::parser::types::OperationDefinition;
use async_graphql::{Name, Value, Variables};

use super::{Limits, too_large};
use crate::refusal::{Refusal, RequestReason};

/// Fills in defaults (`@skip` and `@include` would not see them otherwise), refuses missing and
/// null values of required variables, and drops what the operation does not define.
pub(super) fn coerce(
    operation: &Positioned<OperationDefinition>,
    variables: &mut Variables,
    limits: &Limits,
) -> Result<(), Refusal> {
    let definitions = &operation.node.variable_definitions;
    if definitions.len() > limits.variables {
        return Err(too_large(format!(
            "the operation has more than {} variables",
            limits.variables
        )));
    }
    if variables.len() > limits.variables {
        let message = format!("more than {} variables are given", limits.variables);
        return Err(Refusal::bad(RequestReason::InputInvalid, message));
    }
    let mut coerced: Vec<(Name, Value)> = Vec::with_capacity(definitions.len());
    for definition in definitions {
        let name = &definition.node.name.node;
        let default = definition
            .node
            .default_value
            .as_ref()
            .map(|value| value.node.clone());
        let kind = &definition.node.var_type.node;
        match variables.remove(name).or(default) {
            None | Some(Value::Null) if !kind.nullable => {
                let message = format!("the variable \"${name}\" of type \"{kind}\" needs a value");
                return Err(Refusal::bad(RequestReason::InputInvalid, message).at(definition.pos));
            }
            Some(value) => coerced.push((name.clone(), value)),
            None => {}
        }
    }
    *variables = Variables::from_value(Value::Object(coerced.into_iter().collect()));
    Ok(())
}
