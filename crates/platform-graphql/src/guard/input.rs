//! Values against their types: variables as the specification coerces them, and literals.

use std::collections::HashSet;

use async_graphql::parser::types::{
    BaseType, ExecutableDocument, OperationDefinition, Type, VariableDefinition,
};
use async_graphql::registry::{MetaInputValue, MetaType, MetaTypeName, Registry};
use async_graphql::{Name, Number, Pos, Value, Variables};
use async_graphql_value::Value as InputValue;

use super::count::{Argument, Counted};
use super::{Checker, Limits};
use crate::refusal::{Refusal, RequestReason};

/// A variable that an operation defines.
pub(super) struct Variable {
    name: Name,
    ty: String,
    /// Coerced.
    default: Option<Value>,
    pos: Pos,
}

/// Reads the definitions; the rules of the library have been kept by then.
pub(super) fn definitions(
    operation: &OperationDefinition,
    checker: &Checker,
) -> Result<Vec<Variable>, Refusal> {
    let inputs = Inputs {
        registry: checker.registry(),
        list_max: usize::MAX,
    };
    let mut variables = Vec::with_capacity(operation.variable_definitions.len());
    for definition in &operation.variable_definitions {
        let (pos, definition) = (definition.pos, &definition.node);
        let ty = definition.var_type.node.to_string();
        let default = match &definition.default_value {
            Some(default) => {
                let literal = default.node.clone().into_value();
                let checked = inputs
                    .literal(Place::inside(&ty), &literal, None)
                    .and_then(|()| inputs.value(&ty, default.node.clone()));
                Some(checked.map_err(|fault| {
                    let subject = format!("the default of \"${}\"", definition.name.node);
                    fault.refusal(
                        RequestReason::GraphqlDocumentInvalid,
                        &subject,
                        checker,
                        pos,
                    )
                })?)
            }
            None => None,
        };
        variables.push(Variable {
            name: definition.name.node.clone(),
            ty,
            default,
            pos,
        });
    }
    Ok(variables)
}

/// Checks arguments against their types: the rules of the library overlook literals with variables
/// inside, strings for enums, integers that are too large, and where variables are used.
pub(super) fn arguments(
    counted: &Counted<'_>,
    document: &ExecutableDocument,
    checker: &Checker,
) -> Result<(), Refusal> {
    let inputs = Inputs {
        registry: checker.registry(),
        list_max: usize::MAX,
    };
    let check = |argument: &Argument<'_>, operation| {
        let checked = inputs.literal(Place::of(argument.meta), argument.value, operation);
        checked.map_err(|fault| {
            let subject = format!("the argument \"{}\"", argument.name.node);
            let reason = RequestReason::GraphqlDocumentInvalid;
            fault.refusal(reason, &subject, checker, argument.name.pos)
        })
    };
    let scopes = || {
        counted
            .scopes
            .iter()
            .chain(counted.fragment_scopes.values())
    };
    let mut constant = scopes().flat_map(|scope| scope.arguments.iter().filter(|it| it.constant));
    constant.try_for_each(|argument| check(argument, None))?;
    // The others depend on the variables of the operation that reaches them.
    for ((_, operation), scope) in document.operations.iter().zip(&counted.scopes) {
        let (mut reached, mut found) = (HashSet::new(), vec![scope]);
        while let Some(scope) = found.pop() {
            for argument in scope.arguments.iter().filter(|it| !it.constant) {
                check(argument, Some(&operation.node))?;
            }
            let new = scope.spreads.iter().filter(|name| reached.insert(**name));
            found.extend(new.filter_map(|name| counted.fragment_scopes.get(name)));
        }
    }
    Ok(())
}

