//! What each service and the whole stack take: disk, memory, time to be ready.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::release;
use crate::{
    cargo::{self, Targets},
    checkout::{Checkout, Folder},
    commands::{down, plan_of},
    http,
    os::{
        memory::{Memory, family},
        ports,
        process::{Identity, MYSELF, Signal},
        signals::Stop,
    },
    packages::{self, Need},
    progress::{Progress, answer},
    stack::{
        kafka,
        plan::{self, Plan},
        state::State,
        supervisor::{command, tail},
    },
};

const PAGE: &str = "docs/operations.md";
const BEGIN: &str = "<!-- footprint: made by `./homeward bench footprint` -->\n";
const END: &str = "<!-- end of footprint -->\n";
const HEAD: &str =
    "| | stripped, MB | RSS, MB | PSS, MB | to ready, ms |\n| --- | ---: | ---: | ---: | ---: |\n";
/// After a start, until memory is read: pools, caches and consumers have found their place.
const SETTLE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How the programs are built; what counts is a release.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// How often each service is started; the median is told.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=99))]
    runs: u8,
    /// Prints the table, and leaves the docs as they are.
    #[arg(long)]
    print_only: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    Release,
    Dev,
}

/// A line of the table. Bytes, where it says nothing else.
struct Row {
    name: String,
    size: Option<u64>,
    memory: Memory,
    ready: Option<Duration>,
}

/// With a stack that nobody else uses.
pub(super) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    packages::ensure(Need::FOR_UP)?;
    let stop = Stop::on_signals()?;
    let mut progress = Progress::new();
    kafka::ensure(checkout, &stop, &mut progress)?;
    let programs = match args.profile {
        Profile::Release => {
            progress.finish();
            release(checkout, &[])?
        }
        Profile::Dev => {
            cargo::build(checkout, Targets::Programs, &[], &stop, &mut progress)?.programs
        }
    };
    let base = plan::free_base()?;
    progress.step("starting a stack");
    let first = Stack::start(checkout, base, &programs, &stop)?;
    // The first one makes its databases, which is not what everyday starts do.
    down::stop(&first.folder)?;
    progress.step("starting it again");
    let stack = Stack::start(checkout, base, &programs, &stop)?;
    progress.step("measuring");
    pause(SETTLE, &stop)?;
    let rows = measure(checkout, base, &stack, args.runs, &stop, &mut progress)?;
    drop((stack, first));
    progress.finish();

    let table = table(&rows, &facts(args));
    answer(&table);
    if !args.print_only {
        let page = checkout.root.join(PAGE);
        let text = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
        fs::write(&page, replaced(&text, &table)?)?;
        eprintln!("{PAGE} has this table now");
    }
    Ok(ExitCode::SUCCESS)
}

/// A running stack, gone with its data when the value is.
struct Stack {
    folder: Folder,
    supervisor: Child,
    /// From the start of `up` until all was ready.
    took: Duration,
}

impl Stack {
    fn start(checkout: &Checkout, base: u16, programs: &Path, stop: &Stop) -> anyhow::Result<Self> {
        let folder = checkout.folder(base);
        folder.make()?;
        let log = folder.log("supervisor");
        let began = Instant::now();
        let supervisor = Command::new(MYSELF)
            .args(["up", "--demo=no", "--port-base"])
            .arg(base.to_string())
            .arg("--supervise")
            .arg(programs)
            .env("HOMEWARD_ROOT", &checkout.root)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(Stdio::null())
            .spawn()?;
        let mut this = Self {
            folder,
            supervisor,
            took: Duration::ZERO,
        };
        let identity = Identity::of(this.supervisor.id());
        loop {
            let state = State::read(&this.folder)?;
            if state.is_some_and(|state| Some(state.supervisor) == identity && state.status.ready) {
                this.took = began.elapsed();
                return Ok(this);
            }
            if this.supervisor.try_wait()?.is_some() {
                bail!("the stack does not start\n{}", tail(&log));
            }
            pause(Duration::from_millis(10), stop)?;
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = down::stop(&self.folder);
        let _ = self.supervisor.wait();
        let _ = self.folder.purge();
    }
}

fn measure(
    checkout: &Checkout,
    base: u16,
    stack: &Stack,
    runs: u8,
    stop: &Stop,
    progress: &mut Progress,
) -> anyhow::Result<Vec<Row>> {
    let (state, plan) = plan_of(checkout, base)?;
    let mut rows = Vec::new();
    for process in &state.processes {
        let family = family(process.identity.pid);
        let memory = family.iter().map(|pid| Memory::of(*pid));
        rows.push(Row {
            name: process.name.clone(),
            size: None,
            memory: memory.reduce(Memory::and).unwrap_or_default(),
            ready: None,
        });
    }
    // What is told of memory is of a stack at rest, so nothing is started before.
    for row in &mut rows {
        let Some(service) = plan
            .services
            .iter()
            .find(|service| service.name == row.name)
        else {
            continue;
        };
        progress.step(&format!("starting {} {runs} times", service.name));
        row.size = Some(stripped(&plan, &service.name)?);
        let starts: anyhow::Result<Vec<Duration>> = (0..runs)
            .map(|_| start_of(&plan, &service.name, stop))
            .collect();
        row.ready = median(starts?);
    }
    // Services first, as they are what one asks about.
    rows.sort_by_key(|row| (row.size.is_none(), row.name.clone()));
    let all = rows.iter().map(|row| row.memory).reduce(Memory::and);
    rows.push(Row {
        name: "all".to_owned(),
        size: Some(rows.iter().filter_map(|row| row.size).sum()),
        memory: Memory {
            // What is shared would count several times.
            resident: None,
            ..all.unwrap_or_default()
        },
        ready: Some(stack.took),
    });
    Ok(rows)
}

/// From exec until a further replica in the stack says that it is ready.
fn start_of(plan: &Plan, service: &str, stop: &Stop) -> anyhow::Result<Duration> {
    let mut launch = command(plan, service, Vec::new())?;
    let admin = ports::any()?;
    for listen in ["LISTEN_GRPC", "LISTEN_HTTP"] {
        if launch.env.contains_key(listen) {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::any()?));
            launch.env.insert(listen.to_owned(), address.to_string());
        }
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
    launch
        .env
        .insert("LISTEN_ADMIN".to_owned(), address.to_string());
    launch.log = plan.folder.log("footprint");

