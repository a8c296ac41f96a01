//! Documents that somebody would send to do harm, kept as files in `tests/hostile`.
//!
//! The first lines of each say why it is refused, and perhaps with which variables it is sent.
//! `<<28|text>>` stands for 28 times `text`, with `$#` for the number of the repeat and `$+` for
//! the next one.

use std::path::PathBuf;
use std::time::Instant;

use super::zoo::{checker, run};
use crate::error;
use crate::guard::{Limits, Open, Work};

const FILES: usize = 40;
/// Of an answer, whatever was sent.
const BYTES_MAX: usize = 1_200;

struct Hostile {
    name: String,
    word: String,
    text: String,
    variables: String,
}

fn files() -> Vec<Hostile> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file = std::fs::read_to_string(path).unwrap();
        let (word, mut text) = file.split_once('\n').unwrap();
        let word = word.strip_prefix("# ").unwrap().to_owned();
        let mut variables = "{}";
        if let Some(rest) = text.strip_prefix("# variables: ") {
            (variables, text) = rest.split_once('\n').unwrap();
        }
        let (text, variables) = (repeated(text), repeated(variables));
        files.push(Hostile {
            name,
            word,
            text,
            variables,
        });
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files
}

fn repeated(recipe: &str) -> String {
    let mut text = String::new();
    let mut rest = recipe;
    while let Some((before, after)) = rest.split_once("<<") {
        let (count, after) = after.split_once('|').unwrap();
        let (unit, after) = after.split_once(">>").unwrap();
        text += before;
        for index in 0..count.parse().unwrap() {
            let next: usize = index + 1;
            text += &unit
                .replace("$#", &index.to_string())
                .replace("$+", &next.to_string());
        }
        rest = after;
    }
    text + rest
}

#[test]
fn hostile_documents_are_refused_in_bounded_work_with_short_answers() {
    let limits = Limits::default();
    let checkers = [checker(Open::ALL), checker(Open::NOTHING)];
    let files = files();
    assert_eq!(files.len(), FILES);
    for file in &files {
        for checker in &checkers {
            let (mut work, begun) = (Work::default(), Instant::now());
            let refusal = run(checker, &file.text, &file.variables, &limits, &mut work);
            let took = begun.elapsed();
            let refusal = refusal.expect_err(&file.name);
            let answer = serde_json::to_string(&error::entry(&refusal)).unwrap();
            println!(
                "{:7.2} ms {:6} bytes {:5} tokens {:5} counted {:5} merged {:4} answered  {}",
                took.as_secs_f64() * 1e3,
                file.text.len() + file.variables.len(),
                work.tokens,
                work.counted,
                work.merged,
                answer.len(),
                file.name,
            );
            assert_eq!(
                refusal.word, file.word,
                "{}: {}",
                file.name, refusal.message
            );
            // Refused by the length of its text, a document is not looked at at all.
            assert!(work.counted <= 4 * work.tokens, "{}: {work:?}", file.name);
            assert!(work.merged <= 4 * limits.weight, "{}: {work:?}", file.name);
            assert!(answer.len() <= BYTES_MAX, "{}: {answer}", file.name);
        }
    }
}
