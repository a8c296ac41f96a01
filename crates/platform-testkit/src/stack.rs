//! The real binaries, each replica a process of its own that can be killed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};

use serde::Deserialize;

use crate::kafka::NO_BROKER;
use crate::redis::NO_REDIS;
use crate::service::until_ready;
use crate::{TestDb, Vars, db_with_roles, ports, secret};

/// Lines of each log that are printed when a test fails.
const LINES_SHOWN: usize = 100;

/// Which services to start; see [`Stack::of`].
pub struct Plan {
    services: Vec<(&'static str, usize, Vars)>,
}

/// Services running as processes; they end with this value, and with the test process.
pub struct Stack {
    services: BTreeMap<&'static str, Service>,
    logs: PathBuf,
}

struct Service {
    replicas: Vec<Replica>,
    db: Option<TestDb>,
}

struct Replica {
    program: PathBuf,
    vars: Vars,
    log: PathBuf,
    grpc: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
    process: Mutex<Option<Child>>,
}

/// What a binary says of itself, as far as it matters here.
#[derive(Deserialize)]
struct Described {
    needs: Vec<String>,
    calls: Vec<String>,
    config: Vec<Setting>,
    ports: Vec<String>,
}

#[derive(Deserialize)]
struct Setting {
    env: String,
}

impl Stack {
    /// One replica each of the named binaries, which lie beside the test's own.
    ///
    /// A service that serves HTTP and is called `identity` is the issuer of all the others;
    /// without it, give the variables of an [`crate::Issuer`] to each.
    pub fn of(services: impl IntoIterator<Item = &'static str>) -> Plan {
        let services = services.into_iter().map(|name| (name, 1, Vars::new()));
        Plan {
            services: services.collect(),
        }
    }
}

impl Plan {
    /// Several replicas of a service.
    #[must_use]
    pub fn replicas(mut self, service: &str, count: usize) -> Plan {
        self.entry(service).1 = count;
        self
    }

    /// Variables for a service, over those that the stack gives it.
    #[must_use]
    pub fn vars(mut self, service: &str, vars: Vars) -> Plan {
        self.entry(service).2.extend(vars);
        self
    }

    fn entry(&mut self, service: &str) -> &mut (&'static str, usize, Vars) {
        self.services
            .iter_mut()
            .find(|(name, ..)| *name == service)
            .unwrap_or_else(|| panic!("{service} is not in the stack"))
    }

    /// Makes databases, migrates, starts everything and waits until all of it is ready.
    pub async fn start(self) -> Stack {
        let logs = log_folder();
        let addresses: BTreeMap<&str, Vec<Addresses>> = self
            .services
            .iter()
            .map(|(name, count, _)| (*name, (0..*count).map(|_| Addresses::free()).collect()))
            .collect();
        let secrets: Vars = addresses
            .keys()
            .map(|name| ((*name).to_owned(), secret()))
            .collect();
        let shared = shared_vars(&addresses, &secrets);

        let mut stack = Stack {
            services: BTreeMap::new(),
            logs,
        };
        for (name, _, own) in self.services {
            let program = binary(name);
            let described = describe(&program);
            let mut vars = shared.clone();
            vars.insert("SEAL_KEY".to_owned(), secret());
            vars.insert("SERVICE_SECRET".to_owned(), secrets[name].clone());
            for called in &described.calls {
                vars.entry(target_variable(called))
                    .or_insert_with(|| "http://127.0.0.1:1".to_owned());
            }
            let db = if described.needs.iter().any(|need| need == "postgres") {
                let db = db_with_roles(&[]).await;
                // The owner's URL is for `migrate` alone.
                vars.insert("DATABASE_URL".to_owned(), db.url.clone());
                Some(db)
            } else {
                None
            };
            vars.extend(own);

            let replicas = addresses[name].iter().zip(0..).map(|(at, number)| {
                let mut vars = vars.clone();
                vars.extend(at.vars());
                if described.ports.iter().any(|port| port == "http") {
                    vars.entry("PUBLIC_URL".to_owned())
                        .or_insert_with(|| format!("http://{}", at.http));
                }
                // A binary is told what it asks for, and nothing else.
                vars.retain(|name, _| described.config.iter().any(|s| s.env == *name));
                Replica {
                    program: program.clone(),
                    vars,
                    log: stack.logs.join(format!("{name}-{number}.log")),
                    grpc: at.grpc,
                    http: at.http,
                    admin: at.admin,
                    process: Mutex::default(),
                }
            });
            let replicas: Vec<Replica> = replicas.collect();
            stack.services.insert(name, Service { replicas, db });

            let service = &stack.services[name];
            if let Some(db) = &service.db {
                service.replicas[0].migrate(db);
            }
            for replica in &service.replicas {
                replica.spawn();
            }
        }
        stack.until_ready().await;
        stack
    }
}

impl Stack {
    /// Waits until every replica that was not killed is ready.
    pub async fn until_ready(&self) {
        for (name, service) in &self.services {
            for replica in service.replicas.iter().filter(|r| r.is_started()) {
                replica.until_ready(name).await;
            }
        }
    }

