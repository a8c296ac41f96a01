//! Error texts of the library, cut to the words that the client has sent.

use std::collections::HashSet;

/// Replaces each quoted part that has a name in it which `sent` does not have.
///
/// The library quotes every name of the schema that it tells.
pub(super) fn redact(message: &str, sent: &str) -> String {
    let sent: HashSet<&str> = names(sent).collect();
    let mut parts = message.split('"').enumerate().peekable();
    let mut text = String::with_capacity(message.len());
    while let Some((index, part)) = parts.next() {
        let quoted = index % 2 == 1;
        if quoted && !names(part).all(|name| sent.contains(name)) {
            text.push('…');
        } else {
            text.push_str(part);
        }
        if parts.peek().is_some() {
            text.push('"');
        }
    }
    text
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_')
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn only_words_that_were_sent_are_repeated() {
        let message = r#"Unknown field "tite" on type "Offer". Did you mean "title"?"#;
        assert_eq!(
            redact(message, "{ offer { tite } }"),
            r#"Unknown field "tite" on type "…". Did you mean "…"?"#
        );
        assert_eq!(redact(message, "Offer tite title"), message);
        assert_eq!(
            redact("\"[Offer!]!\" and \"a.b\"", "a b"),
            "\"…\" and \"a.b\""
        );
        assert_eq!(redact("plain", ""), "plain");
        assert_eq!(redact("open \"Offer", ""), "open \"…");
    }
}
