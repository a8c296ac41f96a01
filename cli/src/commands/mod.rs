//! One file per command.

pub(crate) mod bench;
pub(crate) mod child;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod db;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod errors;
pub(crate) mod events;
pub(crate) mod image;
pub(crate) mod keys;
pub(crate) mod metrics;
pub(crate) mod new;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod up;
pub(crate) mod watch;

use anyhow::Context;

use crate::{
    checkout::Checkout,
    stack::{
        describe,
        plan::{self, Plan},
        replicas::Replicas,
        state::{State, Wanted},
    },
};

/// Names the stack for every command of a shell.
const PORT_BASE: &str = "HOMEWARD_PORT_BASE";

/// Which stack a command is for.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Base {
    /// First of the 100 ports of the stack, and its name.
    #[arg(long, global = true, env = PORT_BASE, value_name = "PORT", default_value_t = plan::DEFAULT_BASE, value_parser = plan::port_base)]
    pub(crate) port_base: u16,
}

/// A running stack, and what is known of its services.
fn plan_of(checkout: &Checkout, base: u16) -> anyhow::Result<(State, Plan)> {
    let state = State::read(&checkout.folder(base))?.filter(State::supervised);
    let state = state.with_context(|| {
        format!("no stack runs at port base {base}; `./homeward up` starts one")
    })?;
    let descriptions = describe::all(&state.programs, &checkout.services()?)?;
    let plan = Plan::new(
        checkout,
        base,
        state.programs.clone(),
        descriptions,
        &Wanted {
            replicas: Replicas::default(),
            ..state.wanted.clone()
        },
    )?;
    Ok((state, plan))
}
