//! Explains the words by which the platform refuses, as `docs/errors.md` lists them.

use std::{fmt::Write as _, fs, process::ExitCode};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::{checkout::Checkout, progress::answer};

/// Made from the protos; a test of `api` holds it against them.
const LIST: &str = "docs/errors.md";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A word such as OFFER_NOT_FOUND; without one, all are listed.
    reason: Option<String>,
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// One case on the whole platform. Programs read this: names stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Reason {
    word: String,
    /// Of gRPC.
    code: String,
    /// A repeat of the same request can succeed.
    retryable: bool,
    cause: String,
    remedy: String,
    said_by: String,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let list = checkout.root.join(LIST);
    let list = fs::read_to_string(&list).with_context(|| format!("cannot read {LIST}"))?;
    let all = parse(&list)?;
    let reasons = match &args.reason {
        None => &all[..],
        Some(word) => std::slice::from_ref(find(&all, word)?),
    };
    let text = match (args.json, args.reason.is_some()) {
        (true, _) => serde_json::to_string_pretty(reasons)?,
        (false, true) => explain(&reasons[0]),
        (false, false) => table(reasons),
    };
    answer(&text);
    Ok(ExitCode::SUCCESS)
}

/// Rows of five cells, under the name of who says them.
fn parse(list: &str) -> anyhow::Result<Vec<Reason>> {
    let mut said_by = "";
    let mut reasons = Vec::new();
    for line in list.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            said_by = name;
        }
        let Some(row) = line.strip_prefix("| `") else {
            continue;
        };
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [word, code, repeat, cause, remedy] = cells[..] else {
            bail!("{LIST} has a row that is not understood: {line}");
        };
        let cell = |text: &str| text.replace("\\|", "|");
        reasons.push(Reason {
            word: word.trim_end_matches('`').to_owned(),
            code: code.to_owned(),
            retryable: repeat == "helps",
            cause: cell(cause),
            remedy: cell(remedy),
            said_by: said_by.to_owned(),
        });
    }
    if reasons.is_empty() {
        bail!("{LIST} lists nothing");
    }
    Ok(reasons)
}

/// The reason of this word, in whatever case it is typed.
fn find<'a>(all: &'a [Reason], word: &str) -> anyhow::Result<&'a Reason> {
    let wanted = word.trim().to_uppercase().replace(['-', ' '], "_");
    if let Some(reason) = all.iter().find(|reason| reason.word == wanted) {
        return Ok(reason);
    }
    let nearest = all
        .iter()
        .map(|reason| (distance(&wanted, &reason.word), &reason.word))
        .min();
    match nearest {
        // Further off it is another word, not a mistyped one.
        Some((distance, nearest)) if distance <= wanted.chars().count() / 2 => {
            bail!("no reason is called {wanted}; the nearest is {nearest}")
        }
        _ => bail!("no reason is called {wanted}; `./homeward errors` lists all"),
    }
}

/// How many characters must be changed, added or taken away (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

fn repeat(reason: &Reason) -> &'static str {
    match reason.retryable {
        true => "helps",
        false => "does not help",
    }
}

fn explain(reason: &Reason) -> String {
    format!(
        "{}\n\ncause     {}\nremedy    {}\ncode      {}\na repeat  {}\nsaid by   {}",
        reason.word,
        reason.cause,
        reason.remedy,
        reason.code,
        repeat(reason),
        reason.said_by
    )
}

fn table(reasons: &[Reason]) -> String {
    let width = |cell: fn(&Reason) -> &str| reasons.iter().map(|reason| cell(reason).len()).max();
    let words = width(|reason| &reason.word).unwrap_or_default();
    let codes = width(|reason| &reason.code).unwrap_or_default();
    let mut text = String::new();
    let mut said_by = "";
    for reason in reasons {
        if reason.said_by != said_by {
            said_by = &reason.said_by;
            let _ = writeln!(text, "\n{said_by}");
        }
        let repeat = if reason.retryable { "repeat" } else { "" };
        let _ = writeln!(
            text,
            "  {:<words$}  {:<codes$}  {repeat:<6}  {}",
            reason.word, reason.code, reason.cause
        );
    }
    text.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = include_str!("../../../docs/errors.md");

    #[test]
    fn every_row_of_the_list_is_read() {
        let all = parse(REAL).unwrap();
        let rows = REAL.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(all.len(), rows);
        for (word, said_by) in [
            ("OVERLOADED", "Every service"),
            ("RATE_EXCEEDED", "The GraphQL endpoint"),
            ("OFFER_RETIRED", "catalog"),
        ] {
            let reason = find(&all, word).unwrap();
            assert_eq!(reason.said_by, said_by);
            assert!(table(&all).contains(&reason.cause));
        }
        assert!(all.iter().all(|reason| !reason.remedy.is_empty()));
        assert!(find(&all, "OVERLOADED").unwrap().retryable);
        assert!(!find(&all, "OFFER_RETIRED").unwrap().retryable);
    }

    #[test]
    fn a_word_is_explained_with_cause_and_remedy() {
        let list = "## catalog\n| `OFFER_RETIRED` | FAILED_PRECONDITION | does not help | Retired \\| gone. | Create one. |\n";
        let all = parse(list).unwrap();
        assert_eq!(
            explain(find(&all, "offer-retired").unwrap()),
            "OFFER_RETIRED\n\ncause     Retired | gone.\nremedy    Create one.\n\
             code      FAILED_PRECONDITION\na repeat  does not help\nsaid by   catalog"
        );
    }

    #[test]
    fn an_unknown_word_suggests_the_nearest() {
        let all = parse(REAL).unwrap();
        let error = |word| find(&all, word).unwrap_err().to_string();
        assert!(error("OFER_NOT_FOUND").contains("nearest is OFFER_NOT_FOUND"));
        assert!(error("token expird").contains("nearest is TOKEN_EXPIRED"));
        assert!(error("XYZ").contains("lists all"));
    }

    #[test]
    fn a_list_that_is_not_understood_is_refused() {
        assert!(parse("# Errors\n").is_err());
        assert!(parse("| `A` | B |\n").is_err());
    }

    #[test]
    fn distances_count_single_changes() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
