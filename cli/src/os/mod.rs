//! What the standard library leaves to the operating system.

pub(crate) mod account;
pub(crate) mod clock;
pub(crate) mod hash;
pub(crate) mod memory;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod secret;
pub(crate) mod signals;
