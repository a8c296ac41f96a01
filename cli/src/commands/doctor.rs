//! Looks for what would keep `up` or `test` from working, and says what to do about it.

mod clock;
mod machine;
mod stack;

use std::process::ExitCode;

use serde::Serialize;

use super::Base;
use crate::{
    checkout::Checkout,
    packages::{self, Need, runs},
    progress::answer,
    stack::kafka,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    base: Base,
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// What `doctor --json` prints. Programs read this: names stay.
#[derive(Serialize)]
struct Report {
    /// Nothing must be put right.
    healthy: bool,
    findings: Vec<Finding>,
}

/// What was seen, in one line, and what to do about it, in another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at: `disk`.
    check: &'static str,
    level: Level,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    /// Works, and may not do so for long.
    Warning,
    /// Must be put right.
    Problem,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            what: what.into(),
            remedy: None,
        }
    }

    fn warning(check: &'static str, what: String, remedy: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Warning,
            what,
            remedy: Some(remedy.into()),
        }
    }

    fn problem(check: &'static str, what: String, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(check, what, remedy)
        }
    }

    /// For people.
    fn text(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        let mut text = format!("{level:<8} {}", self.what);
        if let Some(remedy) = &self.remedy {
            text += &format!("\n         {remedy}");
        }
        text
    }
}

/// Exit code 1 if something must be put right.
pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let base = args.base.port_base;
    let mut findings = tools(checkout);
    findings.extend(machine::disks(checkout, base));
    findings.extend(machine::memory());
    findings.push(machine::open_files());
    findings.extend(clock::findings(checkout));
    findings.extend(stack::leftovers(checkout));
    findings.extend(stack::ports(checkout, base)?);
    let healthy = findings
        .iter()
        .all(|finding| finding.level != Level::Problem);
    let report = Report { healthy, findings };
    if args.json {
        answer(&serde_json::to_string_pretty(&report)?);
    } else {
        report
            .findings
            .iter()
            .for_each(|finding| answer(&finding.text()));
    }
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tools(checkout: &Checkout) -> Vec<Finding> {
    const CHECK: &str = "tools";
    let of_system = Need::FOR_TEST.iter().map(|need| match need.met() {
        true => Finding::ok(CHECK, need.name()),
        false => Finding::problem(
            CHECK,
            format!("{} is missing", need.name()),
            packages::remedy(&[*need]),
        ),
    });
    let components = [
        ("cargo", "cargo"),
        ("clippy-driver", "clippy"),
        ("rustfmt", "rustfmt"),
    ];
    let of_rust =
        components
            .iter()
            .map(|(program, component)| match runs(program, &["--version"]) {
                true => Finding::ok(CHECK, *component),
                false => Finding::problem(
                    CHECK,
                    format!("{component} is missing"),
                    format!("rustup component add {component}"),
                ),
            });
    let kafka = format!("Apache Kafka {}", kafka::version());
    let kafka = match kafka::Tools::find(checkout) {
        Ok(_) => kafka,
        Err(_) => format!("{kafka} comes with the first `up`"),
    };
    of_system
        .chain(of_rust)
        .chain([Finding::ok(CHECK, kafka)])
        .collect()
}
