//! The files in `cli/templates`, and what is made of them.
//!
//! `@word@` stands for a form of the names, in paths as well. Lines between `@if events@` or
//! `@if plain@` and `@end@` are for services of that kind only. A file of which nothing is left is
//! not written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{
    BRAND,
    names::{Kind, Names},
};

/// Contents by the path in the checkout.
pub(super) type Files = BTreeMap<PathBuf, String>;

/// What was read, by the path below `cli/templates/<kind>`.
pub(super) struct Templates {
    files: Files,
    /// All words of code, names not yet filled in.
    words: BTreeSet<String>,
}

impl Templates {
    pub(super) fn use_word(&self, word: &str) -> bool {
        self.words.contains(word)
    }
}

pub(super) fn read(folder: &Path, kind: Kind) -> anyhow::Result<Templates> {
    let folder = folder.join(match kind {
        Kind::Worker => "worker",
        Kind::Plain | Kind::Events => "gateway",
    });
    let mut files = Files::new();
    read_folder(&folder, Path::new(""), &mut files)?;
    ensure!(!files.is_empty(), "{} is empty", folder.display());
    let code = files.iter().filter(|(path, _)| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("rs" | "proto" | "sql"))
    });
    let words = code.flat_map(|(_, text)| words(text)).collect();
    Ok(Templates { files, words })
}

fn read_folder(folder: &Path, below: &Path, files: &mut Files) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, below) = (entry.path(), below.join(entry.file_name()));
        if path.is_dir() {
            read_folder(&path, &below, files)?;
        } else {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            files.insert(below, text);
        }
    }
    Ok(())
}

/// The words of code, without comments.
fn words(text: &str) -> impl Iterator<Item = String> {
    let code = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//") && !line.starts_with("--"));
    // What is beside a name to be filled in is a part of a longer word.
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '@');
    code.flat_map(move |line| line.split(move |c| !part(c)))
        .filter(|word| !word.is_empty() && !word.contains('@'))
        .map(str::to_owned)
}

/// Everything that is to be written.
pub(super) fn render(templates: &Templates, names: &Names) -> anyhow::Result<Files> {
    let mut files = Files::new();
    for (path, text) in &templates.files {
        let text = fill(&chosen(text, names.kind)?, names)?;
        if text.trim().is_empty() {
            continue;
        }
        let path = path.to_str().context("a template's name is not UTF-8")?;
        let path = fill(path, names)?;
        let path = match path.split_once('/') {
            Some(("proto", rest)) => format!("proto/{BRAND}/{}/v1/{rest}", names.module()),
            Some(("service", rest)) => format!("services/{}/{rest}", names.name),
            None if path == "values.yaml" => format!("charts/values/{}.yaml", names.name),
            _ => bail!("the template {path} has no place"),
        };
        let (path, text) = stored_query(PathBuf::from(path), text)?;
        files.insert(path, text);
    }
    Ok(files)
}

/// The lines for services of this kind.
fn chosen(text: &str, kind: Kind) -> anyhow::Result<String> {
    let mut wanted = true;
    let mut chosen = String::new();
    for line in text.lines() {
        match line.trim() {
            "@if events@" => wanted = kind == Kind::Events,
            "@if plain@" => wanted = kind == Kind::Plain,
            "@end@" => wanted = true,
            other if other.starts_with("@if ") => bail!("{other} is no condition"),
            _ if wanted => {
                chosen.push_str(line);
                chosen.push('\n');
            }
            _ => {}
        }
    }
    Ok(chosen)
}

fn fill(text: &str, names: &Names) -> anyhow::Result<String> {
    let words = names.words();
    let mut filled = String::with_capacity(text.len());
    // The text between two `@` is a word, and that before and behind them is not.
    for (number, part) in text.split('@').enumerate() {
        if number % 2 == 0 {
            filled.push_str(part);
        } else if part == "hash" {
            filled.push_str("@hash@");
        } else {
            let word = words.iter().find(|(key, _)| *key == part);
            let (_, word) =
                word.with_context(|| format!("a template has the unknown word {part:?}"))?;
            filled.push_str(word);
        }
    }
    Ok(filled)
}

/// sqlx finds what it knows of a query under the SHA-256 of its text.
fn stored_query(path: PathBuf, text: String) -> anyhow::Result<(PathBuf, String)> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return Ok((path, text));
    }
    let stored: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let query = stored["query"]
        .as_str()
        .context("a stored query has no text")?;
    let hash = sha256(query)?;
    let path = path.with_file_name(format!("query-{hash}.json"));
    Ok((path, text.replace("@hash@", &hash)))
}

/// By the system's own program, which every Linux has; nothing else here needs it.
fn sha256(text: &str) -> anyhow::Result<String> {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run sha256sum")?;
    let mut stdin = child.stdin.take().context("sha256sum reads nothing")?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let said = String::from_utf8(child.wait_with_output()?.stdout)?;
    let hash = said.split_whitespace().next().unwrap_or_default();
    ensure!(hash.len() == 64, "sha256sum said {said:?}");
    Ok(hash.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pets(kind: Kind) -> Names {
        Names::new("pets", None, kind).unwrap()
    }

    #[test]
    fn lines_are_chosen_by_kind_and_words_filled_in() {
        let text =
            "a @one@\n@if events@\n  said by @Service@\n@end@\n@if plain@\nquiet\n@end@\nz\n";
        let rendered = |kind| fill(&chosen(text, kind).unwrap(), &pets(kind)).unwrap();
        assert_eq!(rendered(Kind::Events), "a pet\n  said by Pets\nz\n");
        assert_eq!(rendered(Kind::Plain), "a pet\nquiet\nz\n");
        assert!(fill("@nothing@", &pets(Kind::Plain)).is_err());
        assert!(chosen("@if never@\n@end@\n", Kind::Plain).is_err());
    }

    #[test]
    fn a_stored_query_lies_under_its_hash() {
        let text = r#"{"query": "SELECT 1", "hash": "@hash@"}"#;
        let (path, text) =
            stored_query("services/x/.sqlx/one.json".into(), text.to_owned()).unwrap();
        let hash = "e004ebd5b5532a4b85984a62f8ad48a81aa3460c1ca07701f386135d72cdecf5";
        assert_eq!(
            path,
            PathBuf::from(format!("services/x/.sqlx/query-{hash}.json"))
        );
        assert!(text.contains(&format!("\"hash\": \"{hash}\"")));
    }

    #[test]
    fn words_of_code_are_told_from_comments_and_from_names() {
        let found: Vec<String> =
            words("/// an order of things\nlet request_@entity@ = page.next();").collect();
        assert_eq!(found, ["let", "page", "next"]);
        let templates = read(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("templates"),
            Kind::Events,
        )
        .unwrap();
        for taken in ["request", "page", "Error", "caller"] {
            assert!(templates.use_word(taken), "{taken}");
        }
        for free in ["order", "Order", "account", "plan"] {
            assert!(!templates.use_word(free), "{free}");
        }
    }
}
