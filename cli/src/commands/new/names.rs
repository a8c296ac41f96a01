//! What a new service and its things are called, everywhere.

use anyhow::{Context, bail};

use super::template::Templates;

/// Databases, roles and constraints are named after it and hold 63 characters.
const CHARS: std::ops::RangeInclusive<usize> = 2..=32;

/// Of Rust, which has them for itself; those of every edition.
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum \
    extern false final fn for gen if impl in let loop macro match mod move mut override priv pub ref \
    return self static struct super trait true try type typeof unsafe unsized use virtual where while \
    yield";
/// Of Postgres, which takes them for no table; those that a plural can be.
const SQL_KEYWORDS: &str = "references values";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Keeps something, and answers.
    Plain,
    /// Says its changes, too.
    Events,
    /// Hears, and answers nothing.
    Worker,
}

/// Every form of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) kind: Kind,
    /// `move-plans`: folder, program, database.
    pub(super) name: String,
    /// `move_plan` and `move_plans`; a worker has neither.
    entity: Option<(String, String)>,
}

impl Names {
    pub(super) fn new(name: &str, entity: Option<&str>, kind: Kind) -> anyhow::Result<Self> {
        check(name)?;
        let entity = match (kind, entity) {
            (Kind::Worker, _) => None,
            (_, Some(entity)) => {
                let (one, many) = match entity.split_once(':') {
                    Some((one, many)) => (one.to_owned(), many.to_owned()),
                    None => (entity.to_owned(), plural(entity)),
                };
                Some((one, many))
            }
            (_, None) => {
                let one = singular(name).with_context(|| {
                    format!("{name} is no plural: say what it keeps, as in `--entity account`")
                })?;
                Some((one, name.to_owned()))
            }
        };
        if let Some((one, many)) = &entity {
            check(one)?;
            check(many)?;
            if one == many || one == name {
                bail!(
                    "{one} names two things: choose another `--entity`, as in `--entity account`"
                );
            }
            if SQL_KEYWORDS.split_whitespace().any(|word| word == many) {
                bail!("{many} is a word of SQL: choose another `--entity`");
            }
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
            entity: entity.map(|(one, many)| (snake(&one), snake(&many))),
        })
    }

    /// The module, and the word in the package: `move_plans`.
    pub(super) fn module(&self) -> String {
        module(&self.name)
    }

    /// What stands for each word between two `@` in a template.
    pub(super) fn words(&self) -> Vec<(&'static str, String)> {
        let module = self.module();
        let mut words = vec![
            ("name", self.name.clone()),
            ("Service", pascal(&module)),
            ("SERVICE", module.to_uppercase()),
            ("module", module),
        ];
        if let Some((one, many)) = &self.entity {
            words.extend([
                ("entity", one.clone()),
                ("Entity", pascal(one)),
                ("ENTITY", one.to_uppercase()),
                ("entities", many.clone()),
                ("Entities", pascal(many)),
                ("one", one.replace('_', " ")),
                ("many", many.replace('_', " ")),
                ("Many", capital(&many.replace('_', " "))),
            ]);
        }
        words
    }

    /// Refuses what would be a second thing of one name in the code: `request` for an entity, where
    /// every handler has a `request`.
    pub(super) fn check_against(&self, templates: &Templates) -> anyhow::Result<()> {
        let mut forms = vec![pascal(&self.module())];
        if let Some((one, many)) = &self.entity {
            forms.extend([one.clone(), pascal(one), many.clone(), pascal(many)]);
        }
        match forms.iter().find(|form| templates.use_word(form)) {
            Some(form) => {
                bail!("{form} is a word that the code of every service uses: choose another name")
            }
            None => Ok(()),
        }
    }
}

/// Words of letters with hyphens between them, of which Rust makes a name.
pub(super) fn check(name: &str) -> anyhow::Result<()> {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    if !name.split('-').all(word) {
        bail!(
            "{name:?} is no name here: words in lower case with hyphens between them, such as move-plans"
        );
    }
    if !CHARS.contains(&name.len()) {
        let (min, max) = (CHARS.start(), CHARS.end());
        bail!("{name} is not {min} to {max} characters long");
    }
    if KEYWORDS.split_whitespace().any(|keyword| keyword == name) {
        bail!("{name} is a word of Rust: choose another name");
    }
    Ok(())
}

