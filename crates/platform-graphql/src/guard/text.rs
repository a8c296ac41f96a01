//! Brackets, tokens and names, counted in the text: the parser recurses on the stack.

use std::iter::Peekable;
use std::str::Chars;

use super::{Limits, too_large};
use crate::refusal::{Refusal, RequestReason};

/// Reads the text once, as the parser's grammar reads it, and counts its tokens.
///
/// Where the two could differ (a string that is not closed) the text is refused, since a bracket
/// that is hidden here and seen there would defeat the check.
pub(super) fn check(text: &str, limits: &Limits) -> Result<usize, Refusal> {
    let mut chars = text.chars().peekable();
    let (mut open, mut tokens) = (0_usize, 0_usize);
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' | '\r' | '\n' | ',' | '\u{feff}' => continue,
            '#' => {
                while chars.next_if(|char| !matches!(char, '\r' | '\n')).is_some() {}
                continue;
            }
            '"' => string(&mut chars)?,
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            char if char.is_ascii_alphanumeric() || char == '_' => name(&mut chars, limits)?,
            _ => {}
        }
        tokens += 1;
        if open > limits.nesting {
            return Err(too_large(format!(
                "the document nests deeper than {}",
                limits.nesting
            )));
        }
        if tokens > limits.tokens {
            return Err(too_large(format!(
                "the document has more than {} tokens",
                limits.tokens
            )));
        }
    }
    Ok(tokens)
}

/// The rest of a string, whose first quote has been read.
fn string(chars: &mut Peekable<Chars<'_>>) -> Result<(), Refusal> {
    let closed = match (chars.next_if_eq(&'"'), chars.next_if_eq(&'"')) {
        (None, _) => line(chars),
        (Some(_), None) => true,
        (Some(_), Some(_)) => block(chars),
    };
    if closed {
        Ok(())
    } else {
        Err(Refusal::bad(
            RequestReason::GraphqlSyntaxInvalid,
            "a string is not closed",
        ))
    }
}

fn line(chars: &mut Peekable<Chars<'_>>) -> bool {
    while let Some(char) = chars.next() {
        match char {
            '"' => return true,
            '\r' | '\n' => return false,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// Ends at the first three quotes that do not follow a backslash.
fn block(chars: &mut Peekable<Chars<'_>>) -> bool {
    let mut quotes = 0;
    let mut escaped = false;
    for char in chars {
        match char {
            '"' if escaped => {
                // All three quotes behind the backslash belong to it, or none does.
                quotes += 1;
                if quotes == 3 {
                    (quotes, escaped) = (0, false);
                }
            }
            '"' => {
                quotes += 1;
                if quotes == 3 {
                    return true;
                }
            }
            '\\' => (quotes, escaped) = (0, true),
            _ => (quotes, escaped) = (0, false),
        }
    }
    false
}

fn name(chars: &mut Peekable<Chars<'_>>, limits: &Limits) -> Result<(), Refusal> {
    let mut length = 1;
    while chars
        .next_if(|char| char.is_ascii_alphanumeric() || *char == '_')
        .is_some()
    {
        length += 1;
    }
    if length > limits.name_chars {
        return Err(too_large(format!(
            "a name is longer than {} characters",
            limits.name_chars
        )));
    }
    Ok(())
}
