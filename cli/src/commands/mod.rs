//! One file per command.

pub(crate) mod child;
pub(crate) mod db;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod up;

use crate::stack::plan;

/// Which stack a command is for.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Base {
    /// First of the 100 ports of the stack, and its name.
    #[arg(long, value_name = "PORT", default_value_t = plan::DEFAULT_BASE, value_parser = plan::port_base)]
    pub(crate) port_base: u16,
}
