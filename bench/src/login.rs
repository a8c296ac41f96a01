//! `bench login`: whether time tells a name that nobody has from a wrong password.
//!
//! That both run the same steps is asserted by counts, in the tests of identity; this prints how long
//! they take. Wants a Postgres and a Kafka: `./homeward bench login` starts such.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use api::homeward::identity::v1::identity_service_client::IdentityServiceClient;
use api::homeward::identity::v1::{LoginRequest, RegisterRequest, UserKind};
use platform_testkit::{Stack, Vars};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::Config;

const PASSWORD: &str = "correct horse battery";

#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Args {
    /// Logins of each kind.
    #[arg(long, default_value_t = 200)]
    tries: usize,
}

/// Logins by one name, all with a wrong password.
struct Row {
    name: &'static str,
    email: String,
    took: Vec<Duration>,
}

pub(crate) async fn run(_: Config, args: Args) -> anyhow::Result<()> {
    ensure!(args.tries > 0, "at least one try of each kind, please");
    // Nobody waits, however often a login has failed.
    let unlimited = |name: &str| (name.to_owned(), u32::MAX.to_string());
    let limits = ["NAME_AND_ADDRESS", "NAME", "ADDRESS"];
    let vars: Vars = limits
        .map(|what| unlimited(&format!("LOGIN_FAILURES_{what}_MAX")))
        .into();
    let stack = Stack::of(["identity"]).vars("identity", vars).start().await;
    let url = format!("http://{}", stack.grpc_addr("identity", 0));
    let channel = Channel::from_shared(url)?.connect().await?;
    let mut client = IdentityServiceClient::new(channel);

    let mut rows = [
        ("wrong password", true),
        ("the same of another", true),
        ("unknown name", false),
    ]
    .map(|(name, known)| (Row::new(name), known));
    for (row, known) in &rows {
        if *known {
            client.register(row.registration()).await?;
        }
    }
    println!(
        "login: {} tries of each, in turn; {} CPUs{}\n",
        args.tries,
        std::thread::available_parallelism().map_or(0, usize::from),
        if cfg!(debug_assertions) {
            ", NOT A RELEASE BUILD"
        } else {
            ""
        }
    );
    for number in 0..args.tries {
        // Each is first as often as last.
        for at in 0..rows.len() {
            let (row, _) = &mut rows[(at + number) % 3];
            row.fail(&mut client).await?;
        }
    }
    println!(
        "{:<24}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "ms", "min", "p25", "median", "p75", "max", "ratio"
    );
    let rows = rows.map(|(row, _)| row.sorted());
    let reference = rows[0].quantile(50);
    for row in &rows {
        let times = [0, 25, 50, 75, 100].map(|percent| row.quantile(percent) * 1000.0);
        let [min, low, median, high, max] = times.map(|ms| format!("{ms:.2}"));
        println!(
            "{:<24}{min:>9}{low:>9}{median:>9}{high:>9}{max:>9}{:>9.3}",
            row.name,
            row.quantile(50) / reference
        );
    }
    Ok(())
}

impl Row {
    fn new(name: &'static str) -> Row {
        Row {
            name,
            email: format!("{}@example.org", Uuid::now_v7().simple()),
            took: Vec::new(),
        }
    }

    fn registration(&self) -> RegisterRequest {
        RegisterRequest {
            request_id: Uuid::now_v7().to_string(),
            email: self.email.clone(),
            password: PASSWORD.to_owned(),
            display_name: "Ada".to_owned(),
            kind: UserKind::Mover.into(),
            ..RegisterRequest::default()
        }
    }

    async fn fail(&mut self, client: &mut IdentityServiceClient<Channel>) -> anyhow::Result<()> {
        let request = LoginRequest {
            email: self.email.clone(),
            password: "wrong".to_owned(),
            organisation_id: String::new(),
        };
        let began = Instant::now();
        let answer = client.login(request).await;
        self.took.push(began.elapsed());
        let refused = answer.err().context("a wrong password was right")?;
        ensure!(refused.code() == tonic::Code::Unauthenticated, "{refused}");
        Ok(())
    }

    fn sorted(mut self) -> Row {
        self.took.sort_unstable();
        self
    }

    /// In seconds, of times that are sorted.
    fn quantile(&self, percent: usize) -> f64 {
        let at = (self.took.len() - 1) * percent / 100;
        self.took[at].as_secs_f64()
    }
}
