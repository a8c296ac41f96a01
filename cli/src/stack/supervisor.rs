//! Brings a stack up, keeps it up, takes it down.
//!
//! All processes are started from the thread that calls [`run`], which must be the main one.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    process::Child,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

use super::{
    databases,
    environment::{self, Purpose},
    plan::{Endpoint, Plan, url},
    postgres::Postgres,
    process::{Check, Process, Spec},
    state::{Phase, Running, Service, State, Status, Wanted},
};
use crate::{
    checkout::Folder,
    demo,
    os::{
        ports,
        process::{Identity, Launch, Signal},
        secret,
        signals::{Stop, wait_until},
    },
    progress::Progress,
};

const TICK: Duration = Duration::from_millis(30);
/// Longest wait for everything to be ready.
const PATIENCE: Duration = Duration::from_secs(120);
/// Deaths in a row after which a first start is given up.
const FAILURES_MAX: u32 = 4;
/// A little longer than services take to finish what they have begun.
const GRACE: Duration = Duration::from_secs(25);

/// Held by the one supervisor of a stack for as long as it lives.
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

/// None when another process holds it.
pub(crate) fn lock(folder: &Folder) -> anyhow::Result<Option<Lock>> {
    lock_file(&folder.lock())
}

/// As [`lock`], for what is not of one stack.
pub(crate) fn lock_file(path: &Path) -> anyhow::Result<Option<Lock>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Ends what an earlier supervisor left behind, then looks whether the ports are free.
pub(crate) fn clear_the_way(plan: &Plan) -> anyhow::Result<()> {
    if let Some(state) = State::read(&plan.folder)? {
        state.clear_leftovers();
    }
    for port in plan.ports() {
        // What has just ended may need a moment to let go.
        if !wait_until(Duration::from_millis(500), || ports::free(port)) {
            bail!(
                "port {port} is taken by {}; stop it, or take other ports with `./homeward up --port-base {}`",
                ports::holder(port),
                if plan.port_base < 60_000 {
                    plan.port_base + 200
                } else {
                    super::plan::DEFAULT_BASE
                }
            );
        }
    }
    Ok(())
}

/// Runs the stack until somebody asks to stop; `ready` is called once, when everything is.
pub(crate) fn run(
    plan: &Plan,
    wanted: Wanted,
    stop: &Stop,
    progress: &mut Progress,
    ready: impl FnOnce(&Status),
) -> anyhow::Result<()> {
    let supervisor = Identity::of(std::process::id()).context("cannot read /proc")?;
    let mut this = Supervisor {
        plan,
        stop,
        progress,
        infrastructure: Vec::new(),
        services: Vec::new(),
        demo: None,
        last_demo: None,
        written: String::new(),
        state: State {
            supervisor,
            wanted,
            step: String::new(),
            status: Status::default(),
            processes: Vec::new(),
            data: places(&plan.folder),
            programs: plan.programs.clone(),
        },
    };
    let outcome = this.bring_up().and_then(|()| {
        this.progress.finish();
        ready(&this.state.status);
        this.watch()
    });
    this.take_down();
    outcome
}

struct Supervisor<'a> {
    plan: &'a Plan,
    stop: &'a Stop,
    progress: &'a mut Progress,
    infrastructure: Vec<Process>,
    services: Vec<Process>,
    /// A running load of the demo data.
    demo: Option<Receiver<demo::Report>>,
    last_demo: Option<Instant>,
    state: State,
    /// What the state file says.
    written: String,
}