    let began = Instant::now();
    let mut child = launch.start()?;
    let identity = Identity::of(child.id());
    let ready = || http::get(admin, "/ready", PATIENCE).is_ok_and(|answer| answer.status == 200);
    let outcome = loop {
        if ready() {
            break Ok(began.elapsed());
        }
        if began.elapsed() > PATIENCE || child.try_wait()?.is_some() {
            break Err(anyhow::anyhow!(
                "{service} does not start\n{}",
                tail(&launch.log)
            ));
        }
        if let Err(interrupted) = pause(Duration::from_millis(1), stop) {
            break Err(interrupted);
        }
    };
    if let Some(identity) = identity {
        identity.end(Signal::TERM, PATIENCE);
    }
    child.wait()?;
    outcome
}

fn pause(time: Duration, stop: &Stop) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    loop {
        stop.check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Bytes without symbols, as in an image; of the program as it is where there is no `strip`.
fn stripped(plan: &Plan, service: &str) -> anyhow::Result<u64> {
    let program = plan.programs.join(service);
    let copy = plan.folder.path().join("stripped");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&copy).arg(&program);
    let done = strip.status().is_ok_and(|status| status.success());
    let measured: &PathBuf = if done { &copy } else { &program };
    Ok(fs::metadata(measured)?.len())
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// What the numbers depend on.
fn facts(args: &Args) -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let runs = args.runs;
    let programs = match args.profile {
        Profile::Release => "programs as in images",
        Profile::Dev => "profile `dev`",
    };
    format!(
        "{cores} cores ({}), {programs}, one replica each, {} s after all were ready; \
         median of {runs} starts beside the running stack; `all` is a start of the whole stack with its data there.",
        std::env::consts::ARCH,
        SETTLE.as_secs()
    )
}

fn table(rows: &[Row], facts: &str) -> String {
    let mb = |bytes: Option<u64>| {
        bytes.map_or("–".to_owned(), |bytes| {
            format!("{:.1}", bytes as f64 / 1e6)
        })
    };
    let mut text = format!("{facts}\n\n{HEAD}");
    for row in rows {
        let ready = row
            .ready
            .map_or("–".to_owned(), |time| time.as_millis().to_string());
        let (name, size) = (&row.name, mb(row.size));
        let (resident, proportional) = (mb(row.memory.resident), mb(row.memory.proportional));
        let _ = writeln!(
            text,
            "| {name} | {size} | {resident} | {proportional} | {ready} |"
        );
    }
    text
}

/// The page with this table in place of the one before.
fn replaced(page: &str, table: &str) -> anyhow::Result<String> {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}{table}{END}{after}"))
    });
    parts.with_context(|| format!("{PAGE} has no place for the table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_takes_the_place_of_the_one_before() {
        let row = Row {
            name: "catalog".to_owned(),
            size: Some(12_340_000),
            memory: Memory {
                resident: Some(20_480_000),
                proportional: None,
            },
            ready: median([30, 10, 20].map(Duration::from_millis).to_vec()),
        };
        let table = table(&[row], "2 cores");
        assert!(
            table.ends_with("| catalog | 12.3 | 20.5 | – | 20 |\n"),
            "{table}"
        );
        let page = |table| format!("before\n{BEGIN}{table}{END}after\n");
        assert_eq!(replaced(&page("old\n"), &table).unwrap(), page(&table));
        assert!(replaced("without\n", &table).is_err());
    }

    #[test]
    fn the_docs_have_the_columns_that_are_measured() {
        let page = include_str!("../../../../docs/operations.md");
        assert!(replaced(page, "").is_ok());
        assert!(page.contains(HEAD));
    }
}