    /// All replicas of a service, as a client's list: `http://127.0.0.1:1,http://127.0.0.1:2`.
    pub fn grpc(&self, service: &str) -> String {
        list(self.service(service).replicas.iter().map(|r| r.grpc))
    }

    /// The gRPC address of one replica.
    pub fn grpc_addr(&self, service: &str, replica: usize) -> SocketAddr {
        self.replica(service, replica).grpc
    }

    /// The HTTP address of one replica.
    pub fn http_addr(&self, service: &str, replica: usize) -> SocketAddr {
        self.replica(service, replica).http
    }

    /// The admin address of one replica.
    pub fn admin_addr(&self, service: &str, replica: usize) -> SocketAddr {
        self.replica(service, replica).admin
    }

    /// The database of a service.
    pub fn db(&self, service: &str) -> &TestDb {
        let db = &self.service(service).db;
        db.as_ref()
            .unwrap_or_else(|| panic!("{service} has no database"))
    }

    /// The process id of a replica; `None` after it was killed.
    pub fn pid(&self, service: &str, replica: usize) -> Option<u32> {
        let process = self.replica(service, replica).process();
        process.as_ref().map(Child::id)
    }

    /// Kills a replica with SIGKILL, between two instructions.
    pub fn kill(&self, service: &str, replica: usize) {
        self.replica(service, replica).kill();
    }

    /// Starts a replica that was killed, on its old ports, and waits until it is ready.
    pub async fn restart(&self, service: &str, replica: usize) {
        let replica = self.replica(service, replica);
        replica.kill();
        replica.spawn();
        replica.until_ready(service).await;
    }

    /// What a replica has logged so far.
    pub fn log(&self, service: &str, replica: usize) -> String {
        std::fs::read_to_string(&self.replica(service, replica).log).unwrap_or_default()
    }

    fn service(&self, name: &str) -> &Service {
        let service = self.services.get(name);
        service.unwrap_or_else(|| panic!("{name} is not in the stack"))
    }

    fn replica(&self, service: &str, number: usize) -> &Replica {
        let replica = self.service(service).replicas.get(number);
        replica.unwrap_or_else(|| panic!("{service} has no replica {number}"))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for service in self.services.values() {
            for replica in &service.replicas {
                replica.kill();
            }
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.logs);
            return;
        }
        for replica in self.services.values().flat_map(|s| &s.replicas) {
            let log = std::fs::read_to_string(&replica.log).unwrap_or_default();
            let skipped = log.lines().count().saturating_sub(LINES_SHOWN);
            eprintln!("--- {} ({skipped} lines before)", replica.log.display());
            for line in log.lines().skip(skipped) {
                eprintln!("{line}");
            }
        }
    }
}

impl Replica {
    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_started(&self) -> bool {
        self.process().is_some()
    }

    fn spawn(&self) {
        let child = spawn_bound(&self.program, &[], &self.vars, &self.log);
        *self.process() = Some(child);
    }

