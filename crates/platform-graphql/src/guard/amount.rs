//! Sums that depend on variables, put together once and worked out for each request.

use async_graphql::{Name, Value, Variables};

/// A number, or how to get it from variables. What does not depend on any is folded at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Amount {
    Fixed(u64),
    Sum(Vec<Amount>),
    Times(Rows, Box<Amount>),
    /// How much there is of a variable's value.
    Size(Name),
    /// The amount of a fragment, by its place among [`Totals`].
    Fragment(usize),
}

/// How many rows a field can have.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rows {
    Fixed(u64),
    /// As the variable says: its number, or the length of its list.
    Variable {
        name: Name,
        otherwise: u64,
    },
}

impl Amount {
    pub(super) fn plus(&mut self, other: Amount) {
        *self = match (std::mem::replace(self, Amount::Fixed(0)), other) {
            (Amount::Fixed(a), Amount::Fixed(b)) => Amount::Fixed(a.saturating_add(b)),
            (amount, Amount::Fixed(0)) | (Amount::Fixed(0), amount) => amount,
            (Amount::Sum(mut parts), other) => {
                // The fixed part stands first, so that it can be folded.
                match (&mut parts[0], other) {
                    (Amount::Fixed(a), Amount::Fixed(b)) => *a = a.saturating_add(b),
                    (_, fixed @ Amount::Fixed(_)) => parts.insert(0, fixed),
                    (_, Amount::Sum(more)) => {
                        let mut rest = Amount::Sum(parts);
                        more.into_iter().for_each(|part| rest.plus(part));
                        *self = rest;
                        return;
                    }
                    (_, other) => parts.push(other),
                }
                Amount::Sum(parts)
            }
            (one, Amount::Sum(parts)) => {
                *self = Amount::Sum(parts);
                self.plus(one);
                return;
            }
            (one, fixed @ Amount::Fixed(_)) => Amount::Sum(vec![fixed, one]),
            (one, other) => Amount::Sum(vec![one, other]),
        };
    }

    pub(super) fn times(self, rows: Rows) -> Amount {
        match (self, rows) {
            (amount, Rows::Fixed(1)) => amount,
            (Amount::Fixed(0), _) => Amount::Fixed(0),
            (Amount::Fixed(a), Rows::Fixed(b)) => Amount::Fixed(a.saturating_mul(b)),
            (amount, rows) => Amount::Times(rows, Box::new(amount)),
        }
    }

    /// Of the fragment at this place, whose amount is this.
    pub(super) fn of_fragment(place: usize, amount: &Amount) -> Amount {
        match amount {
            Amount::Fixed(amount) => Amount::Fixed(*amount),
            _ => Amount::Fragment(place),
        }
    }

    /// The number for these variables; `fragments` in an order in which each needs earlier ones
    /// only. Each amount is looked at once; `visits` counts.
    pub(super) fn work_out(
        &self,
        fragments: &[Amount],
        variables: &Variables,
        visits: &mut u64,
    ) -> u64 {
        if let Amount::Fixed(amount) = self {
            return *amount;
        }
        let mut known = Vec::with_capacity(fragments.len());
        for fragment in fragments {
            let amount = fragment.value(&known, variables, visits);
            known.push(amount);
        }
        self.value(&known, variables, visits)
    }

    fn value(&self, known: &[u64], variables: &Variables, visits: &mut u64) -> u64 {
        *visits += 1;
        match self {
            Amount::Fixed(amount) => *amount,
            Amount::Sum(parts) => parts
                .iter()
                .map(|part| part.value(known, variables, visits))
                .fold(0, u64::saturating_add),
            Amount::Times(rows, amount) => {
                let rows = match rows {
                    Rows::Fixed(rows) => *rows,
                    Rows::Variable { name, otherwise } => match variables.get(name) {
                        Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
                        Some(Value::List(values)) => values.len() as u64,
                        _ => *otherwise,
                    },
                };
                amount
                    .value(known, variables, visits)
                    .saturating_mul(rows.max(1))
            }
            Amount::Size(name) => variables.get(name).map_or(1, size),
            Amount::Fragment(place) => known[*place],
        }
    }
}

/// A value is copied at each place where it is used.
fn size(value: &Value) -> u64 {
    match value {
        Value::List(values) => 1 + values.iter().map(size).sum::<u64>(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| text_size(name) + size(value));
            1 + fields.sum::<u64>()
        }
        Value::String(text) => text_size(text),
        _ => 1,
    }
}

pub(super) fn text_size(text: &str) -> u64 {
    1 + text.len() as u64 / 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(rows: u64) -> Variables {
        let object = [(Name::new("n"), Value::from(rows))];
        Variables::from_value(Value::Object(object.into_iter().collect()))
    }

    #[test]
    fn what_depends_on_no_variable_is_one_number() {
        let mut amount = Amount::Fixed(2).times(Rows::Fixed(3));
        amount.plus(Amount::Fixed(4));
        assert_eq!(amount, Amount::Fixed(10));
        assert_eq!(Amount::of_fragment(0, &amount), Amount::Fixed(10));
    }

    #[test]
    fn sums_keep_their_value_however_they_are_put_together() {
        let rows = || Rows::Variable {
            name: Name::new("n"),
            otherwise: 20,
        };
        let mut left = Amount::Fixed(1).times(rows());
        left.plus(Amount::Size(Name::new("n")));
        left.plus(Amount::Fixed(5));
        let mut right = Amount::Fixed(7);
        right.plus(left.clone());
        right.plus(left.clone());
        right.plus(Amount::Fragment(0));
        let mut visits = 0;
        let mut of =
            |variables: &Variables| right.work_out(&[left.clone()], variables, &mut visits);
        assert_eq!(of(&variables(3)), 7 + 3 * (3 + 1 + 5));
        assert_eq!(of(&Variables::default()), 7 + 3 * (20 + 1 + 5));
    }
}
