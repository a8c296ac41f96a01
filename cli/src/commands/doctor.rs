use std::{path::Path, process::ExitCode};

use super::Base;
use crate::{
    checkout::Checkout,
    os::ports,
    packages::{Need, runs},
    progress::answer,
    stack::{kafka, plan::SPAN, state::State},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    base: Base,
}

/// A complaint says what to do.
type Finding = Result<String, String>;

pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let mut findings: Vec<Finding> = tools();
    findings.push(Ok(match kafka::Tools::find(checkout) {
        Ok(_) => format!("Apache Kafka {}", kafka::version()),
        Err(_) => format!(
            "Apache Kafka {} comes with the first `up`",
            kafka::version()
        ),
    }));
    findings.push(disk(&checkout.root));
    findings.extend(stacks(checkout));
    findings.push(free_ports(checkout, args.base.port_base));
    for finding in &findings {
        match finding {
            Ok(text) => answer(&format!("ok       {text}")),
            Err(text) => answer(&format!("PROBLEM  {text}")),
        }
    }
    let healthy = findings.iter().all(Result::is_ok);
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tools() -> Vec<Finding> {
    let of_system = Need::FOR_TEST.iter().map(|need| match need.met() {
        true => Ok(need.name().to_owned()),
        false => Err(format!(
            "{} is missing; `./homeward up` or `test` says how to install it",
            need.name()
        )),
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
                true => Ok((*component).to_owned()),
                false => Err(format!(
                    "{component} is missing; `rustup component add {component}` adds it"
                )),
            });
    of_system.chain(of_rust).collect()
}

fn disk(root: &Path) -> Finding {
    const NEEDED_GB: u64 = 6;
    let Ok(space) = rustix::fs::statvfs(root) else {
        return Err("cannot tell the free space of the disk".to_owned());
    };
    let free_gb = space.f_bavail * space.f_frsize / 1_000_000_000;
    if free_gb < NEEDED_GB {
        return Err(format!(
            "{free_gb} GB of disk are free, a build takes up to {NEEDED_GB}"
        ));
    }
    Ok(format!("{free_gb} GB of disk are free"))
}

/// Processes that a killed supervisor left; there should be none.
fn stacks(checkout: &Checkout) -> Vec<Finding> {
    let bases = checkout.port_bases().into_iter();
    bases
        .filter_map(|base| {
            let state = State::read(&checkout.folder(base)).ok()??;
            if state.supervised() {
                return Some(Ok(format!("the stack at port base {base} is {}", state.step)));
            }
            let left: Vec<String> = state
                .processes
                .iter()
                .filter(|process| process.identity.alive())
                .map(|process| format!("{} (pid {})", process.name, process.identity.pid))
                .collect();
            if left.is_empty() {
                return None;
            }
            Some(Err(format!(
                "left over from port base {base}: {}; `./homeward down --port-base {base}` ends them",
                left.join(", ")
            )))
        })
        .collect()
}

fn free_ports(checkout: &Checkout, base: u16) -> Finding {
    let ours = State::read(&checkout.folder(base))
        .ok()
        .flatten()
        .is_some_and(|s| s.supervised());
    if ours {
        return Ok(format!(
            "ports {base} to {} are this stack's",
            base + SPAN - 1
        ));
    }
    match (base..base + SPAN).find(|port| !ports::free(*port)) {
        None => Ok(format!("ports {base} to {} are free", base + SPAN - 1)),
        Some(port) => Err(format!(
            "port {port} is taken by {}; stop it or use another `--port-base`",
            ports::holder(port)
        )),
    }
}