/// `move-plans` is many of `move-plan`; none of what does not end as a plural does.
fn singular(many: &str) -> Option<String> {
    let rest = many.strip_suffix('s').filter(|rest| !rest.ends_with('s'))?;
    if let Some(rest) = rest.strip_suffix("ie") {
        return Some(format!("{rest}y"));
    }
    let es = ["xe", "che", "she", "sse", "zze"];
    let rest = match rest.strip_suffix('e') {
        Some(shorter) if es.iter().any(|ending| rest.ends_with(ending)) => shorter,
        _ => rest,
    };
    Some(rest.to_owned())
}

fn plural(one: &str) -> String {
    let consonant = |word: &str| !word.ends_with(['a', 'e', 'i', 'o', 'u']);
    match one.strip_suffix('y') {
        Some(rest) if consonant(rest) => format!("{rest}ies"),
        _ if ["s", "x", "z", "ch", "sh"]
            .iter()
            .any(|ending| one.ends_with(ending)) =>
        {
            format!("{one}es")
        }
        _ => format!("{one}s"),
    }
}

/// The module of a service, and the word in its package.
pub(super) fn module(name: &str) -> String {
    snake(name)
}

fn snake(kebab: &str) -> String {
    kebab.replace('-', "_")
}

fn pascal(snake: &str) -> String {
    snake.split('_').map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + chars.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, entity: Option<&str>) -> anyhow::Result<Names> {
        Names::new(name, entity, Kind::Plain)
    }

    #[test]
    fn one_is_made_of_many_and_many_of_one() {
        for (one, many) in [
            ("pet", "pets"),
            ("move-plan", "move-plans"),
            ("delivery", "deliveries"),
            ("day", "days"),
            ("box", "boxes"),
            ("address", "addresses"),
            ("match", "matches"),
            ("house", "houses"),
            ("axle", "axles"),
        ] {
            assert_eq!(singular(many).as_deref(), Some(one));
            assert_eq!(plural(one), many);
        }
        for none in ["ledger", "storage", "glass"] {
            assert_eq!(singular(none), None);
        }
    }

    #[test]
    fn every_form_follows_from_the_name() {
        let names = names("move-plans", None).unwrap();
        let words: Vec<String> = names
            .words()
            .into_iter()
            .map(|(key, word)| format!("{key}={word}"))
            .collect();
        let expected = "name=move-plans Service=MovePlans SERVICE=MOVE_PLANS module=move_plans entity=move_plan \
            Entity=MovePlan ENTITY=MOVE_PLAN entities=move_plans Entities=MovePlans one=move+plan many=move+plans \
            Many=Move+plans";
        let expected: Vec<String> = expected
            .split_whitespace()
            .map(|word| word.replace('+', " "))
            .collect();
        assert_eq!(words, expected);
    }

    #[test]
    fn what_is_kept_can_be_told() {
        let told = |entity| names("ledger", Some(entity)).unwrap().entity.unwrap();
        assert_eq!(
            told("account"),
            ("account".to_owned(), "accounts".to_owned())
        );
        assert_eq!(
            told("child:children"),
            ("child".to_owned(), "children".to_owned())
        );
        let error = names("ledger", None).unwrap_err().to_string();
        assert!(error.contains("--entity"), "{error}");
    }

    #[test]
    fn bad_names_are_refused_and_say_why() {
        let long = "x".repeat(33);
        for (name, why) in [
            ("", "lower case"),
            ("Pets", "lower case"),
            ("move_plans", "lower case"),
            ("move--plans", "lower case"),
            ("-pets", "lower case"),
            ("pets-", "lower case"),
            ("pets2", "lower case"),
            ("../pets", "lower case"),
            ("p", "characters"),
            (&long, "characters"),
            ("match", "word of Rust"),
            ("async", "word of Rust"),
        ] {
            let error = names(name, Some("pet")).unwrap_err().to_string();
            assert!(error.contains(why), "{name:?}: {error}");
        }
        for (entity, why) in [
            ("Pet", "lower case"),
            ("pet:", "lower case"),
            ("ab:cd:ef", "lower case"),
            ("type", "word of Rust"),
            ("ledger", "two things"),
            ("sheep:sheep", "two things"),
            ("value", "word of SQL"),
        ] {
            let error = names("ledger", Some(entity)).unwrap_err().to_string();
            assert!(error.contains(why), "{entity:?}: {error}");
        }
    }
}
