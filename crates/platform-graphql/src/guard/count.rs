//! What a document amounts to with its fragments expanded, counted without expanding them.
//!
//! Each definition is visited once, whatever refers to it: a fragment is counted once, and its
//! count is added for each spread.

use std::collections::HashMap;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, OperationType,
    Selection, SelectionSet,
};
use async_graphql::registry::{MetaField, MetaInputValue, MetaType, Registry};
use async_graphql::{Name, Positioned};
use async_graphql_value::Value as InputValue;

use super::amount::{Amount, Rows, text_size};
use super::{Limits, too_large};
use crate::refusal::{Refusal, RequestReason};

/// Rows of a page whose size is not said.
const ROWS_DEFAULT: u64 = 20;
/// Lists of the schema's own description inside one another. What tools send has one.
const INTROSPECTION_LISTS_MAX: u64 = 2;

/// What one definition amounts to.
#[derive(Clone, Debug)]
pub(super) struct Count {
    /// Selections and values: the work of validation.
    pub(super) weight: Amount,
    /// Selections, rows of lists multiplied: the work of execution.
    pub(super) cost: Amount,
    aliases: u64,
    /// Levels below.
    depth: u64,
    /// Fields at the first level.
    roots: u64,
    /// Lists of the schema's description inside one another.
    described: u64,
    /// Asks for `__schema` or `__type`.
    pub(super) introspects: bool,
    /// Asks for a page, or for as many things as are named.
    pub(super) lists: bool,
}

impl Count {
    fn nothing() -> Count {
        Count {
            weight: Amount::Fixed(0),
            cost: Amount::Fixed(0),
            aliases: 0,
            depth: 0,
            roots: 0,
            described: 0,
            introspects: false,
            lists: false,
        }
    }

    fn add(&mut self, other: Count) {
        self.weight.plus(other.weight);
        self.cost.plus(other.cost);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.roots = self.roots.saturating_add(other.roots);
        self.depth = self.depth.max(other.depth);
        self.described = self.described.max(other.described);
        self.introspects |= other.introspects;
        self.lists |= other.lists;
    }

    fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        for (what, is, max) in [
            ("is deeper than", self.depth, limits.depth as u64),
            (
                "has, fragments expanded, more aliases than",
                self.aliases,
                limits.aliases,
            ),
            (
                "nests more lists of the schema's description than",
                self.described,
                INTROSPECTION_LISTS_MAX,
            ),
        ] {
            if is > max {
                return Err(too_large(format!("the document {what} {max}")));
            }
        }
        Ok(())
    }
}

/// An argument in the document, with what the schema says of it.
pub(super) struct Argument<'a> {
    pub(super) meta: &'a MetaInputValue,
    pub(super) name: &'a Positioned<Name>,
    pub(super) value: &'a InputValue,
    /// No variable is in it.
    pub(super) constant: bool,
}

/// What stands in one definition itself.
#[derive(Default)]
pub(super) struct Scope<'a> {
    pub(super) arguments: Vec<Argument<'a>>,
    pub(super) spreads: Vec<&'a str>,
}

/// The counts of a document.
pub(super) struct Counted<'a> {
    /// In the order of the document's own iteration.
    pub(super) operations: Vec<Count>,
    /// All operations and fragments, as the rules of the library visit them.
    pub(super) weight: Amount,
    /// Weight and cost of the fragments, each after those that it spreads.
    pub(super) weights: Vec<Amount>,
    pub(super) costs: Vec<Amount>,
    /// Of the operations, in their order.
    pub(super) scopes: Vec<Scope<'a>>,
    pub(super) fragment_scopes: HashMap<&'a str, Scope<'a>>,
}

/// Counts, and refuses what is too deep or too wide whatever the variables are.
pub(super) fn count<'a>(
    document: &'a ExecutableDocument,
    registry: &'a Registry,
    limits: &Limits,
    visits: &mut u64,
) -> Result<Counted<'a>, Refusal> {
    let mut counter = Counter {
        fragments: &document.fragments,
        registry,
        limits,
        known: HashMap::new(),
        done: Vec::new(),
        scope: Scope::default(),
        fragment_scopes: HashMap::new(),
        visits,
    };
    let mut total = Count::nothing();
    let (mut operations, mut scopes) = (Vec::new(), Vec::new());
    for (_, operation) in document.operations.iter() {
        let count = counter.operation(&operation.node)?;
        if count.roots > limits.root_fields as u64 {
            return Err(too_large(format!(
                "an operation has more than {} fields at its root",
                limits.root_fields
            )));
        }
        total.add(count.clone());
        operations.push(count);
        scopes.push(std::mem::take(&mut counter.scope));
    }
    for name in document.fragments.keys() {
        let count = counter.fragment(name, 0)?;
        total.add(count);
    }
    total.check(limits)?;
    let (weights, costs) = counter
        .done
        .into_iter()
        .map(|count| (count.weight, count.cost))
        .unzip();
    Ok(Counted {
        operations,
        weight: total.weight,
        weights,
        costs,
        scopes,
        fragment_scopes: counter.fragment_scopes,
    })
}