impl Supervisor<'_> {
    fn bring_up(&mut self) -> anyhow::Result<()> {
        environment::write_secrets(self.plan)?;
        self.state.status.identity = self
            .plan
            .started
            .contains("identity")
            .then(|| self.plan.issuer());
        self.state.status.graphql = self.plan.graphql();

        let postgres = self.plan.postgres()?;
        if let Some(postgres) = &postgres {
            self.step("starting postgres")?;
            postgres.prepare()?;
            self.state.status.postgres = Some(postgres.url());
            self.start_infrastructure(postgres.spec())?;
        }
        if let Some(redis) = self.plan.redis()? {
            self.step("starting redis")?;
            redis.prepare()?;
            self.state.status.redis = Some(redis.url());
            self.start_infrastructure(redis.spec())?;
        }
        if let Some(kafka) = self.plan.kafka()? {
            self.step("starting kafka")?;
            kafka.prepare()?;
            self.state.status.kafka = Some(kafka.brokers());
            self.start_infrastructure(kafka.spec())?;
        }
        if let Some(postgres) = &postgres {
            self.until_ready(|process| process.spec.name == "postgres")?;
            self.migrate(postgres)?;
        }

        let names: Vec<&str> = self.plan.started.iter().map(String::as_str).collect();
        self.step(&format!("starting {}", names.join(", ")))?;
        for endpoint in self.plan.started_endpoints() {
            let spec = service(self.plan, endpoint)?;
            self.services.push(Process::new(spec));
        }
        // Kafka may take longer than they do: they serve without it.
        self.until_ready(|_| true)?;

        if self.lacks_demo() {
            self.step("loading demo data")?;
            self.load_demo();
            while self.demo.is_some() {
                self.pause()?;
                if let Some(Err(error)) = self.tick()? {
                    return Err(error.context("cannot load the demo data"));
                }
            }
        }
        self.state.status.demo = demo::status(self.plan)?;
        self.step("running")?;
        self.tick()?;
        Ok(())
    }

    /// It gets ready while others are prepared.
    fn start_infrastructure(&mut self, spec: Spec) -> anyhow::Result<()> {
        self.infrastructure.push(Process::new(spec));
        self.tick()?;
        Ok(())
    }

    /// Databases and roles, then every service's own migrations, all at once.
    fn migrate(&mut self, postgres: &Postgres) -> anyhow::Result<()> {
        self.step("making databases")?;
        databases::make(self.plan, postgres)?;
        self.step("migrating databases")?;
        let mut running = start_migrations(self.plan)?;
        while !running.is_empty() {
            self.pause()?;
            self.tick()?;
            let mut failed = None;
            running.retain_mut(|(name, child)| match child.try_wait() {
                Ok(None) => true,
                Ok(Some(status)) if status.success() => false,
                _ => {
                    failed = Some(name.clone());
                    false
                }
            });
            if let Some(name) = failed {
                let log = format!("{name}-migrate");
                bail!(
                    "`{name} migrate` failed\n{}",
                    tail(&self.plan.folder.log(&log))
                );
            }
        }
        Ok(())
    }

    /// Keeps everything running until somebody asks to stop.
    fn watch(&mut self) -> anyhow::Result<()> {
        while !self.stop.asked() {
            thread::sleep(TICK);
            if let Some(Err(error)) = self.tick()? {
                self.progress
                    .note(&format!("cannot load the demo data: {error:#}"));
            }
            // `db reset` takes the demo data away.
            let due = self
                .last_demo
                .is_none_or(|last| last.elapsed() > Duration::from_secs(10));
            if due && self.demo.is_none() && self.all_ready() && self.lacks_demo() {
                self.progress.note("loading demo data");
                self.load_demo();
            }
        }
        Ok(())
    }

    fn lacks_demo(&self) -> bool {
        let wanted = self.state.wanted.demo && demo::possible(&self.plan.started);
        wanted && !demo::complete(self.plan)
    }

    fn load_demo(&mut self) {
        let (sender, receiver) = mpsc::channel();
        let plan = self.plan.clone();
        thread::spawn(move || demo::load(&plan, &sender));
        self.demo = Some(receiver);
        self.last_demo = Some(Instant::now());
    }

    /// One look at everything. Answers the outcome of a load of the demo data when it ends.
    fn tick(&mut self) -> anyhow::Result<Option<anyhow::Result<()>>> {
        for process in self.infrastructure.iter_mut().chain(&mut self.services) {
            if let Some(news) = process.tick() {
                self.progress.note(&news);
            }
        }
        let mut outcome = None;
        while let Some(report) = self
            .demo
            .as_ref()
            .and_then(|reports| reports.try_recv().ok())
        {
            match report {
                demo::Report::Progress(text) => self.progress.detail(&text),
                demo::Report::Done(done) => {
                    self.demo = None;
                    self.state.status.demo = demo::status(self.plan)?;
                    outcome = Some(done);
                }
            }
        }
        self.publish()?;
        Ok(outcome)
    }

    /// Writes what is known, if it has changed.
    fn publish(&mut self) -> anyhow::Result<()> {
        self.state.status.ready =
            self.state.step == "running" && self.all_ready() && !self.lacks_demo();
        self.state.status.services = self
            .plan
            .started_endpoints()
            .zip(&self.services)
            .map(|(endpoint, process)| Service {
                name: endpoint.service.clone(),
                replica: endpoint.replica,
                pid: process.identity().map(|identity| identity.pid),
                grpc: endpoint.grpc.map(url),
                admin: Some(url(endpoint.admin)),
                state: process.phase,
                since: process.since.clone(),
            })
            .collect();
        let all = self.infrastructure.iter().chain(&self.services);
        self.state.processes = all
            .filter_map(|process| {
                Some(Running {
                    name: process.spec.name.clone(),
                    replica: process.spec.replica,
                    identity: process.identity()?,
                    stop: process.spec.stop.as_raw(),
                })
            })
            .collect();
        let json = self.state.json()?;
        if json != self.written {
            secret::write(&self.plan.folder.state(), &json)?;
            self.written = json;
        }
        Ok(())
    }

    fn all_ready(&self) -> bool {
        let mut all = self.infrastructure.iter().chain(&self.services);
        all.all(|process| process.phase == Phase::Ready)
    }

    fn step(&mut self, text: &str) -> anyhow::Result<()> {
        self.stop.check()?;
        self.progress.step(text);
        text.clone_into(&mut self.state.step);
        self.publish()
    }

    fn pause(&self) -> anyhow::Result<()> {
        self.stop.check()?;
        thread::sleep(TICK);
        Ok(())
    }

    fn until_ready(&mut self, which: fn(&Process) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            self.tick()?;
            let all = self.infrastructure.iter().chain(&self.services);
            let waiting: Vec<&Process> = all
                .filter(|process| which(process) && process.phase != Phase::Ready)
                .collect();
            let Some(first) = waiting.first() else {
                return Ok(());
            };
            if let Some(failed) = waiting
                .iter()
                .find(|process| process.failures >= FAILURES_MAX)
            {
                bail!(
                    "{} does not start\n{}",
                    failed.title(),
                    tail(&failed.spec.launch.log)
                );
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "{} does not become ready: {}",
                    first.title(),
                    first.reason()
                );
            }
            let detail = format!("waiting for {}: {}", first.title(), first.reason());
            self.progress.detail(&detail);
            self.pause()?;
        }
    }

    /// Services first, infrastructure after them.
    fn take_down(&mut self) {
        self.progress.step("stopping");
        "stopping".clone_into(&mut self.state.step);
        end(&mut self.services);
        end(&mut self.infrastructure);
        self.state.step.clear();
        if let Err(error) = self.publish() {
            self.progress.note(&format!("{error:#}"));
        }
        self.progress.finish();
    }
}