/// Coerces what is given for the variables: fills in defaults (`@skip` and `@include` would not
/// see them otherwise), and drops what the operation does not define.
pub(super) fn coerce(
    definitions: &[Variable],
    mut given: Variables,
    checker: &Checker,
    limits: &Limits,
) -> Result<Variables, Refusal> {
    if given.len() > limits.variables {
        let message = format!("more than {} variables are given", limits.variables);
        return Err(Refusal::bad(RequestReason::GraphqlInputInvalid, message));
    }
    let inputs = Inputs {
        registry: checker.registry(),
        list_max: limits.list,
    };
    let mut coerced = Variables::default();
    for definition in definitions {
        let value = match (given.remove(&definition.name), &definition.default) {
            (Some(value), _) => inputs.value(&definition.ty, value),
            (None, Some(default)) => Ok(default.clone()),
            (None, None) if definition.ty.ends_with('!') => Err(Fault::new(What::Missing)),
            (None, None) => continue,
        };
        let value = value.map_err(|fault| {
            let subject = format!("the variable \"${}\"", definition.name);
            let reason = RequestReason::GraphqlInputInvalid;
            fault.refusal(reason, &subject, checker, definition.pos)
        })?;
        coerced.insert(definition.name.clone(), value);
    }
    Ok(coerced)
}

/// How a value does not fit.
struct Fault {
    what: What,
    /// From the inside out.
    path: Vec<String>,
}

enum What {
    Missing,
    Null,
    /// The type that it should be of.
    Type(String),
    /// A field, and its type.
    FieldMissing(String, String),
    FieldUnknown(String),
    /// A variable, its type, and the one that it should be of.
    Variable(String, String, String),
    NotOne,
    TooLong(usize),
}

impl Fault {
    fn new(what: What) -> Fault {
        Fault {
            what,
            path: Vec::new(),
        }
    }

    fn inside(mut self, step: impl ToString) -> Fault {
        self.path.push(step.to_string());
        self
    }

    /// In words; those that only the schema has are left out unless they may be told.
    fn refusal(self, reason: RequestReason, subject: &str, checker: &Checker, pos: Pos) -> Refusal {
        let mut message = subject.to_owned();
        if !self.path.is_empty() {
            let steps: Vec<_> = self.path.into_iter().rev().collect();
            message += &format!(" at \"{}\"", steps.join("."));
        }
        let open = checker.open().suggestions;
        message += &match self.what {
            What::Missing => " needs a value".to_owned(),
            What::Null => " must not be null".to_owned(),
            What::Type(ty) if open => format!(" is not of type \"{ty}\""),
            What::Type(_) => " is not of its type".to_owned(),
            What::FieldMissing(name, ty) if open => {
                format!(" lacks the field \"{name}\" of type \"{ty}\"")
            }
            What::FieldMissing(..) => " lacks a field".to_owned(),
            What::FieldUnknown(name) => format!(" has no field \"{name}\""),
            What::Variable(name, ty, place) if open => {
                format!(" is of type \"{place}\" and does not take \"${name}\" of type \"{ty}\"")
            }
            What::Variable(name, ..) => format!(" does not take \"${name}\""),
            What::NotOne => " must have one field, and that not null".to_owned(),
            What::TooLong(max) => {
                let message = format!("{message} has more than {max} values");
                return Refusal::bad(reason, message).at(pos);
            }
        };
        Refusal::bad(reason, message).at(pos)
    }
}

struct Inputs<'a> {
    registry: &'a Registry,
    list_max: usize,
}

