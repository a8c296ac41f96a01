//! Spans of SQL statements.
//!
//! sqlx has no spans, but says in an event of the log what each statement was and how long it took, in the task
//! that has asked. That a statement failed it does not say: the span of the call around it does.

use std::{fmt, time::Duration};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, filter::filter_fn, layer::Context, registry::LookupSpan};

use super::{Kind, Span};

/// The target of the events of sqlx.
const TARGET: &str = "sqlx::query";

/// A layer of the log that makes a span of each statement within a trace.
pub fn statements<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = filter_fn(|metadata| metadata.target() == TARGET);
    Statements.with_filter(filter.with_max_level_hint(LevelFilter::DEBUG))
}

struct Statements;

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        Span::within(Kind::Client, |span| {
            let mut said = Said::default();
            event.record(&mut said);
            let sql = match said.statement.is_empty() {
                true => &said.summary,
                false => &said.statement,
            };
            let (operation, table) = gist(sql);
            span.began(Duration::try_from_secs_f64(said.seconds).unwrap_or_default());
            span.set("db.system.name", "postgresql");
            match table {
                Some(table) => {
                    span.name(format!("{operation} {table}"));
                    span.set("db.collection.name", table.to_owned());
                }
                None => span.name(operation.clone()),
            }
            span.set("db.operation.name", operation);
        })
        .end();
    }
}

#[derive(Default)]
struct Said {
    /// The whole statement, if it is short.
    summary: String,
    /// The whole statement, if it is long.
    statement: String,
    seconds: f64,
}

impl Visit for Said {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.seconds = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The first word of a statement, and the first table that it names. Nothing else leaves the process: a
/// statement may hold values.
fn gist(sql: &str) -> (String, Option<&str>) {
    let mut words = sql.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    let letters = first.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    let operation = match letters.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        true => letters.to_ascii_uppercase(),
        false => "OTHER".to_owned(),
    };
    let mut before = first;
    for word in words {
        let leads = ["FROM", "INTO", "UPDATE"].contains(&before);
        before = word;
        let name = word.trim_end_matches([',', ';', ')']);
        let mut letters = name.bytes();
        if leads
            && letters.next().is_some_and(|byte| byte.is_ascii_lowercase())
            && letters.all(|byte| byte.is_ascii_lowercase() || b"_.".contains(&byte))
        {
            return (operation, Some(name));
        }
    }
    (operation, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_told_by_its_first_word_and_its_first_table() {
        for (sql, operation, table) in [
            (
                "SELECT id\nFROM offers\nWHERE a = 'b'",
                "SELECT",
                Some("offers"),
            ),
            (
                "INSERT INTO platform.outbox (a) VALUES ($1)",
                "INSERT",
                Some("platform.outbox"),
            ),
            ("UPDATE tallies SET up = 1", "UPDATE", Some("tallies")),
            ("WITH x AS (DELETE FROM a_b) SELECT 1", "WITH", Some("a_b")),
            (
                "SELECT EXISTS (SELECT FROM things)",
                "SELECT",
                Some("things"),
            ),
            ("COMMIT", "COMMIT", None),
            ("ROLLBACK; SELECT 'secret'", "ROLLBACK", None),
            ("SELECT FROM 'secret'", "SELECT", None),
            ("SELECT FROM Secret", "SELECT", None),
            ("'secret'", "OTHER", None),
            ("", "", None),
        ] {
            assert_eq!(gist(sql), (operation.to_owned(), table), "{sql}");
        }
    }
}
