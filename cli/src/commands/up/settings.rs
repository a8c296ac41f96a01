//! What to start, as far as somebody has said so.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::stack::{
    plan,
    replicas::Replicas,
    state::{Environment, Wanted},
};

/// The file of `--config`, and what is remembered of answers. What is not in it counts as not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    #[serde(
        default,
        deserialize_with = "port_base",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) port_base: Option<u16>,
    /// Empty for all services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) only: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replicas: Option<Replicas>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) demo: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) environment: Option<Environment>,
}

impl Settings {
    /// A key that is not known is refused, with its line.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// What is not said here is as `other` says it.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            port_base: self.port_base.or(other.port_base),
            only: self.only.or(other.only),
            replicas: self.replicas.or(other.replicas),
            demo: self.demo.or(other.demo),
            environment: self.environment.or(other.environment),
        }
    }

    /// What nobody has said is the default. A service that is named must be one of these.
    pub(super) fn wanted(self, services: &[String]) -> anyhow::Result<Wanted> {
        let wanted = Wanted {
            only: self.only.unwrap_or_default(),
            replicas: self.replicas.unwrap_or_default(),
            demo: self.demo.unwrap_or(true),
            environment: self.environment.unwrap_or_default(),
        };
        let known = |name: &str| services.iter().any(|service| service == name);
        let said = wanted.only.iter().chain(wanted.environment.keys());
        for name in said.map(String::as_str).chain(wanted.replicas.names()) {
            if !known(name) {
                bail!(
                    "there is no service {name:?}; there are {}",
                    services.join(", ")
                );
            }
        }
        Ok(wanted)
    }
}

fn port_base<'a, D: Deserializer<'a>>(from: D) -> Result<Option<u16>, D::Error> {
    let number = u64::deserialize(from)?;
    plan::port_base(&number.to_string())
        .map(Some)
        .map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_counts_more_wins_for_each_setting_by_itself() {
        let flags = settings(r#"{"replicas": {"bff": 3}}"#);
        let file = settings(r#"{"replicas": {"bff": 2}, "only": ["bff"], "port_base": 4700}"#);
        let remembered = settings(r#"{"only": ["catalog"], "demo": false}"#);
        let expected =
            r#"{"replicas": {"bff": 3}, "only": ["bff"], "port_base": 4700, "demo": false}"#;
        assert_eq!(flags.or(file).or(remembered), settings(expected));
    }

    #[test]
    fn a_key_that_is_not_known_is_refused_with_its_line() {
        let path = std::env::temp_dir().join(format!("homeward-up-{}.json", std::process::id()));
        for (json, said) in [
            (
                "{\n  \"replica\": {}\n}",
                ["unknown field `replica`", "line 2"],
            ),
            (
                "{\n\n\"replicas\": {\"bff\": 0}}",
                ["a count from 1 to 10", "line 3"],
            ),
            ("{\n\"port_base\": 80}", ["from 1024", "line 2"]),
            ("{\n\n\n\"demo\": \"no\"}", ["expected a boolean", "line 4"]),
            (
                "{\n\"environment\": {\"bff\": {\"A\": 1}}}",
                ["expected a string", "line 2"],
            ),
        ] {
            fs::write(&path, json).unwrap();
            let error = format!("{:#}", Settings::read(&path).unwrap_err());
            for said in said {
                assert!(error.contains(said), "{said:?} in {error}");
            }
            assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_service_that_there_is_not_is_named_wherever_it_was_said() {
        let services = ["bff".to_owned(), "catalog".to_owned()];
        for json in [
            r#"{"only": ["katalog"]}"#,
            r#"{"replicas": {"katalog": 2}}"#,
            r#"{"environment": {"katalog": {}}}"#,
        ] {
            let error = settings(json).wanted(&services).unwrap_err().to_string();
            assert!(
                error.contains("katalog") && error.contains("bff, catalog"),
                "{error}"
            );
        }
        let wanted = Settings::default().wanted(&services).unwrap();
        assert!(wanted.demo && wanted.only.is_empty());
    }
}
