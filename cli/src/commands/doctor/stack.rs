//! What stands in the way of a stack: its ports, and what stacks that were killed have left.

use super::Finding;
use crate::{
    checkout::Checkout,
    os::ports,
    stack::{
        plan::{self, SPAN},
        state::State,
    },
};

/// Stacks that run, and what is left of those that did not end by themselves.
pub(super) fn leftovers(checkout: &Checkout) -> Vec<Finding> {
    const CHECK: &str = "stack";
    let bases = checkout.port_bases().into_iter();
    bases
        .filter_map(|base| {
            let state = State::read(&checkout.folder(base)).ok()??;
            if state.supervised() {
                let what = format!("the stack at port base {base} is {}", state.step);
                return Some(Finding::ok(CHECK, what));
            }
            let left: Vec<String> = state
                .processes
                .iter()
                .filter(|process| process.identity.alive())
                .map(|process| format!("{} (pid {})", process.name, process.identity.pid))
                .collect();
            if !left.is_empty() {
                return Some(Finding::problem(
                    CHECK,
                    format!("left over from port base {base}: {}", left.join(", ")),
                    format!("`./homeward down --port-base {base}` ends them"),
                ));
            }
            // One that ends by itself takes its processes off the list.
            if state.processes.is_empty() {
                return None;
            }
            let pid = state.supervisor.pid;
            Some(Finding::warning(
                CHECK,
                format!("the stack at port base {base} was killed: its pid {pid} is gone"),
                format!(
                    "`./homeward up --port-base {base}` goes on with its data, `down --purge` deletes them"
                ),
            ))
        })
        .collect()
}

/// What of the stack's ports is taken, and by whom.
pub(super) fn ports(checkout: &Checkout, base: u16) -> anyhow::Result<Vec<Finding>> {
    const CHECK: &str = "ports";
    let last = base + SPAN - 1;
    let state = State::read(&checkout.folder(base)).ok().flatten();
    if state.is_some_and(|state| state.supervised()) {
        let what = format!("ports {base} to {last} are this stack's");
        return Ok(vec![Finding::ok(CHECK, what)]);
    }
    let needed = plan::usual_ports(base, checkout.services()?.len());
    let taken = (base..=last).filter(|port| !ports::free(*port));
    let findings: Vec<Finding> = taken
        .map(|port| {
            let what = format!("port {port} is taken by {}", ports::holder(port));
            let remedy = "end it, or use another `--port-base`";
            match needed.contains(&port) {
                true => Finding::problem(CHECK, what, remedy),
                false => Finding::warning(CHECK, what, format!("with `--replicas`, {remedy}")),
            }
        })
        .collect();
    if findings.is_empty() {
        let what = format!("ports {base} to {last} are free");
        return Ok(vec![Finding::ok(CHECK, what)]);
    }
    Ok(findings)
}
