//! Checks before execution, against documents that abort or hang the library behind them.
//!
//! In this order: [`nesting`] on the text before it is parsed, then on the parsed document
//! [`variables`], [`expansion`] and [`roots`]. Each does bounded work on any input.

mod expansion;
mod nesting;
mod roots;
mod variables;

use async_graphql::Variables;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType,
};
use async_graphql::parser::{Positioned, parse_query};

use crate::refusal::{Refusal, RequestReason};

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
            root_fields: 20,
            aliases: 200,
            weight: 5_000,
            cost: 50_000,
            errors: 50,
            message_chars: 500,
        }
    }
}

/// A document that is safe to execute.
pub(crate) struct Checked {
    pub(crate) document: ExecutableDocument,
    pub(crate) kind: OperationType,
    /// With defaults filled in, and nothing that the operation does not define.
    pub(crate) variables: Variables,
}

/// Parses `text` and refuses what the limits do not allow.
pub(crate) fn check(
    text: &str,
    operation_name: Option<&str>,
    mut variables: Variables,
    limits: &Limits,
) -> Result<Checked, Refusal> {
    nesting::check(text, limits)?;
    let document = parse_query(text).map_err(|error| {
        let mut refusal = Refusal::bad(RequestReason::SyntaxInvalid, error.to_string());
        refusal.locations = error.positions().collect();
        refusal
    })?;
    let operation = select(&document, operation_name)?;
    variables::coerce(operation, &mut variables, limits)?;
    expansion::check(&document, &variables, limits)?;
    roots::check(&document, operation, limits)?;
    let kind = operation.node.ty;
    Ok(Checked {
        document,
        kind,
        variables,
    })
}

fn select<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Result<&'a Positioned<OperationDefinition>, Refusal> {
    let unknown = |message: String| Refusal::bad(RequestReason::OperationUnknown, message);
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Ok(operation),
        (DocumentOperations::Single(_), Some(name)) => {
            Err(unknown(format!("the document has no operation {name:?}")))
        }
        (DocumentOperations::Multiple(operations), Some(name)) => operations
            .get(name)
            .ok_or_else(|| unknown(format!("the document has no operation {name:?}"))),
        (DocumentOperations::Multiple(operations), None) => {
            let mut all = operations.values();
            match (all.next(), all.next()) {
                (Some(operation), None) => Ok(operation),
                _ => Err(unknown("name one of the document's operations".to_owned())),
            }
        }
    }
}

fn too_large(message: impl Into<String>) -> Refusal {
    Refusal::bad(RequestReason::DocumentTooLarge, message)
}

#[cfg(test)]
mod tests {
    use async_graphql::Value;

    use super::*;

    fn check_text(text: &str) -> Result<Checked, Refusal> {
        check(text, None, Variables::default(), &Limits::default())
    }

    fn refused(text: &str) -> Refusal {
        check_text(text)
            .err()
            .unwrap_or_else(|| panic!("not refused: {text:.200}"))
    }

    #[test]
    fn an_ordinary_document_passes() {
        let checked =
            check_text("query A($a: Int = 3) { b(a: $a) { c ...D } } fragment D on E { f }")
                .unwrap();
        assert_eq!(checked.kind, OperationType::Query);
        assert_eq!(checked.variables["a"], Value::from(3));
    }

    #[test]
    fn six_kilobytes_of_brackets_are_refused_before_parsing() {
        for open in ["[", "{a:", "[[{a:"] {
            let text = format!("{{ a(b: {}", open.repeat(6_000 / open.len()));
            assert_eq!(refused(&text).word, "GRAPHQL_DOCUMENT_TOO_LARGE");
        }
        let types = format!(
            "query($a: {}Int{}) {{ a }}",
            "[".repeat(3_000),
            "]".repeat(3_000)
        );
        assert_eq!(refused(&types).word, "GRAPHQL_DOCUMENT_TOO_LARGE");
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        let many = "[{(".repeat(100);
        let text = format!(
            "# {many}\n{{ a(b: \"\\\"{many}\", c: \"\"\"{many} \\\"\"\" \" {many}\"\"\") }}"
        );
        check_text(&text).unwrap();
    }

    #[test]
    fn an_unclosed_string_hides_no_brackets() {
        for quote in ["\"", "\"\"\""] {
            let text = format!("{{ a(b: {quote} {}", "[".repeat(5_000));
            assert_eq!(refused(&text).word, "GRAPHQL_SYNTAX_INVALID");
        }
    }

    #[test]
    fn doubling_fragments_are_counted_in_bounded_work() {
        // 2 to the power of 28 fields.
        let mut text = String::from("{ ...F0 } ");
        for level in 0..28 {
            let next = level + 1;
            text += &format!("fragment F{level} on Q {{ ...F{next} ...F{next} }} ");
        }
        text += "fragment F28 on Q { a }";
        let begun = std::time::Instant::now();
        assert_eq!(refused(&text).word, "GRAPHQL_DOCUMENT_TOO_LARGE");
        assert!(begun.elapsed() < std::time::Duration::from_millis(100));
    }

