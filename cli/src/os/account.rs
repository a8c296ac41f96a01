//! Accounts of the system.

use std::fs;

/// A user and group to run a process as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

pub(crate) fn am_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The account with this name, if the system has one.
pub(crate) fn named(name: &str) -> Option<Account> {
    find(&fs::read_to_string("/etc/passwd").ok()?, name)
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104::/var/lib/postgresql:/bin/bash\n";
        assert_eq!(
            find(passwd, "postgres"),
            Some(Account { uid: 101, gid: 104 })
        );
        assert_eq!(find(passwd, "post"), None);
    }
}
