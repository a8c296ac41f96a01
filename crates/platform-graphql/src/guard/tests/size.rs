//! Nesting, tokens, depth, aliases, fragments, and what they multiply to.

use super::zoo::{checker, run, word, word_with};
use super::{FINE, INVALID, LARGE, SYNTAX, UNKNOWN};
use crate::guard::{Limits, Open, Work, check, prepare};

#[test]
fn ordinary_documents_pass() {
    assert_eq!(
        word("{ dogs(first: 3) { ...D } } fragment D on Dog { name }"),
        FINE
    );
    assert_eq!(
        word("query A { __typename pet { ... on Dog { barks } } }"),
        FINE
    );
    assert_eq!(word("mutation { x: set(to: 1) y: set(to: 2) }"), FINE);
}

#[test]
fn six_kilobytes_of_brackets_are_refused_before_parsing() {
    for open in ["[", "{a:", "[[{a:"] {
        let text = format!("{{ numbers(of: {}", open.repeat(6_000 / open.len()));
        assert_eq!(word(&text), LARGE);
    }
    let (open, close) = ("[".repeat(3_000), "]".repeat(3_000));
    assert_eq!(word(&format!("query($a: {open}Int{close}) {{ a }}")), LARGE);
}

#[test]
fn brackets_in_strings_and_comments_do_not_count() {
    let many = "[{(".repeat(100);
    let text = format!(
        "# {many}\n{{ a: echo(text: \"\\\"{many}\") b: echo(text: \"\"\"{many} \\\"\"\" \" {many}\"\"\") }}"
    );
    assert_eq!(word(&text), FINE);
}

#[test]
fn an_unclosed_string_hides_no_brackets() {
    for quote in ["\"", "\"\"\""] {
        let text = format!("{{ echo(text: {quote} {}", "[".repeat(5_000));
        assert_eq!(word(&text), SYNTAX);
    }
}

#[test]
fn a_syntax_error_repeats_nothing_of_the_document() {
    let text = format!("{{ echo(text: \"{}\" ", "secret".repeat(1_000));
    let (checker, limits) = (checker(Open::ALL), Limits::default());
    let refusal = run(&checker, &text, "{}", &limits, &mut Work::default()).unwrap_err();
    assert_eq!(refusal.word, SYNTAX);
    assert!(!refusal.message.contains("secret") && refusal.message.len() < 200);
    assert!(!refusal.locations.is_empty());
}

#[test]
fn doubling_fragments_are_counted_once_each() {
    // 2 to the power of 28 fields.
    let mut text = String::from("{ ...F0 } ");
    for level in 0..28 {
        let next = level + 1;
        text += &format!("fragment F{level} on Query {{ ...F{next} ...F{next} }} ");
    }
    text += "fragment F28 on Query { __typename }";
    let (checker, limits) = (checker(Open::ALL), Limits::default());
    let mut work = Work::default();
    let refusal = run(&checker, &text, "{}", &limits, &mut work).unwrap_err();
    assert_eq!(refusal.word, LARGE);
    assert!(work.counted < work.tokens, "{work:?}");
}

#[test]
fn fragments_in_a_circle_are_refused() {
    let text = "{ ...A } fragment A on Query { ...B ...B } fragment B on Query { ...A ...A }";
    assert_eq!(word(text), INVALID);
    assert_eq!(word("{ __typename } fragment A on Query { ...A }"), INVALID);
}

#[test]
fn a_long_chain_of_fragments_is_refused() {
    let mut text = String::from("{ ...F0 } fragment F400 on Query { __typename }");
    for level in 0..400 {
        text += &format!("fragment F{level} on Query {{ ...F{} }}", level + 1);
    }
    assert_eq!(word(&text), LARGE);
}

#[test]
fn aliases_roots_depth_names_and_tokens_have_limits() {
    let aliases: String = (0..300).map(|i| format!("a{i}: name ")).collect();
    assert_eq!(word(&format!("{{ cat {{ {aliases} }} }}")), LARGE);
    let roots: String = (0..30).map(|i| format!("a{i}: cat {{ name }} ")).collect();
    assert_eq!(word(&format!("{{ {roots} }}")), LARGE);
    let friends = |n: usize| {
        let (open, close) = ("friend {".repeat(n), "}".repeat(n));
        format!("{{ pet {{ {open} name {close} }} }}")
    };
    assert_eq!(word(&friends(40)), LARGE);
    assert_eq!(word(&friends(20)), FINE);
    assert_eq!(word(&format!("{{ {} }}", "a".repeat(500))), LARGE);
    assert_eq!(word(&"{ cat { name } } ".repeat(1_500)), LARGE);
}

#[test]
fn spreads_hide_no_roots_and_no_aliases() {
    let spreads = "...F ".repeat(11);
    let fragment = "fragment F on Query { a: cat { name } b: cat { name } }";
    assert_eq!(word(&format!("{{ {spreads} }} {fragment}")), LARGE);
    let inner = "...C ".repeat(110);
    let fragment = "fragment C on Cat { a: name b: name }";
    assert_eq!(word(&format!("{{ cat {{ {inner} }} }} {fragment}")), LARGE);
}

