//! A Redis of our own: private port and folder, password, 127.0.0.1 only; it keeps nothing over a
//! restart.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};

use super::process::{Check, Spec};
use crate::{
    checkout::Folder,
    os::{
        process::{Launch, Signal},
        secret,
    },
    packages,
};

const SETTINGS: &str = include_str!("../../settings/redis.conf");
pub(crate) const PROGRAM: &str = "redis-server";
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct Redis {
    pub(crate) port: u16,
    program: PathBuf,
    folder: PathBuf,
    password: String,
    log: PathBuf,
}

impl Redis {
    pub(crate) fn new(folder: &Folder, port: u16) -> anyhow::Result<Self> {
        Ok(Self {
            port,
            program: packages::find(PROGRAM).context("Redis is not installed")?,
            folder: folder.path().join("redis"),
            password: secret::keep(&folder.secrets().join("redis-password"))?,
            log: folder.log("redis"),
        })
    }

    /// The address for its clients.
    pub(crate) fn url(&self) -> String {
        url(self.port, &self.password)
    }

    /// Readies its folder for a start.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .with_context(|| format!("cannot make the folder {}", self.folder.display()))?;
        // In a file: an argument would show the password to everybody.
        secret::write(&self.settings(), &self.text())
    }

    fn text(&self) -> String {
        format!(
            "{SETTINGS}port {}\ndir \"{}\"\nrequirepass {}\n",
            self.port,
            self.folder.display(),
            self.password
        )
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("redis.conf")
    }

    pub(crate) fn spec(&self) -> Spec {
        Spec {
            name: "redis".to_owned(),
            replica: 0,
            launch: Launch {
                program: self.program.clone(),
                args: vec![self.settings().into()],
                env: Default::default(),
                folder: self.folder.clone(),
                log: self.log.clone(),
                run_as: None,
                on_parent_death: Signal::TERM,
            },
            stop: Signal::TERM,
            check: Check::Redis(self.port),
        }
    }

    /// Deletes what is in it, if it runs.
    pub(crate) fn flush(&self) -> anyhow::Result<()> {
        let commands = format!("AUTH {}\r\nFLUSHALL\r\n", self.password);
        match ask(self.port, &commands, "+OK\r\n+OK\r\n".len(), PATIENCE) {
            Ok(answer) if answer == "+OK\r\n+OK\r\n" => Ok(()),
            Ok(answer) => bail!("redis says {answer:?}"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The password is hexadecimal and needs no quotes.
pub(crate) fn url(port: u16, password: &str) -> String {
    format!("redis://:{password}@127.0.0.1:{port}")
}

/// Whether the one on this port serves; that it asks for the password is an answer.
pub(crate) fn serves(port: u16, timeout: Duration) -> Result<(), String> {
    match ask(port, "PING\r\n", 1, timeout) {
        Ok(answer) if answer.starts_with('+') || answer.starts_with("-NOAUTH") => Ok(()),
        Ok(answer) => Err(answer.trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Sends commands and reads until there are so many bytes of an answer.
fn ask(port: u16, commands: &str, bytes: usize, timeout: Duration) -> io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(commands.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 256];
    while answer.len() < bytes {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn redis() -> Redis {
        Redis {
            port: 4621,
            program: "/usr/bin/redis-server".into(),
            folder: "/stack/redis".into(),
            password: "secret".to_owned(),
            log: "/stack/logs/redis.log".into(),
        }
    }

    #[test]
    fn it_listens_on_loopback_only_with_a_password_that_no_argument_shows() {
        let text = redis().text();
        for line in [
            "bind 127.0.0.1",
            "port 4621",
            "requirepass secret",
            "dir \"/stack/redis\"",
            "save \"\"",
            "appendonly no",
        ] {
            assert_eq!(
                text.lines().filter(|said| *said == line).count(),
                1,
                "{line}"
            );
        }
        let args = redis().spec().launch.args;
        assert_eq!(args, ["/stack/redis/redis.conf"]);
        assert_eq!(redis().url(), "redis://:secret@127.0.0.1:4621");
    }

    fn says(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 6]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let serves = serves(port, PATIENCE);
        server.join().unwrap();
        serves
    }

    #[test]
    fn one_that_asks_for_the_password_serves_and_one_that_loads_does_not() {
        assert_eq!(says("-NOAUTH Authentication required.\r\n"), Ok(()));
        assert_eq!(says("+PONG\r\n"), Ok(()));
        assert!(says("-LOADING Redis is loading the dataset in memory\r\n").is_err());
    }
}