struct Counter<'a, 'w> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    registry: &'a Registry,
    limits: &'w Limits,
    /// The places of fragments in `done`; `None` while a fragment is being counted.
    known: HashMap<&'a str, Option<usize>>,
    done: Vec<Count>,
    /// Of the definition that is being counted.
    scope: Scope<'a>,
    fragment_scopes: HashMap<&'a str, Scope<'a>>,
    /// Selections, directives and values looked at.
    visits: &'w mut u64,
}

type Parent<'a> = Option<&'a MetaType>;

impl<'a> Counter<'a, '_> {
    fn operation(&mut self, operation: &'a OperationDefinition) -> Result<Count, Refusal> {
        let root = match operation.ty {
            OperationType::Query => Some(&self.registry.query_type),
            OperationType::Mutation => self.registry.mutation_type.as_ref(),
            OperationType::Subscription => self.registry.subscription_type.as_ref(),
        };
        let parent = root.and_then(|name| self.registry.types.get(name));
        let mut count = self.set(parent, &operation.selection_set.node, 0)?;
        count.weight.plus(self.directives(&operation.directives)?);
        Ok(count)
    }

    fn set(
        &mut self,
        parent: Parent<'a>,
        set: &'a SelectionSet,
        level: u64,
    ) -> Result<Count, Refusal> {
        if level > self.limits.depth as u64 {
            return Err(too_large(format!(
                "the document is deeper than {}",
                self.limits.depth
            )));
        }
        let mut total = Count::nothing();
        for selection in &set.items {
            *self.visits += 1;
            let mut count = match &selection.node {
                Selection::Field(field) => self.field(parent, &field.node, level)?,
                Selection::InlineFragment(fragment) => {
                    let parent = match &fragment.node.type_condition {
                        Some(condition) => self.registry.types.get(condition.node.on.node.as_str()),
                        None => parent,
                    };
                    self.set(parent, &fragment.node.selection_set.node, level + 1)?
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    self.scope.spreads.push(name);
                    self.fragment(name, level + 1)?
                }
            };
            count.weight.plus(Amount::Fixed(1));
            count
                .weight
                .plus(self.directives(selection.node.directives())?);
            count.depth += u64::from(!is_leaf(&selection.node));
            total.add(count);
        }
        Ok(total)
    }

    fn field(
        &mut self,
        parent: Parent<'a>,
        field: &'a Field,
        level: u64,
    ) -> Result<Count, Refusal> {
        let name = field.name.node.as_str();
        let introspects = matches!(name, "__schema" | "__type");
        let meta = parent.and_then(|parent| parent.field_by_name(name));
        let ty = match name {
            "__schema" => self.registry.types.get("__Schema"),
            "__type" => self.registry.types.get("__Type"),
            _ => meta.and_then(|meta| self.registry.concrete_type_by_name(&meta.ty)),
        };
        let mut count = if field.selection_set.node.items.is_empty() {
            Count::nothing()
        } else {
            self.set(ty, &field.selection_set.node, level + 1)?
        };
        let known = meta.map(|meta| &meta.args);
        count.weight.plus(self.arguments(&field.arguments, known)?);
        count.cost = count.cost.times(rows(field, meta));
        count.cost.plus(Amount::Fixed(1));
        count.aliases += u64::from(field.alias.is_some());
        count.roots = 1;
        let lists = ["fields", "interfaces", "possibleTypes", "inputFields"];
        let describes = parent.is_some_and(|parent| parent.name() == "__Type");
        count.described += u64::from(describes && lists.contains(&name));
        count.introspects |= introspects;
        count.lists |= meta.is_some_and(has_rows);
        Ok(count)
    }

    fn fragment(&mut self, name: &str, level: u64) -> Result<Count, Refusal> {
        // A spread of nothing is for the validation to name.
        let Some((name, fragment)) = self.fragments.get_key_value(name) else {
            return Ok(Count::nothing());
        };
        let place = match self.known.get(name.as_str()) {
            Some(Some(place)) => *place,
            Some(None) => {
                return Err(Refusal::bad(
                    RequestReason::GraphqlDocumentInvalid,
                    format!("the fragment \"{name}\" contains itself"),
                )
                .at(fragment.pos));
            }
            None => {
                self.known.insert(name.as_str(), None);
                let outer = std::mem::take(&mut self.scope);
                let on = fragment.node.type_condition.node.on.node.as_str();
                let parent = self.registry.types.get(on);
                let mut count = self.set(parent, &fragment.node.selection_set.node, level)?;
                count.weight.plus(Amount::Fixed(1));
                count
                    .weight
                    .plus(self.directives(&fragment.node.directives)?);
                let scope = std::mem::replace(&mut self.scope, outer);
                self.fragment_scopes.insert(name.as_str(), scope);
                self.done.push(count);
                self.known.insert(name.as_str(), Some(self.done.len() - 1));
                self.done.len() - 1
            }
        };
        let count = &self.done[place];
        Ok(Count {
            weight: Amount::of_fragment(place, &count.weight),
            cost: Amount::of_fragment(place, &count.cost),
            ..*count
        })
    }

    fn directives(&mut self, directives: &'a [Positioned<Directive>]) -> Result<Amount, Refusal> {
        let mut weight = Amount::Fixed(directives.len() as u64);
        for directive in directives {
            *self.visits += 1;
            let meta = self
                .registry
                .directives
                .get(directive.node.name.node.as_str());
            let known = meta.map(|meta| &meta.args);
            weight.plus(self.arguments(&directive.node.arguments, known)?);
        }
        Ok(weight)
    }

    fn arguments(
        &mut self,
        arguments: &'a [(Positioned<Name>, Positioned<InputValue>)],
        known: Option<&'a IndexMap<String, MetaInputValue>>,
    ) -> Result<Amount, Refusal> {
        let mut total = Amount::Fixed(0);
        for (name, value) in arguments {
            let weight = self.value(&value.node)?;
            if let Some(meta) = known.and_then(|known| known.get(name.node.as_str())) {
                self.scope.arguments.push(Argument {
                    meta,
                    name,
                    value: &value.node,
                    constant: matches!(weight, Amount::Fixed(_)),
                });
            }
            total.plus(weight);
        }
        Ok(total)
    }

    fn value(&mut self, value: &InputValue) -> Result<Amount, Refusal> {
        *self.visits += 1;
        let mut weight = Amount::Fixed(1);
        match value {
            InputValue::Variable(name) => return Ok(Amount::Size(name.clone())),
            InputValue::List(values) if values.len() > self.limits.list => {
                let message = format!("a list has more than {} values", self.limits.list);
                return Err(too_large(message));
            }
            InputValue::List(values) => {
                for value in values {
                    weight.plus(self.value(value)?);
                }
            }
            InputValue::Object(fields) => {
                for value in fields.values() {
                    weight.plus(self.value(value)?);
                }
            }
            InputValue::String(text) => return Ok(Amount::Fixed(text_size(text))),
            _ => {}
        }
        Ok(weight)
    }
}

