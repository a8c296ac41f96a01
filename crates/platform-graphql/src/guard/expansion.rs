//! What a document amounts to with its fragments expanded, counted without expanding them.

use std::collections::HashMap;

use async_graphql::parser::Positioned;
use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, FragmentDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Value, Variables};
use async_graphql_value::Value as InputValue;

use super::{Limits, too_large};
use crate::refusal::{Refusal, RequestReason};

/// Validation visits a fragment once per spread, so each fragment is counted once and its count
/// added per spread. The depth bounds the recursion here too.
pub(super) fn check(
    document: &ExecutableDocument,
    variables: &Variables,
    limits: &Limits,
) -> Result<(), Refusal> {
    let mut counter = Counter {
        fragments: &document.fragments,
        known: HashMap::new(),
        sizes: variables
            .iter()
            .map(|(name, value)| (name.as_str(), size(value)))
            .collect(),
        variables,
        depth_max: limits.depth as u64,
    };
    let mut total = Count::default();
    for (_, operation) in document.operations.iter() {
        total.add(counter.set(&operation.node.selection_set.node, 0)?);
    }
    // The rules of the library visit unused fragments as well.
    for name in document.fragments.keys() {
        total.add(counter.fragment(name, 0)?);
    }
    for (what, is, max) in [
        ("is deeper than", total.depth, limits.depth as u64),
        (
            "has, fragments expanded, more aliases than",
            total.aliases,
            limits.aliases,
        ),
        (
            "has, fragments expanded, a weight over",
            total.weight,
            limits.weight,
        ),
        (
            "has, rows of lists multiplied, a cost over",
            total.cost,
            limits.cost,
        ),
    ] {
        if is > max {
            return Err(too_large(format!("the document {what} {max}")));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Count {
    weight: u64,
    cost: u64,
    aliases: u64,
    /// Levels below.
    depth: u64,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.weight = self.weight.saturating_add(other.weight);
        self.cost = self.cost.saturating_add(other.cost);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.depth = self.depth.max(other.depth);
    }
}

struct Counter<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// `None` while a fragment is being counted.
    known: HashMap<&'a str, Option<Count>>,
    sizes: HashMap<&'a str, u64>,
    variables: &'a Variables,
    depth_max: u64,
}

impl<'a> Counter<'a> {
    fn set(&mut self, set: &'a SelectionSet, level: u64) -> Result<Count, Refusal> {
        if level > self.depth_max {
            return Err(too_large(format!(
                "the document is deeper than {}",
                self.depth_max
            )));
        }
        let mut total = Count::default();
        for selection in &set.items {
            let mut count = match &selection.node {
                Selection::Field(field) => self.field(&field.node, level)?,
                Selection::InlineFragment(fragment) => {
                    self.set(&fragment.node.selection_set.node, level + 1)?
                }
                Selection::FragmentSpread(spread) => {
                    self.fragment(spread.node.fragment_name.node.as_str(), level + 1)?
                }
            };
            let directives = self.directives(selection.node.directives());
            count.weight = count.weight.saturating_add(1).saturating_add(directives);
            count.depth += u64::from(!is_leaf(&selection.node));
            total.add(count);
        }
        Ok(total)
    }

    fn field(&mut self, field: &'a Field, level: u64) -> Result<Count, Refusal> {
        let mut count = if field.selection_set.node.items.is_empty() {
            Count::default()
        } else {
            self.set(&field.selection_set.node, level + 1)?
        };
        let arguments = field
            .arguments
            .iter()
            .map(|(_, value)| self.value(&value.node));
        count.weight = arguments.fold(count.weight, u64::saturating_add);
        count.cost = count
            .cost
            .saturating_mul(self.rows(field))
            .saturating_add(1);
        count.aliases = count
            .aliases
            .saturating_add(u64::from(field.alias.is_some()));
        Ok(count)
    }

    fn fragment(&mut self, name: &str, level: u64) -> Result<Count, Refusal> {
        // A spread of nothing is for the validation to name.
        let Some((name, fragment)) = self.fragments.get_key_value(name) else {
            return Ok(Count::default());
        };
        match self.known.get(name.as_str()) {
            Some(Some(count)) => Ok(*count),
            Some(None) => Err(Refusal::bad(
                RequestReason::DocumentInvalid,
                format!("the fragment \"{name}\" contains itself"),
            )
            .at(fragment.pos)),
            None => {
                self.known.insert(name.as_str(), None);
                let mut count = self.set(&fragment.node.selection_set.node, level)?;
                let directives = self.directives(&fragment.node.directives);
                count.weight = count.weight.saturating_add(1).saturating_add(directives);
                self.known.insert(name.as_str(), Some(count));
                Ok(count)
            }
        }
    }

    /// How many rows the field can have, as far as its `first` says it.
    fn rows(&self, field: &Field) -> u64 {
        let first = field.get_argument("first").map(|value| &value.node);
        let rows = match first {
            Some(InputValue::Number(number)) => number.as_u64(),
            Some(InputValue::Variable(name)) => match self.variables.get(name) {
                Some(Value::Number(number)) => number.as_u64(),
                _ => None,
            },
            _ => None,
        };
        rows.unwrap_or(1).max(1)
    }

    fn directives(&self, directives: &[Positioned<Directive>]) -> u64 {
        let arguments = directives
            .iter()
            .flat_map(|directive| &directive.node.arguments);
        let values = arguments.map(|(_, value)| self.value(&value.node));
        values.fold(directives.len() as u64, u64::saturating_add)
    }

    /// A value is copied and checked at each place where it is used, a variable's as well.
    fn value(&self, value: &InputValue) -> u64 {
        match value {
            InputValue::Variable(name) => self.sizes.get(name.as_str()).copied().unwrap_or(1),
            InputValue::List(values) => values
                .iter()
                .map(|value| self.value(value))
                .fold(1, u64::saturating_add),
            InputValue::Object(fields) => fields
                .values()
                .map(|value| self.value(value))
                .fold(1, u64::saturating_add),
            InputValue::String(text) => text_size(text),
            _ => 1,
        }
    }
}

fn is_leaf(selection: &Selection) -> bool {
    matches!(selection, Selection::Field(field) if field.node.selection_set.node.items.is_empty())
}

fn size(value: &Value) -> u64 {
    match value {
        Value::List(values) => 1 + values.iter().map(size).sum::<u64>(),
        Value::Object(fields) => {
            1 + fields
                .iter()
                .map(|(name, value)| text_size(name) + size(value))
                .sum::<u64>()
        }
        Value::String(text) => text_size(text),
        _ => 1,
    }
}

fn text_size(text: &str) -> u64 {
    1 + text.len() as u64 / 64
}
