//! What memory processes hold, as the kernel tells it.

use std::fs;

/// Of one process or several; `None` where the kernel does not tell this user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: Option<u64>,
    /// As resident, with what is shared divided among those who share it.
    pub(crate) proportional: Option<u64>,
}

impl Memory {
    pub(crate) fn of(pid: i32) -> Self {
        let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        Self {
            resident: field(&read("status"), "VmRSS:"),
            proportional: field(&read("smaps_rollup"), "Pss:"),
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        Self {
            resident: sum(self.resident, other.resident),
            proportional: sum(self.proportional, other.proportional),
        }
    }
}

/// Bytes in a line such as `VmRSS:    1234 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// A process and all that it has started.
pub(crate) fn family(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(i32, i32)> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The command in the second field may hold blanks and brackets.
            let (_, rest) = stat.rsplit_once(") ")?;
            Some((pid, rest.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        let children = parents.iter().filter(|(_, of)| *of == parent);
        family.extend(children.map(|(child, _)| child));
        at += 1;
    }
    family
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_tells_it() {
        let status = "Name:\tcatalog\nVmHWM:\t  30000 kB\nVmRSS:\t   20000 kB\n";
        assert_eq!(field(status, "VmRSS:"), Some(20_480_000));
        assert_eq!(field("", "Pss:"), None);
        let me = Memory::of(std::process::id().try_into().unwrap());
        assert!(me.resident.unwrap() > 100_000);
        assert!(
            me.proportional
                .is_none_or(|bytes| bytes <= 2 * me.resident.unwrap())
        );
        assert_eq!(me.and(Memory::default()), Memory::default());
    }

    #[test]
    fn a_family_is_a_process_with_its_children() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid: i32 = child.id().try_into().unwrap();
        let found = family(std::process::id().try_into().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&pid));
        assert_eq!(family(pid), [pid]);
    }
}