/// Where data are kept; Postgres of root has another place than the rest.
fn places(folder: &Folder) -> String {
    let mut places = vec![folder.data(), folder.path()];
    places.dedup();
    let places: Vec<String> = places
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    places.join(" and ")
}

fn end(processes: &mut [Process]) {
    for process in processes.iter() {
        process.signal(process.spec.stop);
    }
    if !wait_until(GRACE, || processes.iter_mut().all(Process::gone)) {
        for process in processes.iter() {
            process.signal(Signal::KILL);
        }
        wait_until(Duration::from_secs(5), || {
            processes.iter_mut().all(Process::gone)
        });
    }
}

fn service(plan: &Plan, endpoint: &Endpoint) -> anyhow::Result<Spec> {
    let log = format!("{}-{}", endpoint.service, endpoint.replica);
    Ok(Spec {
        name: endpoint.service.clone(),
        replica: endpoint.replica,
        launch: launch(plan, endpoint, Purpose::Serve, &log)?,
        stop: Signal::TERM,
        check: Check::Http(endpoint.admin, "/ready"),
    })
}

/// A command of a service, with the environment that its first replica has.
pub(crate) fn command(
    plan: &Plan,
    service: &str,
    arguments: Vec<OsString>,
) -> anyhow::Result<Launch> {
    let mut endpoints = plan.endpoints.iter();
    let endpoint = endpoints.find(|endpoint| endpoint.service == service);
    let endpoint = endpoint.context("a service without an endpoint")?;
    Ok(Launch {
        args: arguments,
        ..launch(plan, endpoint, Purpose::Serve, service)?
    })
}

fn launch(plan: &Plan, endpoint: &Endpoint, purpose: Purpose, log: &str) -> anyhow::Result<Launch> {
    let service = plan
        .services
        .iter()
        .find(|service| service.name == endpoint.service);
    let service = service.context("an endpoint without a service")?;
    Ok(Launch {
        program: plan.programs.join(&service.name),
        args: if purpose == Purpose::Migrate {
            vec!["migrate".into()]
        } else {
            Vec::new()
        },
        env: environment::of(plan, service, endpoint, purpose)?,
        folder: plan.checkout.root.clone(),
        log: plan.folder.log(log),
        run_as: None,
        on_parent_death: Signal::KILL,
    })
}

/// `<service> migrate` of every service with a database.
pub(crate) fn start_migrations(plan: &Plan) -> anyhow::Result<Vec<(String, Child)>> {
    let mut running = Vec::new();
    for service in plan
        .started_services()
        .filter(|service| service.needs("postgres"))
    {
        let endpoint = plan
            .endpoints
            .iter()
            .find(|endpoint| endpoint.service == service.name);
        let endpoint = endpoint.context("a service without an endpoint")?;
        let log = format!("{}-migrate", service.name);
        let launch = launch(plan, endpoint, Purpose::Migrate, &log)?;
        // Only the last run is of interest.
        let _ = fs::remove_file(&launch.log);
        let child = launch
            .start()
            .with_context(|| format!("cannot run `{} migrate`", service.name))?;
        running.push((service.name.clone(), child));
    }
    Ok(running)
}

/// The last lines of a log, and where to find the rest.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(15)..];
    format!("{}\n(from {})", last.join("\n"), path.display())
}

/// Empties logs that have grown; called while nothing runs.
pub(crate) fn trim_logs(folder: &Folder) {
    const BYTES_MAX: u64 = 50 << 20;
    for entry in fs::read_dir(folder.logs()).into_iter().flatten().flatten() {
        if entry
            .metadata()
            .is_ok_and(|metadata| metadata.len() > BYTES_MAX)
            && let Ok(mut file) = OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(entry.path())
        {
            let _ = writeln!(file, "earlier lines were deleted");
        }
    }
}
