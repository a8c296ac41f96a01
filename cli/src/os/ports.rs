//! Ports of this machine: whether one is free, and who holds it.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
};

pub(crate) fn free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A port that is free now.
pub(crate) fn any() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Who listens on this port, as text for people.
pub(crate) fn holder(port: u16) -> String {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let sockets: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, port))
        .collect();
    let mut names = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let mut files = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
            let holds = files.any(|file| {
                fs::read_link(file.path()).is_ok_and(|link| {
                    sockets
                        .iter()
                        .any(|socket| link.as_os_str() == socket.as_str())
                })
            });
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            holds.then(|| format!("{} (pid {pid})", name.trim()))
        });
    names
        .next()
        .unwrap_or_else(|| "a process of another user".to_owned())
}

/// The sockets of a table in `/proc/net` that listen on this port, as links in `/proc/<pid>/fd`
/// show them.
fn listening(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    let lines = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&suffix) && fields[3] == "0A")
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_not_free_and_its_holder_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!free(port));
        assert!(holder(port).contains(&format!("pid {}", std::process::id())));
    }

    #[test]
    fn only_listening_sockets_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:11F8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1\n   1: 0100007F:11F8 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 5678 1\n";
        assert_eq!(listening(table, 4600), ["socket:[1234]"]);
    }
}
