//! Checks before execution, against documents that abort or hang the library behind them, and
//! those that it reads otherwise than the specification.
//!
//! [`check`] runs once for each document, in this order: [`text`] before anything is parsed; then
//! on the tree [`count`], the rules of the library, [`input`] for literals, [`overlap`] and
//! [`roots`]. [`prepare`] runs for each request: [`input`] for variables, [`amount`]. Each does
//! bounded work on any input.

mod absent;
mod amount;
mod count;
mod input;
mod overlap;
mod roots;
mod schema;
mod text;
mod words;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, OperationType};
use async_graphql::{Name, ServerError, Variables};

use crate::refusal::{Refusal, RequestReason};
pub(crate) use absent::leave_out;
use amount::Amount;
pub use schema::{Checker, Open, schemas};

/// How much one request may ask for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's body, and of a query string.
    pub body_bytes: usize,
    /// Tokens of the document.
    pub tokens: usize,
    /// Characters of one name in the document.
    pub name_chars: usize,
    /// Brackets open at once in the document's text.
    pub nesting: usize,
    /// Selection sets and fragments inside one another.
    pub depth: usize,
    /// Variables, defined or given.
    pub variables: usize,
    /// Values of one list, in the document or in a variable.
    pub list: usize,
    /// Fields at the root of the operation.
    pub root_fields: usize,
    /// Aliases, fragments expanded.
    pub aliases: u64,
    /// Selections and argument values, fragments expanded: the work of validation.
    pub weight: u64,
    /// Selections times the rows that lists can have: the work of execution.
    pub cost: u64,
    /// Entries of `errors` in one answer.
    pub errors: usize,
    /// Characters of one error message.
    pub message_chars: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 64 << 10,
            tokens: 5_000,
            name_chars: 128,
            nesting: 64,
            depth: 30,
            variables: 100,
            list: 1_000,
            root_fields: 20,
            aliases: 200,
            weight: 5_000,
            cost: 50_000,
            errors: 50,
            message_chars: 500,
        }
    }
}

/// What is known of a document besides its tree.
pub(crate) struct Facts {
    pub(crate) tokens: usize,
    operations: Vec<Operation>,
    /// Weight and cost of the fragments, where operations need them to be worked out.
    weights: Vec<Amount>,
    costs: Vec<Amount>,
}

struct Operation {
    name: Option<Name>,
    kind: OperationType,
    variables: Vec<input::Variable>,
    weight: Amount,
    cost: Amount,
    lists: bool,
}

/// How much was looked at, for tests to bound it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// Tokens of the text.
    pub(crate) tokens: u64,
    /// Selections, directives, values and amounts, while counting.
    pub(crate) counted: u64,
    /// Selections, while looking for overlapping fields.
    pub(crate) merged: u64,
}

/// Parses `text`, and refuses what does not fit the schema or the limits.
pub(crate) fn check(
    text: &str,
    checker: &Checker,
    limits: &Limits,
    work: &mut Work,
) -> Result<(ExecutableDocument, Facts), Refusal> {
    let tokens = text::check(text, limits)?;
    work.tokens = tokens as u64;
    let mut document = parse_query(text).map_err(|error| {
        // The last line says what is wrong, those before repeat the document.
        let message = error.to_string();
        let message = message.lines().last().unwrap_or_default();
        let message = message.trim_start_matches([' ', '=']);
        let mut refusal = Refusal::bad(RequestReason::GraphqlSyntaxInvalid, cut(message, limits));
        refusal.locations = error.positions().collect();
        refusal
    })?;
    let definitions = document.operations.iter();
    let variables: usize = definitions
        .map(|(_, operation)| operation.node.variable_definitions.len())
        .sum();
    if variables > limits.variables {
        let message = format!("the document has more than {} variables", limits.variables);
        return Err(too_large(message));
    }
    let registry = checker.registry();
    let counted = count::count(&document, registry, limits, &mut work.counted)?;
    for operation in &counted.operations {
        if operation.introspects && !checker.open().introspection {
            let message = "the schema does not describe itself here";
            return Err(Refusal::bad(RequestReason::GraphqlDocumentInvalid, message));
        }
        if let Amount::Fixed(cost) = operation.cost {
            affordable(cost, limits)?;
        }
    }
    let none = Variables::default();
    let weight = &counted.weight;
    light(
        weight.work_out(&counted.weights, &none, &mut work.counted),
        limits,
    )?;
    let errors = checker.validate(document.clone());
    if let Some(error) = errors
        .into_iter()
        .min_by_key(|error| error.locations.first().copied())
    {
        return Err(invalid(error, text, checker, limits));
    }
    input::arguments(&counted, &document, checker)?;
    work.merged = overlap::check(&document, registry, limits)?;
    let mut operations = Vec::with_capacity(counted.operations.len());
    for ((name, operation), count) in document.operations.iter().zip(counted.operations) {
        operations.push(Operation {
            name: name.cloned(),
            kind: operation.node.ty,
            variables: input::definitions(&operation.node, checker)?,
            weight: count.weight,
            cost: count.cost,
            lists: count.lists,
        });
    }
    let (weights, costs) = (counted.weights, counted.costs);
    roots::straighten(&mut document)?;
    let facts = Facts {
        tokens,
        operations,
        weights,
        costs,
    };
    Ok((document, facts))
}