#[test]
fn ten_thousand_variables_are_refused() {
    for (count, expected) in [(10_000, LARGE), (101, LARGE)] {
        let defined: String = (0..count).map(|i| format!("$v{i}:Int ")).collect();
        assert_eq!(
            word(&format!("query({defined}) {{ __typename }}")),
            expected
        );
    }
    let given: Vec<_> = (0..10_000).map(|i| format!("\"v{i}\": 1")).collect();
    let given = format!("{{{}}}", given.join(","));
    assert_eq!(word_with("{ __typename }", &given), super::INPUT);
}

#[test]
fn rows_of_lists_multiply() {
    let nested = "{ dogs(first: 100) { puppies(first: 100) { puppies(first: 100) { name } } } }";
    assert_eq!(word(nested), LARGE);
    let cost = |text, variables| {
        let (checker, limits) = (checker(Open::ALL), Limits::default());
        let mut work = Work::default();
        run(&checker, text, variables, &limits, &mut work).unwrap()
    };
    assert_eq!(
        cost("{ dogs(first: 100) { name barks } }", "{}"),
        1 + 100 * 2
    );
    // A page whose size is not said has 20 rows.
    assert_eq!(
        cost("{ dogs { puppies { name } } }", "{}"),
        1 + 20 * (1 + 20)
    );
    assert_eq!(cost("{ many(ids: [\"a\", \"b\"]) { name } }", "{}"), 1 + 2);
    let listed = "query($i: [String!]!) { many(ids: $i) { name } }";
    assert_eq!(cost(listed, r#"{"i": ["a", "b", "c"]}"#), 1 + 3);
    let paged = "query($n: Int) { dogs(first: $n) { ...D } } fragment D on Dog { puppies(first: $n) { name } }";
    assert_eq!(cost(paged, r#"{"n": 50}"#), 1 + 50 * (1 + 50));
    assert_eq!(cost(paged, "{}"), 1 + 20 * (1 + 20));
    assert_eq!(word_with(paged, r#"{"n": 1000}"#), LARGE);
    let defaulted = paged.replace("$n: Int", "$n: Int = 1000");
    assert_eq!(word(&defaulted), LARGE);
}

#[test]
fn one_large_variable_used_often_is_refused() {
    let uses: String = (0..15)
        .map(|i| format!("a{i}: numbers(of: $of) "))
        .collect();
    let text = format!("query($of: [Int!]) {{ {uses} }}");
    let large = format!("{{\"of\": {:?}}}", vec![1; 900]);
    assert_eq!(word_with(&text, &large), LARGE);
    assert_eq!(word_with(&text, r#"{"of": [1, 2]}"#), FINE);
}

#[test]
fn lists_have_a_limit_in_the_document_and_in_variables() {
    let list = format!("{:?}", vec![1; 1_001]);
    assert_eq!(word(&format!("{{ numbers(of: {list}) }}")), LARGE);
    let text = "query($of: [Int!]) { numbers(of: $of) }";
    assert_eq!(
        word_with(text, &format!("{{\"of\": {list}}}")),
        super::INPUT
    );
}

#[test]
fn operations_are_chosen_by_name() {
    let checker = checker(Open::ALL);
    let limits = Limits::default();
    let two = "query A { __typename } mutation B { bump }";
    let (_, facts) = check(two, &checker, &limits, &mut Work::default()).unwrap();
    let choose = |name| {
        let none = Default::default();
        prepare(&facts, name, none, &checker, &limits, &mut Work::default())
    };
    let kind = choose(Some("B")).map(|chosen| chosen.kind.to_string());
    assert_eq!(kind.unwrap(), "mutation");
    for bad in [None, Some("C"), Some("")] {
        assert_eq!(choose(bad).err().unwrap().word, UNKNOWN);
    }
}

#[test]
fn the_schema_describes_itself_only_where_it_may() {
    let text = "{ __schema { queryType { name } } }";
    let inner = "{ ...F } fragment F on Query { __type(name: \"Dog\") { name } }";
    assert_eq!((word(text), word(inner)), (FINE, FINE));
    let closed = checker(Open::NOTHING);
    for text in [text, inner] {
        let refusal = run(
            &closed,
            text,
            "{}",
            &Limits::default(),
            &mut Work::default(),
        );
        assert_eq!(refusal.unwrap_err().word, INVALID);
    }
    run(
        &closed,
        "{ __typename }",
        "{}",
        &Limits::default(),
        &mut Work::default(),
    )
    .unwrap();
}

#[test]
fn lists_of_the_description_do_not_nest() {
    let usual = "{ __schema { types { fields { type { ofType { ofType { name } } } } } } }";
    assert_eq!(word(usual), FINE);
    let nested = "{ __schema { types { ...T } } } fragment T on __Type { fields { type { fields { type { fields { name } } } } } }";
    assert_eq!(word(nested), LARGE);
}
