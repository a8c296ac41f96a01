//! Ports for processes that must be told theirs.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the kernel gives to connections and to listeners that do not care: one of
/// these could be taken again between the look and the start of the process.
const PORTS: Range<u16> = 16_000..32_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address of this host that nobody listens on, and that this process gives out once.
pub(crate) fn free() -> SocketAddr {
    // Test processes that run side by side begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = begin.wrapping_add(step) % PORTS.len() as u32;
        let address = (Ipv4Addr::LOCALHOST, PORTS.start + offset as u16).into();
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free between {} and {}", PORTS.start, PORTS.end);
}
