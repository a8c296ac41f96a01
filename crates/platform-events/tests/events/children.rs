//! Replicas in processes of their own, which can be killed and stopped.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use platform::Runtime;
use platform_db::Db;
use platform_events::Kafka;
use platform_testkit::Vars;

use crate::support::{Config, Recorder, connect, recording, spawn_consumer, spawn_relay};

const VARS: &str = "EVENTS_CHILD_VARS";
const ROLE: &str = "EVENTS_CHILD_ROLE";

/// What a replica does.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Relay,
    Consumer,
}

/// A replica; killed when this is dropped, and gone with the test process in any case.
pub(crate) struct Replica {
    child: Child,
}

impl Replica {
    pub(crate) fn start(role: Role, vars: &Vars) -> Replica {
        let vars: String = vars
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        let role = match role {
            Role::Relay => "relay",
            Role::Consumer => "consumer",
        };
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "children::a_child", "--nocapture"])
            .env(VARS, vars)
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Replica { child }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn stall(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    pub(crate) fn assert_runs(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "a replica has ended: {ended:?}");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child process runs; nothing where this is not one.
#[test]
#[ignore = "run by other tests, in a process of its own"]
fn a_child() {
    let Ok(vars) = std::env::var(VARS) else {
        return;
    };
    let vars: Vars = vars
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let tasks: fn(&mut Runtime, Db, Kafka) = match std::env::var(ROLE).as_deref() {
        Ok("relay") => spawn_relay,
        _ => |rt, db, kafka| spawn_consumer(recording(&Recorder::new("reader")))(rt, db, kafka),
    };
    // The parent never writes: the end of this is the end of the parent.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let start = async |rt: &mut Runtime, config: Config| {
            let (db, kafka) = connect(rt, config).await?;
            tasks(rt, db, kafka);
            Ok(())
        };
        let _running = platform_testkit::start_unready("shop", start, vars).await;
        std::future::pending::<()>().await;
    });
}