impl Inputs<'_> {
    /// The value of a variable, as JSON has it.
    fn value(&self, ty: &str, value: Value) -> Result<Value, Fault> {
        let named = match (MetaTypeName::create(ty), value) {
            (MetaTypeName::NonNull(_), Value::Null) => return Err(Fault::new(What::Null)),
            (MetaTypeName::NonNull(ty), value) => return self.value(ty, value),
            (_, Value::Null) => return Ok(Value::Null),
            (MetaTypeName::List(ty), Value::List(values)) => {
                if values.len() > self.list_max {
                    return Err(Fault::new(What::TooLong(self.list_max)));
                }
                let values = values.into_iter().enumerate().map(|(index, value)| {
                    self.value(ty, value).map_err(|fault| fault.inside(index))
                });
                return Ok(Value::List(values.collect::<Result<_, _>>()?));
            }
            (MetaTypeName::List(ty), value) => {
                return Ok(Value::List(vec![self.value(ty, value)?]));
            }
            (MetaTypeName::Named(_), value) => value,
        };
        let wrong = || Fault::new(What::Type(ty.to_owned()));
        let MetaType::InputObject {
            input_fields,
            oneof,
            ..
        } = self.registry.types.get(ty).ok_or_else(wrong)?
        else {
            return match named {
                // JSON has one kind of number.
                Value::Number(number) if ty == "Int" => {
                    let whole = number.as_i64().or_else(|| whole(&number));
                    let whole = whole.and_then(|whole| i32::try_from(whole).ok());
                    whole.map(Value::from).ok_or_else(wrong)
                }
                Value::String(name) if self.is_enum(ty) => {
                    self.leaf(ty, &Value::Enum(Name::new(&name)))?;
                    Ok(Value::Enum(Name::new(name)))
                }
                value => self.leaf(ty, &value).map(|()| value),
            };
        };
        let Value::Object(mut fields) = named else {
            return Err(wrong());
        };
        if let Some(unknown) = fields
            .keys()
            .find(|name| !input_fields.contains_key(name.as_str()))
        {
            return Err(Fault::new(What::FieldUnknown(brief(unknown))));
        }
        if *oneof && (fields.len() != 1 || fields[0] == Value::Null) {
            return Err(Fault::new(What::NotOne));
        }
        for field in input_fields.values() {
            match fields.get_mut(field.name.as_str()) {
                Some(value) => {
                    let checked = self.value(&field.ty, std::mem::take(value));
                    *value = checked.map_err(|fault| fault.inside(&field.name))?;
                }
                None => missing(field)?,
            }
        }
        Ok(Value::Object(fields))
    }

    /// A value in the document, in an operation if variables can be in it.
    fn literal(
        &self,
        place: Place<'_>,
        value: &InputValue,
        operation: Option<&OperationDefinition>,
    ) -> Result<(), Fault> {
        let inside = |ty, value| self.literal(Place::inside(ty), value, operation);
        let ty = match (MetaTypeName::create(place.ty), value) {
            (_, InputValue::Variable(name)) => return place.takes(name, operation),
            (MetaTypeName::NonNull(_), InputValue::Null) => return Err(Fault::new(What::Null)),
            (MetaTypeName::NonNull(ty), value) => return inside(ty, value),
            (_, InputValue::Null) => return Ok(()),
            (MetaTypeName::List(ty), InputValue::List(values)) => {
                let mut values = values.iter().enumerate();
                return values.try_for_each(|(index, value)| {
                    inside(ty, value).map_err(|fault| fault.inside(index))
                });
            }
            (MetaTypeName::List(ty), value) => return inside(ty, value),
            (MetaTypeName::Named(ty), _) => ty,
        };
        let wrong = || Fault::new(What::Type(ty.to_owned()));
        let MetaType::InputObject {
            input_fields,
            oneof,
            ..
        } = self.registry.types.get(ty).ok_or_else(wrong)?
        else {
            // A custom scalar with variables inside shows its value only when it is executed.
            return match value.clone().into_const() {
                Some(value) => self.leaf(ty, &value),
                None => Ok(()),
            };
        };
        let InputValue::Object(fields) = value else {
            return Err(wrong());
        };
        if let Some(unknown) = fields
            .keys()
            .find(|name| !input_fields.contains_key(name.as_str()))
        {
            return Err(Fault::new(What::FieldUnknown(brief(unknown))));
        }
        if *oneof && !is_one(fields.values(), operation) {
            return Err(Fault::new(What::NotOne));
        }
        for field in input_fields.values() {
            match fields.get(field.name.as_str()) {
                Some(value) => {
                    let checked = self.literal(Place::of(field), value, operation);
                    checked.map_err(|fault| fault.inside(&field.name))?;
                }
                None => missing(field)?,
            }
        }
        Ok(())
    }

    fn is_enum(&self, ty: &str) -> bool {
        matches!(self.registry.types.get(ty), Some(MetaType::Enum { .. }))
    }

    /// A scalar or enum. The library says of `Int` what the Rust type says that was registered
    /// first, so that is decided here.
    fn leaf(&self, ty: &str, value: &Value) -> Result<(), Fault> {
        let fits = match (self.registry.types.get(ty), value) {
            (Some(MetaType::Scalar { .. }), Value::Number(number)) if ty == "Int" => number
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok()),
            (Some(MetaType::Scalar { .. }), _) if ty == "Int" => false,
            (Some(MetaType::Scalar { is_valid, .. }), value) => {
                is_valid.as_ref().is_none_or(|is_valid| is_valid(value))
            }
            (Some(MetaType::Enum { enum_values, .. }), Value::Enum(name)) => {
                enum_values.contains_key(name.as_str())
            }
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            Err(Fault::new(What::Type(ty.to_owned())))
        }
    }
}

