//! Variables and literals against their types, and what is told about them.

use async_graphql::Value;
use async_graphql::parser::types::OperationType;

use super::zoo::{self, checker, given, run, word, word_with};
use super::{FINE, INPUT, INVALID};
use crate::Context;
use crate::document::Documents;
use crate::guard::{Limits, Open, Work, check, prepare, schemas};

fn coerced(text: &str, variables: &str) -> Value {
    let (checker, limits) = (checker(Open::ALL), Limits::default());
    let mut work = Work::default();
    let (_, facts) = check(text, &checker, &limits, &mut work).unwrap();
    let given = given(variables);
    let chosen = prepare(&facts, None, given, &checker, &limits, &mut work);
    chosen.unwrap().variables.into_value()
}

fn json(text: &str) -> Value {
    Value::from_json(serde_json::from_str(text).unwrap()).unwrap()
}

#[test]
fn variables_become_values_of_their_types() {
    let numbers = "query($of: [Int!]) { numbers(of: $of) }";
    for (variables, expected) in [
        (r#"{"of": [1, 2]}"#, r#"{"of": [1, 2]}"#),
        (r#"{"of": 1}"#, r#"{"of": [1]}"#),
        (r#"{"of": [3.0]}"#, r#"{"of": [3]}"#),
        (r#"{"of": null}"#, r#"{"of": null}"#),
        (r#"{"other": 1}"#, "{}"),
        ("{}", "{}"),
    ] {
        assert_eq!(coerced(numbers, variables), json(expected), "{variables}");
    }
    let defaulted =
        "query($of: [Int!] = 4, $n: Int = null) { numbers(of: $of) dogs(first: $n) { name } }";
    assert_eq!(coerced(defaulted, "{}"), json(r#"{"of": [4], "n": null}"#));
    assert_eq!(
        coerced(defaulted, r#"{"of": null, "n": 2}"#),
        json(r#"{"of": null, "n": 2}"#)
    );
}

#[test]
fn variables_that_do_not_fit_are_refused() {
    let numbers = "query($of: [Int!]) { numbers(of: $of) }";
    let filter = "query($f: Filter) { dogs(filter: $f) { name } }";
    let find = "query($by: By!) { find(by: $by) { name } }";
    let echo =
        "query($t: String, $on: Boolean, $c: Command) { echo(text: $t, on: $on, command: $c) }";
    for (text, variables) in [
        (numbers, r#"{"of": [null]}"#),
        (numbers, r#"{"of": ["1"]}"#),
        (numbers, r#"{"of": [1.5]}"#),
        (numbers, r#"{"of": [2147483648]}"#),
        (numbers, r#"{"of": [[1]]}"#),
        (numbers, r#"{"of": {"a": 1}}"#),
        (filter, r#"{"f": {}}"#),
        (filter, r#"{"f": {"name": null}}"#),
        (filter, r#"{"f": {"name": "a", "nmae": "a"}}"#),
        (filter, r#"{"f": {"name": "a", "legs": null}}"#),
        (
            filter,
            r#"{"f": {"name": "a", "weight": 9007199254740992}}"#,
        ),
        (filter, r#"{"f": {"name": "a", "weight": "1"}}"#),
        (
            filter,
            r#"{"f": {"name": "a", "commands": ["SIT", "JUMP"]}}"#,
        ),
        (filter, r#"{"f": {"name": "a", "or": {"name": 1}}}"#),
        (filter, r#"{"f": ["a"]}"#),
        (filter, r#"{"f": "a"}"#),
        (find, "{}"),
        (find, r#"{"by": null}"#),
        (find, r#"{"by": {}}"#),
        (find, r#"{"by": {"name": null}}"#),
        (find, r#"{"by": {"name": "a", "chip": 1}}"#),
        (find, r#"{"by": {"name": "a", "chip": null}}"#),
        (echo, r#"{"t": 1}"#),
        (echo, r#"{"on": "true"}"#),
        (echo, r#"{"on": 1}"#),
        (echo, r#"{"c": "sit"}"#),
        (echo, r#"{"c": 1}"#),
        (echo, r#"{"c": ["SIT"]}"#),
    ] {
        assert_eq!(word_with(text, variables), INPUT, "{text} {variables}");
    }
    for (text, variables) in [
        (
            filter,
            r#"{"f": {"name": "a", "weight": 9007199254740991, "commands": "SIT", "or": {"name": "b", "or": null}}}"#,
        ),
        (find, r#"{"by": {"chip": 1}}"#),
        (echo, r#"{"t": "", "on": false, "c": "HEEL"}"#),
        (echo, r#"{"c": null}"#),
    ] {
        assert_eq!(word_with(text, variables), FINE, "{text} {variables}");
    }
}

#[test]
fn literals_that_do_not_fit_are_refused_also_beside_variables() {
    for text in [
        "{ numbers(of: [2147483648]) }",
        "{ numbers(of: 1.0) }",
        "{ echo(command: \"SIT\") }",
        "{ echo(command: JUMP) }",
        "{ echo(text: SIT) }",
        "{ dogs(filter: {legs: 2}) { name } }",
        "query($n: String!) { dogs(filter: {name: $n, legs: \"2\"}) { name } }",
        "query($n: String!) { dogs(filter: {name: $n, tail: 2}) { name } }",
        "query($n: Int!) { dogs(filter: {legs: $n}) { name } }",
        "query($n: String!) { dogs(filter: {name: $n, or: {legs: 2}}) { name } }",
        "query($n: Int) { numbers(of: [$n, \"1\"]) }",
        "query($n: String) { find(by: {name: $n}) { name } }",
        "query($n: String!, $c: Int!) { find(by: {name: $n, chip: $c}) { name } }",
        "{ find(by: {name: \"a\", chip: 1}) { name } }",
        "query($of: [Int!] = [null]) { numbers(of: $of) }",
        "query($of: Int = 2147483648) { numbers(of: [$of]) }",
        "query($c: Command = \"SIT\") { echo(command: $c) }",
    ] {
        assert_eq!(word(text), INVALID, "{text}");
    }
    for (text, variables) in [
        (
            "query($n: String!) { dogs(filter: {name: $n, legs: 2}) { name } }",
            r#"{"n": "a"}"#,
        ),
        (
            "query($n: String!) { find(by: {name: $n}) { name } }",
            r#"{"n": "a"}"#,
        ),
        ("query($c: Command = SIT) { echo(command: $c) }", "{}"),
        ("{ numbers(of: 1) }", "{}"),
    ] {
        assert_eq!(word_with(text, variables), FINE, "{text}");
    }
}

#[test]
fn variables_are_used_where_their_types_fit() {
    for text in [
        "query($x: String) { echo(command: $x) }",
        "query($x: Int) { echo(text: $x) }",
        "query($x: [Int]) { numbers(of: $x) }",
        "query($x: [Int!]) { dogs(first: $x) { name } }",
        "query($x: Int) { numbers(of: [$x]) }",
        "query($x: [String!]) { many(ids: $x) { name } }",
        "query($x: String) { echo @skip(if: $x) }",
        "query($x: Boolean) { echo @skip(if: $x) }",
        "query($x: Boolean = null) { echo @skip(if: $x) }",
        "query($x: Int) { dogs(filter: {name: $x}) { name } }",
        "query($x: String) { dogs(filter: {name: $x}) { name } }",
        "query A($x: Int) { ...F } query B($x: String) { ...F } fragment F on Query { dogs(first: $x) { name } }",
    ] {
        assert_eq!(word(text), INVALID, "{text}");
    }
    for (text, variables) in [
        ("query($x: [Int!]!) { numbers(of: $x) }", r#"{"x": []}"#),
        (
            "query($x: Int!) { numbers(of: [$x]) dogs(first: $x) { name } }",
            r#"{"x": 1}"#,
        ),
        ("query($x: Boolean = true) { echo @skip(if: $x) }", "{}"),
        // Where the place has a default, null is only refused when it comes.
        (
            "query($x: Int) { fallback(of: $x) dogs(filter: {name: \"\", legs: $x}) { name } }",
            "{}",
        ),
    ] {
        assert_eq!(word_with(text, variables), FINE, "{text}");
    }
    // Only where the operation reaches it.
    let two = "query A($x: Int) { ...F } query B($x: String) { echo(text: $x) } fragment F on Query { dogs(first: $x) { name } }";
    assert_eq!(word(two), super::UNKNOWN);
}

async fn answer(text: &str, variables: &str) -> String {
    let (zoo, checker) = schemas(Open::ALL, zoo::recipe);
    let documents = Documents::new(checker, Limits::default());
    let document = documents.get(text).unwrap();
    let prepared = document.prepare(None, given(variables), &Limits::default());
    let prepared = prepared.unwrap();
    assert_eq!(prepared.kind, OperationType::Query);
    let context = Context::new(Ok(platform::auth::Caller::Nobody));
    let answer = zoo.execute(prepared.request(context)).await;
    assert_eq!(answer.errors, []);
    answer.data.into_json().unwrap().to_string()
}

#[tokio::test]
async fn conditions_see_the_defaults_of_variables() {
    let text =
        "query($no: Boolean! = true) { a: fallback @skip(if: $no) b: fallback @include(if: $no) }";
    assert_eq!(answer(text, "{}").await, r#"{"b":20}"#);
    assert_eq!(answer(text, r#"{"no": false}"#).await, r#"{"a":20}"#);
}

#[tokio::test]
async fn a_variable_that_is_not_given_leaves_its_argument_out() {
    let text = "query($to: Int) { patch(to: $to, in: {to: $to, all: [$to]}) ...F } fragment F on Query { b: patch(to: $to) }";
    let left_out = r#"{"b":"undefined","patch":"undefined undefined [null]"}"#;
    assert_eq!(answer(text, "{}").await, left_out);
    let null = r#"{"b":"null","patch":"null null [null]"}"#;
    assert_eq!(answer(text, r#"{"to": null}"#).await, null);
    let one = r#"{"b":"1","patch":"1 1 [1]"}"#;
    assert_eq!(answer(text, r#"{"to": 1}"#).await, one);
    let fallback = "query($of: Int) { ...F } fragment F on Query { fallback(of: $of) }";
    assert_eq!(answer(fallback, "{}").await, r#"{"fallback":20}"#);
}

#[tokio::test]
async fn enums_and_single_values_reach_the_resolver() {
    let text = "query($c: Command, $of: [Int!]) { echo(command: $c) numbers(of: $of) }";
    let variables = r#"{"c": "SIT", "of": 5}"#;
    assert_eq!(
        answer(text, variables).await,
        r#"{"echo":"None None true","numbers":5}"#
    );
}

/// Why this is done here; when it fails, the library has learnt.
#[tokio::test]
async fn the_library_alone_takes_any_variable() {
    let zoo = zoo::recipe().finish();
    let text =
        "query($no: Boolean = true, $n: Int!) { fallback @skip(if: $no) dogs(first: $n) { name } }";
    let answer = zoo.execute(text).await;
    assert_eq!(answer.data.into_json().unwrap()["fallback"], 20);
    let answer = zoo.execute("query($x: String) { echo(command: $x) }").await;
    assert_eq!(answer.errors, []);
}

#[test]
fn closed_schemas_name_nothing_that_was_not_sent() {
    let (open, closed) = (checker(Open::ALL), checker(Open::NOTHING));
    let names: Vec<String> = closed.registry().names();
    let mut told = 0;
    for (text, variables) in [
        ("{ dgos { name } }", "{}"),
        ("{ dogs { nam } }", "{}"),
        ("{ dogs }", "{}"),
        ("{ cat { name { x } } }", "{}"),
        ("{ dogs(frist: 1) { name } }", "{}"),
        ("{ dogs(first: \"1\") { name } }", "{}"),
        ("{ find { name } }", "{}"),
        ("{ find(by: {nam: 1}) { name } }", "{}"),
        ("{ dogs(filter: {}) { name } }", "{}"),
        ("{ dogs(filter: {name: 1}) { name } }", "{}"),
        ("{ echo(command: SITT) }", "{}"),
        ("{ echo(command: \"SIT\") }", "{}"),
        ("query($x: Comand) { echo(command: $x) }", "{}"),
        ("query($x: String) { echo(command: $x) }", "{}"),
        ("query($x: Dog) { echo }", "{}"),
        ("{ pet { ... on Ball { size } } }", "{}"),
        ("{ pet { ... on Bal { size } } }", "{}"),
        ("{ pet { ... on Pet { barks } } }", "{}"),
        ("{ echo @skp }", "{}"),
        ("{ echo @skip }", "{}"),
        ("mutation { bmup }", "{}"),
        ("mutation { set(to: null) }", "{}"),
        ("subscription { tick }", "{}"),
        (
            "query($f: Filter) { dogs(filter: $f) { name } }",
            r#"{"f": {}}"#,
        ),
        (
            "query($f: Filter) { dogs(filter: $f) { name } }",
            r#"{"f": {"nam": 1}}"#,
        ),
        (
            "query($f: Filter) { dogs(filter: $f) { name } }",
            r#"{"f": 1}"#,
        ),
        ("query($b: By!) { find(by: $b) { name } }", r#"{"b": {}}"#),
        (
            "query($c: Command) { echo(command: $c) }",
            r#"{"c": "SITT"}"#,
        ),
    ] {
        let limits = Limits::default();
        let message = |checker| {
            let refusal = run(checker, text, variables, &limits, &mut Work::default());
            refusal.expect_err(text).message
        };
        let sent = words(&format!("{text} {variables}"));
        let leaked = |message: &str| {
            // `name`, `of` and the like are names of the schema and English as well, so only
            // words in quotes count, and those that are no English.
            let quoted = message.split('"').skip(1).step_by(2).flat_map(words);
            let plain = message.split('"').step_by(2).flat_map(words);
            let plain = plain.filter(|word| word.chars().any(char::is_uppercase) && word.len() > 1);
            let plain = plain.filter(|word| word.to_lowercase() != word[1..].to_lowercase());
            let mut words = quoted.chain(plain);
            words.find(|word| names.contains(word) && !sent.contains(word))
        };
        let closed = message(&closed);
        assert_eq!(leaked(&closed), None, "{text}: {closed}");
        told += usize::from(leaked(&message(&open)).is_some());
    }
    // The same errors, where they may be told, do name what was not sent.
    assert!(told > 15, "{told}");
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|char: char| !char.is_alphanumeric() && char != '_');
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}