/// Whether a field has as many rows as its arguments say.
fn has_rows(meta: &MetaField) -> bool {
    let says = |(name, ty): (&String, &MetaInputValue)| {
        matches!(name.as_str(), "first" | "last") || ty.ty.starts_with('[')
    };
    meta.args.iter().any(says)
}

/// As `first` or `last` says, or as many as a list of arguments has, or those of a usual page.
fn rows(field: &Field, meta: Option<&MetaField>) -> Rows {
    let pages = meta.is_some_and(|meta| meta.args.contains_key("first"));
    let otherwise = if pages { ROWS_DEFAULT } else { 1 };
    for (name, value) in &field.arguments {
        let list = || {
            let ty = meta.and_then(|meta| meta.args.get(name.node.as_str()));
            ty.is_some_and(|ty| ty.ty.starts_with('['))
        };
        let page = matches!(name.node.as_str(), "first" | "last");
        match &value.node {
            InputValue::Number(number) if page => {
                return Rows::Fixed(number.as_u64().unwrap_or(1).max(1));
            }
            InputValue::Variable(variable) if page || list() => {
                let name = variable.clone();
                return Rows::Variable { name, otherwise };
            }
            InputValue::List(values) if list() => {
                return Rows::Fixed((values.len() as u64).max(1));
            }
            _ => {}
        }
    }
    Rows::Fixed(otherwise)
}

fn is_leaf(selection: &Selection) -> bool {
    matches!(selection, Selection::Field(field) if field.node.selection_set.node.items.is_empty())
}