    fn kill(&self) {
        if let Some(mut child) = self.process().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn migrate(&self, db: &TestDb) {
        let mut vars = self.vars.clone();
        vars.extend(db.vars());
        let mut child = spawn_bound(&self.program, &["migrate"], &vars, &self.log);
        let status = child.wait().unwrap();
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let program = self.program.display();
        assert!(status.success(), "{program} migrate: {status}\n{log}");
    }

    async fn until_ready(&self, name: &str) {
        until_ready(name, self.admin, || {
            let ended = self.process().as_mut()?.try_wait().unwrap()?;
            Some(format!("it ended with {ended}"))
        })
        .await;
    }
}

/// The ports of one replica, which it keeps when it is restarted.
struct Addresses {
    grpc: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Addresses {
    fn free() -> Addresses {
        let [grpc, http, admin] = [(); 3].map(|()| ports::free());
        Addresses { grpc, http, admin }
    }

    fn vars(&self) -> Vars {
        Vars::from([
            ("LISTEN_GRPC".to_owned(), self.grpc.to_string()),
            ("LISTEN_HTTP".to_owned(), self.http.to_string()),
            ("LISTEN_ADMIN".to_owned(), self.admin.to_string()),
        ])
    }
}

/// How the services find each other, and what is the same for all.
fn shared_vars(addresses: &BTreeMap<&str, Vec<Addresses>>, secrets: &Vars) -> Vars {
    let pairs = secrets
        .iter()
        .map(|(name, secret)| format!("{name}={secret}"));
    let secrets = Vec::from_iter(pairs).join(",");
    let mut vars = Vars::from([
        ("ENVIRONMENT".to_owned(), "test".to_owned()),
        ("LOG_FORMAT".to_owned(), "human".to_owned()),
        ("SHUTDOWN_GRACE".to_owned(), "5s".to_owned()),
        ("SERVICE_SECRETS".to_owned(), secrets),
        ("KAFKA_BROKERS".to_owned(), NO_BROKER.to_owned()),
        ("REDIS_URL".to_owned(), NO_REDIS.to_owned()),
    ]);
    for (name, replicas) in addresses {
        vars.insert(
            target_variable(name),
            list(replicas.iter().map(|at| at.grpc)),
        );
    }
    if let Some([first, ..]) = addresses.get("identity").map(Vec::as_slice) {
        let url = format!("http://{}", first.http);
        vars.insert(
            "JWKS_URL".to_owned(),
            format!("{url}/.well-known/jwks.json"),
        );
        vars.insert("ISSUER_URL".to_owned(), url);
    }
    vars
}

fn target_variable(service: &str) -> String {
    format!("GRPC_{}", service.to_uppercase().replace('-', "_"))
}

fn list(addresses: impl Iterator<Item = SocketAddr>) -> String {
    let urls: Vec<String> = addresses.map(|addr| format!("http://{addr}")).collect();
    urls.join(",")
}

/// Tests lie in a folder below the programs (`target/debug/deps`), benchmarks beside them. Where what is
/// built on the way has a folder of its own (cargo's `build-dir`), programs lie below `CARGO_TARGET_DIR`.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let mut places: Vec<_> = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(Path::to_owned)
        .collect();
    let profile = places[1].file_name().map(PathBuf::from);
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    if let (Some(target), Some(profile)) = (target.filter(|target| target.is_absolute()), profile) {
        places.insert(0, target.join(profile));
    }
    let mut programs = places.into_iter().map(|folder| folder.join(name));
    programs
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is missing; run `cargo build --workspace` first"))
}

fn describe(program: &Path) -> Described {
    let output = Command::new(program).arg("describe").output().unwrap();
    let (answer, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(answer)
        .unwrap_or_else(|error| panic!("{} describe: {error}\n{errors}", program.display()))
}

fn log_folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("stack-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Starts a process that dies with this one.
pub(crate) fn spawn_bound(program: &Path, args: &[&str], vars: &Vars, log: &Path) -> Child {
    let out = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    let errors: File = out.try_clone().unwrap();
    // `setpriv` becomes the program, so that the process id is the program's own.
    let mut command = if cfg!(target_os = "linux") && Path::new("/usr/bin/setpriv").exists() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .args(args)
        .env_clear()
        .env("RUST_BACKTRACE", "1")
        .envs(vars)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(errors);
    SPAWNER.spawn(command)
}

/// A child dies with the thread that started it, and the thread of a test ends early: all
/// children are started by one thread that lives as long as the process.
static SPAWNER: LazyLock<Spawner> = LazyLock::new(|| {
    let (jobs, queue) = mpsc::channel::<Job>();
    std::thread::spawn(move || {
        for Job { mut command, reply } in queue {
            let _ = reply.send(command.spawn());
        }
    });
    Spawner(Mutex::new(jobs))
});

struct Spawner(Mutex<mpsc::Sender<Job>>);

struct Job {
    command: Command,
    reply: mpsc::Sender<std::io::Result<Child>>,
}

impl Spawner {
    fn spawn(&self, command: Command) -> Child {
        let program = command.get_program().to_owned();
        let (reply, child) = mpsc::channel();
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.send(Job { command, reply }).expect("the thread lives");
        drop(jobs);
        let child = child.recv().expect("the thread answers");
        child.unwrap_or_else(|error| panic!("{}: {error}", program.display()))
    }
}