    #[test]
    fn fragments_in_a_circle_are_refused() {
        let text = "{ ...A } fragment A on Q { ...B ...B } fragment B on Q { ...A ...A }";
        assert_eq!(refused(text).word, "GRAPHQL_DOCUMENT_INVALID");
        let unused = "{ a } fragment A on Q { ...A }";
        assert_eq!(refused(unused).word, "GRAPHQL_DOCUMENT_INVALID");
    }

    #[test]
    fn a_long_chain_of_fragments_is_refused() {
        let mut text = String::from("{ ...F0 } fragment F400 on Q { a }");
        for level in 0..400 {
            text += &format!("fragment F{level} on Q {{ ...F{} }}", level + 1);
        }
        assert_eq!(refused(&text).word, "GRAPHQL_DOCUMENT_TOO_LARGE");
    }

    #[test]
    fn ten_thousand_variables_are_refused() {
        let definitions: String = (0..10_000).map(|i| format!("$v{i}:Int ")).collect();
        assert_eq!(
            refused(&format!("query({definitions}) {{ a }}")).word,
            "GRAPHQL_DOCUMENT_TOO_LARGE"
        );

        let few: String = (0..101).map(|i| format!("$v{i}:Int ")).collect();
        assert_eq!(
            refused(&format!("query({few}) {{ a }}")).word,
            "GRAPHQL_DOCUMENT_TOO_LARGE"
        );

        let given = (0..10_000).map(|i| (async_graphql::Name::new(format!("v{i}")), Value::Null));
        let given = Variables::from_value(Value::Object(given.collect()));
        let refusal = check("{ a }", None, given, &Limits::default())
            .err()
            .unwrap();
        assert_eq!(refusal.word, "GRAPHQL_INPUT_INVALID");
    }

    #[test]
    fn one_large_variable_used_often_is_refused() {
        let uses: String = (0..150).map(|i| format!("a{i}: a(b: $b) ")).collect();
        let text = format!("query($b: [Int]) {{ {uses} }}");
        let large = Value::List((0..10_000).map(Value::from).collect());
        let given = Variables::from_value(Value::Object(
            [(async_graphql::Name::new("b"), large)]
                .into_iter()
                .collect(),
        ));
        let limits = Limits {
            root_fields: 1_000,
            ..Limits::default()
        };
        assert_eq!(
            check(&text, None, given, &limits).err().unwrap().word,
            "GRAPHQL_DOCUMENT_TOO_LARGE"
        );
        check(&text, None, Variables::default(), &limits).unwrap();
    }

    #[test]
    fn rows_of_lists_multiply() {
        let nested = "{ a(first: 100) { b(first: 100) { c(first: 100) { d } } } }";
        assert_eq!(refused(nested).word, "GRAPHQL_DOCUMENT_TOO_LARGE");
        check_text("{ a(first: 100) { b(first: 100) { d } } }").unwrap();
    }

    #[test]
    fn missing_and_null_required_variables_are_refused() {
        let text = "query($a: Int!) { a(b: $a) }";
        assert_eq!(refused(text).word, "GRAPHQL_INPUT_INVALID");
        let given = Variables::from_value(Value::Object(
            [(async_graphql::Name::new("a"), Value::Null)]
                .into_iter()
                .collect(),
        ));
        let refusal = check(text, None, given, &Limits::default()).err().unwrap();
        assert_eq!(refusal.word, "GRAPHQL_INPUT_INVALID");
    }

    #[test]
    fn a_repeated_mutation_field_is_refused_however_it_is_written() {
        for text in [
            "mutation { a a }",
            "mutation { a ...A } fragment A on M { a }",
            "mutation { ... { a } ... on M { a } }",
            "mutation { x: a x: b }",
        ] {
            assert_eq!(refused(text).word, "GRAPHQL_DOCUMENT_INVALID", "{text}");
        }
        check_text("mutation { x: a y: a }").unwrap();
        check_text("query { a a }").unwrap();
    }

    #[test]
    fn aliases_roots_and_depth_have_limits() {
        let aliases: String = (0..300).map(|i| format!("a{i}: a ")).collect();
        assert_eq!(
            refused(&format!("{{ b {{ {aliases} }} }}")).word,
            "GRAPHQL_DOCUMENT_TOO_LARGE"
        );
        let roots: String = (0..30).map(|i| format!("a{i} ")).collect();
        assert_eq!(
            refused(&format!("{{ {roots} }}")).word,
            "GRAPHQL_DOCUMENT_TOO_LARGE"
        );
        let deep = format!("{{ {} a {} }}", "a {".repeat(40), "}".repeat(40));
        assert_eq!(refused(&deep).word, "GRAPHQL_DOCUMENT_TOO_LARGE");
        let long = format!("{{ {} }}", "a".repeat(500));
        assert_eq!(refused(&long).word, "GRAPHQL_DOCUMENT_TOO_LARGE");
    }

    #[test]
    fn operations_are_chosen_by_name() {
        let two = "query A { a } mutation B { b }";
        assert_eq!(refused(two).word, "GRAPHQL_OPERATION_UNKNOWN");
        let by_name = |name| check(two, Some(name), Variables::default(), &Limits::default());
        assert_eq!(by_name("B").unwrap().kind, OperationType::Mutation);
        assert_eq!(
            by_name("C").err().unwrap().word,
            "GRAPHQL_OPERATION_UNKNOWN"
        );
    }
}
