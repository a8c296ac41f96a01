//! Adds a service: its contracts, its code, its tests, and what is listed of all services.

mod names;
mod place;
mod template;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    checkout::Checkout,
    os::signals::Stop,
    progress::{Progress, answer},
};
use names::{Kind, Names};
use place::Placed;

/// The first word of all packages here.
const BRAND: &str = "homeward";
/// What lists all that the protos say, in the order in which the catalogue is asked for it.
const LISTS: [&str; 3] = [
    "docs/events.asyncapi.yaml",
    "docs/errors.md",
    "k8s/base/kafka/topics.yaml",
];
/// What the chart is told of each contract, asked for after the lists.
const CONTRACTS: &str = "charts/contracts";

#[derive(clap::Subcommand)]
pub(crate) enum What {
    /// Makes a service that builds, passes its tests and starts with the others; no file needs an
    /// edit.
    Service(Args),
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Words in lower case with hyphens between them, such as pets or move-plans.
    name: String,
    /// What it keeps, one and, where that is not made by an s, many: pet, person:people. Taken
    /// from the name if that is a plural.
    #[arg(long, value_name = "ONE[:MANY]", conflicts_with = "worker")]
    entity: Option<String>,
    /// Says each change as an event, through the outbox.
    #[arg(long, conflicts_with = "worker")]
    events: bool,
    /// Works by events alone: hears votes, keeps what it hears, and has no method.
    #[arg(long)]
    worker: bool,
}

impl Args {
    fn kind(&self) -> Kind {
        match (self.worker, self.events) {
            (true, _) => Kind::Worker,
            (false, true) => Kind::Events,
            (false, false) => Kind::Plain,
        }
    }
}

pub(crate) fn run(checkout: &Checkout, what: &What) -> anyhow::Result<ExitCode> {
    let What::Service(args) = what;
    names::check(&args.name)?;
    place::check_free(checkout, &args.name)?;
    let names = Names::new(&args.name, args.entity.as_deref(), args.kind())?;
    let templates = template::read(&checkout.root.join("cli/templates"), names.kind)?;
    names.check_against(&templates)?;
    let files = template::render(&templates, &names)?;

    // Ctrl-C ends what runs in the foreground as well; what is half done is then undone here.
    let stop = Stop::on_signals()?;
    let mut progress = Progress::new();
    progress.step(&format!("writing {} files", files.len()));
    let placed = Placed::new(checkout, &names, &files)?;
    progress.step("listing its contracts");
    let listed = refresh(&checkout.root).and_then(|()| Ok(stop.check()?));
    progress.finish();
    if let Err(error) = listed {
        placed.undo()?;
        return Err(error.context("nothing was changed"));
    }
    answer(&report(&names, &files));
    Ok(ExitCode::SUCCESS)
}

/// Brings the lock file, the lists of events and reasons and what charts know of contracts in line
/// with the protos, without a network: a new service has the dependencies of the others.
fn refresh(root: &Path) -> anyhow::Result<()> {
    let build = Command::new("cargo")
        // The whole workspace, as everywhere: a part of it would have other features.
        .args([
            "build",
            "--workspace",
            "--offline",
            "--example",
            "catalogue",
        ])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot run cargo")?;
    if !build.status.success() {
        let said = String::from_utf8_lossy(&build.stderr);
        bail!("the workspace does not build with it\n{}", said.trim_end());
    }
    let program = executable(&build.stdout).context("cargo built no catalogue")?;
    let catalogue = Command::new(program)
        .args([BRAND, "proto"])
        .args(LISTS)
        .arg(CONTRACTS)
        .current_dir(root)
        .output()
        .context("cannot run the catalogue")?;
    if !catalogue.status.success() {
        let said = String::from_utf8_lossy(&catalogue.stderr);
        bail!("{}", said.trim_end());
    }
    Ok(())
}

/// The one program that cargo says it has built.
fn executable(messages: &[u8]) -> Option<PathBuf> {
    let messages = String::from_utf8_lossy(messages);
    let mut messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

fn report(names: &Names, files: &template::Files) -> String {
    let name = &names.name;
    let mut text = format!("{name} is there:\n\n");
    for path in files.keys() {
        text += &format!("  {}\n", path.display());
    }
    text += &format!(
        "\nin step with it: Cargo.lock, {CONTRACTS}, {}\n\n\
         next:\n  ./homeward test --only tests --service {name}\n  ./homeward up\n\n\
         docs/adding-a-service.md goes on from here to a field of the GraphQL schema",
        LISTS.join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("templates")
    }

    fn rendered(kind: Kind, name: &str, entity: Option<&str>) -> template::Files {
        let templates = template::read(&templates(), kind).unwrap();
        let names = Names::new(name, entity, kind).unwrap();
        names.check_against(&templates).unwrap();
        template::render(&templates, &names).unwrap()
    }

    const SERVICES: [(Kind, &str, Option<&str>); 4] = [
        (Kind::Plain, "pets", None),
        (Kind::Events, "move-plans", None),
        (Kind::Events, "ledger", Some("child:children")),
        (Kind::Worker, "vote-counts", None),
    ];

    #[test]
    fn every_query_is_stored_as_the_program_asks_it() {
        for (kind, name, entity) in SERVICES {
            let files = rendered(kind, name, entity);
            let store = &files[&PathBuf::from(format!("services/{name}/src/store.rs"))];
            let stored: Vec<Value> = files
                .iter()
                .filter(|(path, _)| {
                    path.extension()
                        .is_some_and(|extension| extension == "json")
                })
                .map(|(_, text)| serde_json::from_str(text).unwrap())
                .collect();
            assert_eq!(stored.len(), store.matches("sqlx::query").count(), "{name}");
            for query in stored {
                assert!(store.contains(query["query"].as_str().unwrap()), "{query}");
            }
        }
    }

    #[test]
    fn nothing_is_left_of_the_templates_language() {
        for (kind, name, entity) in SERVICES {
            for (path, text) in rendered(kind, name, entity) {
                assert!(!text.contains('@'), "{}: {text}", path.display());
                assert!(!path.to_string_lossy().contains('@'), "{}", path.display());
                assert!(!text.contains("\n\n\n"), "{}: {text}", path.display());
            }
        }
    }

    #[test]
    fn a_service_without_events_says_and_names_none() {
        let files = rendered(Kind::Plain, "pets", None);
        let said = files
            .keys()
            .filter(|path| path.to_string_lossy().contains("events"));
        assert_eq!(said.count(), 0);
        let main = &files[Path::new("services/pets/src/main.rs")];
        assert!(!main.contains("relay") && !main.contains("platform_events::MIGRATOR"));
    }

    #[test]
    fn a_readme_names_tests_that_are_there() {
        for (kind, name, entity) in SERVICES {
            let files = rendered(kind, name, entity);
            let readme = &files[&PathBuf::from(format!("services/{name}/README.md"))];
            let code: String = files
                .iter()
                .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"))
                .map(|(_, text)| text.as_str())
                .collect();
            let rows = readme
                .lines()
                .filter(|line| line.starts_with("| ") && line.contains(". | `"));
            let mut named = 0;
            for test in rows.flat_map(|row| {
                row.rsplit_once(". | ")
                    .unwrap()
                    .1
                    .split('`')
                    .skip(1)
                    .step_by(2)
            }) {
                assert!(code.contains(&format!("fn {test}()")), "{name}: {test}");
                named += 1;
            }
            assert!(named > 5, "{name}");
        }
    }
}
