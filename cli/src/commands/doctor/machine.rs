//! What the machine has to offer: disk, memory, open files.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::checkout::Checkout;

const GB: u64 = 1_000_000_000;
/// What a build from nothing takes, and one after that.
const FIRST_BUILD: u64 = 6 * GB;
const NEXT_BUILD: u64 = 2 * GB;
/// Postgres and Kafka stop when the disk is full.
const DATA: u64 = GB;
/// Of a build from nothing, in inodes.
const FILES: u64 = 50_000;

/// The file systems that a build and a stack write to, each once.
pub(super) fn disks(checkout: &Checkout, base: u16) -> Vec<Finding> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target),
        None => checkout.root.join("target"),
    };
    let build = match target.join("debug/deps").is_dir() {
        true => NEXT_BUILD,
        false => FIRST_BUILD,
    };
    let places = [
        ("builds", target, build),
        ("data", checkout.folder(base).data(), DATA),
    ];
    let mut disks: Vec<Disk> = Vec::new();
    for (name, path, needed) in places {
        // What is not made yet will be in the first folder above it that is.
        let there = path.ancestors().find_map(|path| Disk::of(path).ok());
        let Some(mut disk) = there else { continue };
        disk.names = vec![name];
        disk.needed = needed;
        match disks.iter_mut().find(|other| other.device == disk.device) {
            Some(other) => {
                other.names.push(name);
                other.needed += needed;
            }
            None => disks.push(disk),
        }
    }
    disks.iter().map(Disk::judge).collect()
}

struct Disk {
    names: Vec<&'static str>,
    device: u64,
    /// Bytes.
    needed: u64,
    free: u64,
    /// Inodes; `None` where the file system does not count them.
    files_free: Option<u64>,
}

impl Disk {
    fn of(path: &Path) -> std::io::Result<Self> {
        let device = fs::metadata(path)?.dev();
        let space = rustix::fs::statvfs(path)?;
        Ok(Self {
            names: Vec::new(),
            device,
            needed: 0,
            free: space.f_bavail * space.f_frsize,
            files_free: (space.f_files > 0).then_some(space.f_favail),
        })
    }

    fn judge(&self) -> Finding {
        const CHECK: &str = "disk";
        const REMEDY: &str = "free some space: `cargo clean` deletes what was built, `./homeward down --purge` the data of a stack";
        let names = self.names.join(" and ");
        let what = format!(
            "the disk of {names} has {} free, and {} may be needed",
            gb(self.free),
            gb(self.needed)
        );
        match self.files_free {
            _ if self.free < self.needed => Finding::problem(CHECK, what, REMEDY),
            Some(files) if files < FILES => {
                let what = format!("the disk of {names} has room for {files} more files only");
                Finding::problem(CHECK, what, REMEDY)
            }
            _ if self.free < 2 * self.needed => Finding::warning(CHECK, what, REMEDY),
            _ => {
                let what = format!("the disk of {names} has {} free", gb(self.free));
                Finding::ok(CHECK, what)
            }
        }
    }
}

fn gb(bytes: u64) -> String {
    format!("{}.{} GB", bytes / GB, bytes % GB / (GB / 10))
}

/// Nothing where the kernel does not say.
pub(super) fn memory() -> Option<Finding> {
    let available = available(&fs::read_to_string("/proc/meminfo").ok()?)?;
    // A container is ended by its own limit, of which the kernel's table knows nothing.
    let limit = ["memory.max", "memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|file| fs::read_to_string(Path::new("/sys/fs/cgroup").join(file)).ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(u64::MAX);
    Some(judge_memory(available.min(limit)))
}

/// Bytes that programs can have without swapping.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn judge_memory(bytes: u64) -> Finding {
    const CHECK: &str = "memory";
    const REMEDY: &str =
        "end other programs, start fewer services (`up --only`), or build with CARGO_BUILD_JOBS=1";
    let what = format!("{} of memory are free", gb(bytes));
    match bytes {
        _ if bytes < GB => Finding::problem(
            CHECK,
            format!("{what}, and a stack takes up to 1 GB"),
            REMEDY,
        ),
        _ if bytes < 3 * GB => Finding::warning(
            CHECK,
            format!("{what}, and a build takes up to 2 GB"),
            REMEDY,
        ),
        _ => Finding::ok(CHECK, what),
    }
}

/// The hard limit is what counts: services raise their own to it.
pub(super) fn open_files() -> Finding {
    const CHECK: &str = "open files";
    const REMEDY: &str = "raise `nofile` in /etc/security/limits.conf and log in again, or the limit of the container";
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < 1024 => Finding::problem(
            CHECK,
            format!("a process may open {most} files, and a service takes up to 1024"),
            REMEDY,
        ),
        Some(most) if most < 4096 => Finding::warning(
            CHECK,
            format!("a process may open {most} files, which are also its connections"),
            REMEDY,
        ),
        Some(most) => Finding::ok(CHECK, format!("a process may open {most} files")),
        None => Finding::ok(CHECK, "a process may open any number of files"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn disk(free: u64, files_free: Option<u64>) -> Finding {
        let disk = Disk {
            names: vec!["builds", "data"],
            device: 0,
            needed: 7 * GB,
            free,
            files_free,
        };
        disk.judge()
    }

    #[test]
    fn a_full_disk_is_a_problem_and_a_nearly_full_one_a_warning() {
        let full = disk(7 * GB - 1, None);
        assert_eq!(full.level, Level::Problem);
        assert_eq!(
            full.what,
            "the disk of builds and data has 6.9 GB free, and 7.0 GB may be needed"
        );
        assert!(full.remedy.is_some());
        assert_eq!(disk(7 * GB, Some(FILES)).level, Level::Warning);
        assert_eq!(disk(14 * GB, Some(FILES)).level, Level::Ok);
    }

    #[test]
    fn a_disk_without_room_for_files_is_a_problem() {
        assert_eq!(disk(100 * GB, Some(FILES - 1)).level, Level::Problem);
    }

    #[test]
    fn too_little_memory_is_a_problem_for_a_stack_and_a_warning_for_a_build() {
        let table = "MemTotal:        2000000 kB\nMemAvailable:     900000 kB\n";
        let bytes = available(table).unwrap();
        assert_eq!(bytes, 921_600_000);
        let little = judge_memory(bytes);
        assert_eq!(little.level, Level::Problem);
        assert!(little.what.starts_with("0.9 GB"), "{}", little.what);
        assert_eq!(judge_memory(2 * GB).level, Level::Warning);
        assert_eq!(judge_memory(3 * GB).level, Level::Ok);
    }

    #[test]
    fn this_machine_says_how_much_memory_it_has() {
        assert!(memory().is_some());
    }
}