/// `3.0` for 3, which some writers of JSON send.
fn whole(number: &Number) -> Option<i64> {
    let number = number.as_f64()?;
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

fn missing(field: &MetaInputValue) -> Result<(), Fault> {
    if field.ty.ends_with('!') && field.default_value.is_none() {
        let (name, ty) = (field.name.clone(), field.ty.clone());
        return Err(Fault::new(What::FieldMissing(name, ty)));
    }
    Ok(())
}

/// Exactly one field, which cannot be null.
fn is_one<'a>(
    mut values: impl ExactSizeIterator<Item = &'a InputValue>,
    operation: Option<&OperationDefinition>,
) -> bool {
    values.len() == 1
        && values.all(|value| match value {
            InputValue::Null => false,
            InputValue::Variable(name) => definition(operation, name)
                .is_none_or(|definition| !definition.var_type.node.nullable),
            _ => true,
        })
}

/// What is not defined is for the rules of the library to name.
fn definition<'a>(
    operation: Option<&'a OperationDefinition>,
    variable: &Name,
) -> Option<&'a VariableDefinition> {
    let definitions = &operation?.variable_definitions;
    let mut definitions = definitions.iter().map(|definition| &definition.node);
    definitions.find(|definition| definition.name.node == *variable)
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    ty: &'a str,
    has_default: bool,
}

impl<'a> Place<'a> {
    fn of(meta: &'a MetaInputValue) -> Place<'a> {
        Place {
            ty: &meta.ty,
            has_default: meta.default_value.is_some(),
        }
    }

    fn inside(ty: &'a str) -> Place<'a> {
        Place {
            ty,
            has_default: false,
        }
    }

    /// The specification's "all variable usages are allowed".
    fn takes(&self, name: &Name, operation: Option<&OperationDefinition>) -> Result<(), Fault> {
        let Some(definition) = definition(operation, name) else {
            return Ok(());
        };
        let default = definition.default_value.as_ref();
        let filled = self.has_default || default.is_some_and(|it| it.node != Value::Null);
        let ty = &definition.var_type.node;
        let place = match MetaTypeName::create(self.ty) {
            MetaTypeName::NonNull(inner) if ty.nullable && filled => inner,
            _ => self.ty,
        };
        if fits(ty, place) {
            return Ok(());
        }
        let (name, place) = (name.to_string(), self.ty.to_owned());
        Err(Fault::new(What::Variable(name, ty.to_string(), place)))
    }
}

fn fits(ty: &Type, place: &str) -> bool {
    match (MetaTypeName::create(place), &ty.base) {
        (MetaTypeName::NonNull(place), _) if !ty.nullable => fits(ty, place),
        (MetaTypeName::List(place), BaseType::List(ty)) => fits(ty, place),
        (MetaTypeName::Named(place), BaseType::Named(ty)) => ty == place,
        _ => false,
    }
}

/// The beginning of a name that a client made up.
fn brief(name: &str) -> String {
    name.chars().take(64).collect()
}
