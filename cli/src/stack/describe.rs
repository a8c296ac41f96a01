//! What each service says about itself: `<service> describe`.

use std::{path::Path, process::Command};

use anyhow::{Context, bail};
use serde::Deserialize;

/// The part of a description that the stack needs.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Description {
    pub(crate) name: String,
    /// `grpc`, `http`, `admin`.
    #[serde(default)]
    pub(crate) ports: Vec<String>,
    /// Infrastructure: `postgres`, `redis`, `kafka`.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    #[serde(default)]
    pub(crate) config: Vec<Variable>,
    #[serde(default)]
    pub(crate) commands: Vec<Subcommand>,
}

/// What a service can do besides serving.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Subcommand {
    pub(crate) name: String,
}

/// One option of a service.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Variable {
    pub(crate) env: String,
    /// Also read from the file that `<env>_FILE` names.
    #[serde(default)]
    pub(crate) secret: bool,
    #[serde(default)]
    pub(crate) required: bool,
}

impl Description {
    pub(crate) fn has_port(&self, port: &str) -> bool {
        self.ports.iter().any(|name| name == port)
    }

    pub(crate) fn has_command(&self, name: &str) -> bool {
        self.commands.iter().any(|command| command.name == name)
    }

    pub(crate) fn needs(&self, what: &str) -> bool {
        self.needs.iter().any(|name| name == what)
    }
}

/// Asks every service, in the order of the names.
pub(crate) fn all(programs: &Path, names: &[String]) -> anyhow::Result<Vec<Description>> {
    names.iter().map(|name| one(programs, name)).collect()
}

fn one(programs: &Path, name: &str) -> anyhow::Result<Description> {
    let output = Command::new(programs.join(name))
        .arg("describe")
        .output()
        .with_context(|| format!("cannot run `{name} describe`"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("`{name} describe` failed: {}", why.trim());
    }
    let description = parse(&output.stdout).with_context(|| format!("`{name} describe`"))?;
    if description.name != name {
        bail!(
            "the service in the folder {name} calls itself {}",
            description.name
        );
    }
    Ok(description)
}

fn parse(json: &[u8]) -> anyhow::Result<Description> {
    serde_json::from_slice(json).context("the answer is not the JSON that was expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_and_what_is_unknown_in_it_is_passed_over() {
        let description = parse(
            br#"{"name": "catalog", "kind": "gateway", "ports": ["grpc", "admin"], "needs": ["postgres"],
                "calls": [], "commands": [{"name": "migrate"}], "services": [{"full_name": "x"}],
                "config": [{"env": "SEAL_KEY", "default": null, "secret": true, "required": true, "help": "key"}]}"#,
        )
        .unwrap();
        assert!(description.has_port("grpc") && !description.has_port("http"));
        assert!(description.needs("postgres"));
        assert!(description.has_command("migrate") && !description.has_command("events"));
        assert!(description.config[0].secret && description.config[0].required);
    }

    #[test]
    fn an_answer_that_is_no_json_is_refused() {
        assert!(parse(b"usage: catalog").is_err());
    }
}
