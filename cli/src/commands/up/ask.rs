//! Asks a person what to start.

use std::io::{BufRead, Write};

use anyhow::bail;

use super::settings::Settings;
use crate::{demo, stack::replicas::Replicas};

const ALL: &str = "all";
const ONE_EACH: &str = "one each";

/// One question after the other; Enter takes what was answered before, or else the default.
pub(super) fn ask(
    services: &[String],
    before: &Settings,
    from: &mut impl BufRead,
    to: &mut impl Write,
) -> anyhow::Result<Settings> {
    writeln!(to, "What shall run? Enter takes what stands in brackets.")?;
    let only = match before.only.as_deref().unwrap_or_default() {
        [] => ALL.to_owned(),
        only => only.join(","),
    };
    let which = format!("services, some of {}", services.join(", "));
    let only = question(from, to, &which, &only, |text| some_of(services, text))?;

    let started = if only.is_empty() { services } else { &only };
    let replicas = before.replicas.clone().unwrap_or_default().to_string();
    let replicas = if replicas.is_empty() {
        ONE_EACH
    } else {
        &replicas
    };
    let how_many = format!("replicas, such as {0}=2, or {ONE_EACH}", started[0]);
    let replicas = question(from, to, &how_many, replicas, |text| counts(started, text))?;

    let demo = match demo::possible(started) {
        true => {
            let before = if before.demo == Some(false) {
                "no"
            } else {
                "yes"
            };
            Some(question(
                from,
                to,
                "demo data, yes or no",
                before,
                yes_or_no,
            )?)
        }
        false => before.demo,
    };
    Ok(Settings {
        only: Some(only),
        replicas: Some(replicas),
        demo,
        ..Settings::default()
    })
}

/// Asks until the answer is one.
fn question<T>(
    from: &mut impl BufRead,
    to: &mut impl Write,
    text: &str,
    default: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> anyhow::Result<T> {
    loop {
        write!(to, "  {text} [{default}]: ")?;
        to.flush()?;
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            bail!("nobody answers; `--yes` asks nothing");
        }
        let line = line.trim();
        match read(if line.is_empty() { default } else { line }) {
            Ok(answer) => return Ok(answer),
            Err(why) => writeln!(to, "    {why}")?,
        }
    }
}

fn some_of(services: &[String], text: &str) -> Result<Vec<String>, String> {
    if text == ALL {
        return Ok(Vec::new());
    }
    let names: Vec<String> = text
        .split([',', ' '])
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    match names.iter().find(|name| !services.contains(name)) {
        Some(unknown) => Err(format!("there is no service {unknown:?}")),
        None => Ok(names),
    }
}

fn counts(started: &[String], text: &str) -> Result<Replicas, String> {
    if text == ONE_EACH {
        return Ok(Replicas::default());
    }
    let replicas: Replicas = text.replace(' ', "").parse()?;
    if let Some(unknown) = replicas
        .names()
        .find(|name| !started.iter().any(|other| other == name))
    {
        return Err(format!(
            "{unknown:?} is none of the services that are started"
        ));
    }
    Ok(replicas)
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "yes" | "y" => Ok(true),
        "no" | "n" => Ok(false),
        _ => Err("it must be yes or no".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(before: &Settings, answers: &str) -> (anyhow::Result<Settings>, String) {
        let services = ["bff", "catalog", "identity"].map(str::to_owned);
        let mut to = Vec::new();
        let settings = ask(&services, before, &mut answers.as_bytes(), &mut to);
        (settings, String::from_utf8(to).unwrap())
    }

    #[test]
    fn enter_takes_the_defaults_and_later_what_was_answered() {
        let (defaults, _) = asked(&Settings::default(), "\n\n\n");
        let defaults = defaults.unwrap();
        assert_eq!(
            serde_json::to_string(&defaults).unwrap(),
            r#"{"only":[],"replicas":{},"demo":true}"#
        );
        let (answered, _) = asked(&defaults, "all\nbff=2, catalog=3\nno\n");
        let answered = answered.unwrap();
        let (again, text) = asked(&answered, "\n\n\n");
        assert_eq!(again.unwrap(), answered);
        assert!(
            text.contains("[bff=2,catalog=3]") && text.contains("[no]"),
            "{text}"
        );
        let (reset, _) = asked(&answered, "\none each\nyes\n");
        assert_eq!(reset.unwrap(), defaults);
    }

    #[test]
    fn what_is_no_answer_is_asked_again() {
        let (settings, text) = asked(
            &Settings::default(),
            "katalog\nbff, catalog identity\nmovers=2\nbff=0\nbff=2\nmaybe\nN\n",
        );
        let settings = settings.unwrap();
        assert_eq!(settings.only.unwrap().len(), 3);
        assert_eq!(settings.replicas.unwrap().of("bff"), 2);
        assert_eq!(settings.demo, Some(false));
        for why in ["\"katalog\"", "\"movers\"", "1 to 10", "yes or no"] {
            assert!(text.contains(why), "{why} in {text}");
        }
    }

    #[test]
    fn demo_data_are_asked_for_only_where_they_can_be_loaded() {
        let (settings, text) = asked(&Settings::default(), "catalog\n\n");
        assert_eq!(settings.unwrap().demo, None);
        assert!(!text.contains("demo"), "{text}");
    }

    #[test]
    fn an_end_instead_of_an_answer_is_no_answer() {
        let (settings, _) = asked(&Settings::default(), "\n");
        assert!(settings.unwrap_err().to_string().contains("--yes"));
    }
}
