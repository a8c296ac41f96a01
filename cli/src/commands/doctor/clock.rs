//! Whether the clock can be right, as far as that can be told without asking another machine.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::Finding;
use crate::checkout::Checkout;

const CHECK: &str = "clock";
/// Tokens are good for minutes; less than this does no harm.
const TOLERANCE: Duration = Duration::from_secs(60);

/// A file from the future shows that the clock is behind, or was ahead; the hardware's clock shows
/// both, where there is one.
pub(super) fn findings(checkout: &Checkout) -> Vec<Finding> {
    let now = SystemTime::now();
    let newest = newest(checkout);
    let hardware = fs::read_to_string("/sys/class/rtc/rtc0/since_epoch")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let system = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let found = [
        newest.and_then(|newest| behind(now, newest)),
        hardware.and_then(|hardware| apart(system.as_secs(), hardware)),
    ];
    let found: Vec<Finding> = found.into_iter().flatten().collect();
    if found.is_empty() {
        return vec![Finding::ok(CHECK, "no file here is newer than the clock")];
    }
    found
}

/// What was written last of the checkout's root, of the stacks, and this program.
fn newest(checkout: &Checkout) -> Option<(PathBuf, SystemTime)> {
    let stacks = checkout.root.join(".homeward");
    let mut folders = vec![checkout.root.clone(), stacks];
    folders.extend(
        checkout
            .port_bases()
            .iter()
            .map(|base| checkout.folder(base).path()),
    );
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()));
    entries
        .chain(std::env::current_exe().ok())
        .filter_map(|path| {
            let written = fs::symlink_metadata(&path).ok()?.modified().ok()?;
            Some((path, written))
        })
        .max_by_key(|(_, written)| *written)
}

fn behind(now: SystemTime, (path, written): (PathBuf, SystemTime)) -> Option<Finding> {
    let ahead = written.duration_since(now).ok()?;
    if ahead <= TOLERANCE {
        return None;
    }
    let path = path.display();
    Some(Finding::problem(
        CHECK,
        format!(
            "the clock is off: {path} was written {} from now",
            span(ahead.as_secs())
        ),
        format!("set the clock (`sudo timedatectl set-ntp true`); if it is right, `touch {path}`"),
    ))
}

/// Compares with the hardware's clock, in seconds since 1970.
fn apart(system: u64, hardware: u64) -> Option<Finding> {
    const QUARTER: u64 = 15 * 60;
    let apart = system.abs_diff(hardware);
    // Some keep local time in the hardware, a number of quarters of an hour (at most 14 hours) off.
    let zone = apart <= 14 * 3600 + TOLERANCE.as_secs();
    let off = match zone {
        true => (apart % QUARTER).min(QUARTER - apart % QUARTER),
        false => apart,
    };
    (off > TOLERANCE.as_secs()).then(|| {
        Finding::warning(
            CHECK,
            format!("clock and hardware clock are {} apart", span(off)),
            "set the clock (`sudo timedatectl set-ntp true`), then the hardware's (`sudo hwclock --systohc`)",
        )
    })
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_file_from_the_future_is_a_problem_of_the_clock() {
        let now = SystemTime::now();
        let found = |ahead| behind(now, ("Cargo.lock".into(), now + Duration::from_secs(ahead)));
        let finding = found(3 * 86_400).unwrap();
        assert_eq!(finding.level, Level::Problem);
        assert_eq!(
            finding.what,
            "the clock is off: Cargo.lock was written 3 days from now"
        );
        assert_eq!(found(60), None);
        assert_eq!(behind(now, ("old".into(), UNIX_EPOCH)), None);
    }

    #[test]
    fn a_clock_apart_from_the_hardwares_is_a_warning_and_a_time_zone_is_not() {
        let now = 1_800_000_000;
        assert_eq!(apart(now, now - 61).unwrap().level, Level::Warning);
        assert_eq!(apart(now, now + 300).unwrap().level, Level::Warning);
        assert_eq!(apart(now, now + 10 * 86_400).unwrap().level, Level::Warning);
        for hardware in [now, now + 60, now - 3600, now + 5 * 3600 + 1800 + 2] {
            assert_eq!(apart(now, hardware), None);
        }
    }
}