/// An operation with its variables.
pub(crate) struct Chosen {
    pub(crate) kind: OperationType,
    pub(crate) name: Option<Name>,
    pub(crate) cost: u64,
    pub(crate) lists: bool,
    pub(crate) variables: Variables,
}

/// Chooses an operation of a checked document, and coerces and counts its variables.
pub(crate) fn prepare(
    facts: &Facts,
    name: Option<&str>,
    variables: Variables,
    checker: &Checker,
    limits: &Limits,
    work: &mut Work,
) -> Result<Chosen, Refusal> {
    let operation = choose(&facts.operations, name)?;
    let variables = input::coerce(&operation.variables, variables, checker, limits)?;
    let visits = &mut work.counted;
    let weight = &operation.weight;
    light(weight.work_out(&facts.weights, &variables, visits), limits)?;
    let cost = &operation.cost;
    let cost = cost.work_out(&facts.costs, &variables, visits);
    affordable(cost, limits)?;
    Ok(Chosen {
        kind: operation.kind,
        name: operation.name.clone(),
        cost,
        lists: operation.lists,
        variables,
    })
}

fn choose<'a>(operations: &'a [Operation], name: Option<&str>) -> Result<&'a Operation, Refusal> {
    let unknown = |message| {
        Err(Refusal::bad(
            RequestReason::GraphqlOperationUnknown,
            message,
        ))
    };
    match (operations, name) {
        ([operation], None) => Ok(operation),
        (_, None) => unknown("name one of the document's operations"),
        (operations, Some(name)) => {
            let named = |operation: &&Operation| operation.name.as_deref() == Some(name);
            let operation = operations.iter().find(named);
            operation.map_or_else(|| unknown("the document has no operation of this name"), Ok)
        }
    }
}

/// The words of the library, without those that only the schema has unless they may be told.
pub(crate) fn told(message: &str, text: &str, checker: &Checker) -> String {
    if checker.open().suggestions {
        message.to_owned()
    } else {
        words::redact(message, text)
    }
}

fn invalid(error: ServerError, text: &str, checker: &Checker, limits: &Limits) -> Refusal {
    let message = told(&error.message, text, checker);
    let mut refusal = Refusal::bad(RequestReason::GraphqlDocumentInvalid, cut(&message, limits));
    refusal.locations = error.locations;
    refusal
}

fn light(weight: u64, limits: &Limits) -> Result<(), Refusal> {
    if weight > limits.weight {
        let max = limits.weight;
        return Err(too_large(format!(
            "the document has, fragments expanded, a weight over {max}"
        )));
    }
    Ok(())
}

fn affordable(cost: u64, limits: &Limits) -> Result<(), Refusal> {
    if cost > limits.cost {
        let max = limits.cost;
        return Err(too_large(format!(
            "the operation has, rows of lists multiplied, a cost over {max}"
        )));
    }
    Ok(())
}

fn too_large(message: impl Into<String>) -> Refusal {
    Refusal::bad(RequestReason::GraphqlDocumentTooLarge, message)
}

/// Messages quote the document, which can be long.
fn cut(message: &str, limits: &Limits) -> String {
    message.chars().take(limits.message_chars).collect()
}

#[cfg(test)]
mod tests;
