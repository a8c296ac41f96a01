//! The tests' Redis, and one of a test's own that can be killed and stopped.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::stack::spawn_bound;
use crate::{Vars, ports, secret};

/// Where no Redis listens: what services are given that a test gives none.
pub const NO_REDIS: &str = "redis://127.0.0.1:1";

const PATIENCE: Duration = Duration::from_secs(10);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The tests' Redis, with a prefix for keys of a test's own.
///
/// The keys are left to expire: whoever stores them gives them a life.
pub struct Redis {
    url: String,
    prefix: String,
}

/// A prefix in the Redis of `TEST_REDIS_URL`.
pub fn redis() -> Redis {
    let url = std::env::var("TEST_REDIS_URL").expect(
        "TEST_REDIS_URL is not set: this test needs a Redis, for example \
         redis://:secret@127.0.0.1:6379; `./homeward test` starts one",
    );
    Redis {
        url,
        prefix: prefix(),
    }
}

/// Two runs may share a Redis, and a process may have the number of an earlier one.
fn prefix() -> String {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let run = &secret()[..8];
    format!("kit-{}-{number}-{run}.", std::process::id())
}

impl Redis {
    /// The variables by which a service finds it. Its topics get the prefix as well: for a test
    /// with Kafka, take the prefix of that, which is as good.
    pub fn vars(&self) -> Vars {
        vars(&self.url, &self.prefix)
    }
}

fn vars(url: &str, prefix: &str) -> Vars {
    Vars::from([
        ("REDIS_URL".to_owned(), url.to_owned()),
        ("RESOURCE_PREFIX".to_owned(), prefix.to_owned()),
    ])
}

/// A Redis process of a test's own; it ends with this value.
pub struct RedisProcess {
    address: SocketAddr,
    password: String,
    folder: PathBuf,
    prefix: String,
    child: Mutex<Option<Child>>,
}

impl RedisProcess {
    /// Starts one and waits until it answers.
    pub fn start() -> RedisProcess {
        let prefix = prefix();
        let folder = std::env::temp_dir().join(format!("redis-{prefix}d"));
        std::fs::create_dir(&folder).unwrap();
        let redis = RedisProcess {
            address: ports::free(),
            password: secret(),
            folder,
            prefix,
            child: Mutex::default(),
        };
        redis.run();
        redis
    }

    /// As [`Redis::vars`].
    pub fn vars(&self) -> Vars {
        vars(&self.url(), &self.prefix)
    }

    /// The address with the password.
    pub fn url(&self) -> String {
        format!("redis://:{}@{}", self.password, self.address)
    }

    /// Starts it where it was before, empty.
    pub fn run(&self) {
        let port = self.address.port().to_string();
        let folder = self.folder.to_str().unwrap();
        let mut args = vec!["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        args.extend([
            "--port",
            &port,
            "--dir",
            folder,
            "--requirepass",
            &self.password,
        ]);
        let path = std::env::var("PATH").unwrap_or_default();
        let vars = Vars::from([("PATH".to_owned(), path)]);
        let program = Path::new("redis-server");
        let child = spawn_bound(program, &args, &vars, &self.folder.join("log"));
        *self.child() = Some(child);
        let began = Instant::now();
        while self.ask("PING").is_err() {
            assert!(began.elapsed() < PATIENCE, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGSTOP: connections stay, answers do not come.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Deletes everything in it.
    pub fn flush(&self) {
        assert_eq!(self.ask("FLUSHALL").unwrap(), "+OK");
    }

    fn signal(&self, name: &str) {
        let pid = self.child().as_ref().expect("it runs").id();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status();
        assert!(sent.unwrap().success(), "kill -{name} {pid}");
    }

    /// The first line of the answer to a command without arguments.
    fn ask(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "AUTH {}\r\n{command}\r\nQUIT\r\n", self.password)?;
        let mut answers = String::new();
        stream.read_to_string(&mut answers)?;
        Ok(answers.lines().nth(1).unwrap_or_default().to_owned())
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
