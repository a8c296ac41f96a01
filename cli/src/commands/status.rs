use std::process::ExitCode;

use super::Base;
use crate::{
    checkout::Checkout,
    progress::answer,
    stack::state::{State, Status},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    base: Base,
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Exit code 0 while somebody looks after the stack, ready or not; 1 when nothing runs.
pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let folder = checkout.folder(args.base.port_base);
    let state = State::read(&folder)?;
    let status = state.as_ref().map(State::status_now).unwrap_or_default();
    let running = state.as_ref().is_some_and(State::supervised);
    let base = args.base.port_base;
    answer(&match &state {
        _ if args.json => serde_json::to_string_pretty(&status)?,
        Some(state) if running => format!(
            "{}\nthis is {}, logs are in {}\ndata are in {}",
            text(&status),
            state.step,
            folder.logs().display(),
            state.data
        ),
        Some(state) => format!(
            "nothing runs at port base {base}; data are in {}",
            state.data
        ),
        None => format!("nothing runs at port base {base}"),
    });
    Ok(if running {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A status for people.
pub(crate) fn text(status: &Status) -> String {
    let mut lines = Vec::new();
    for url in &status.graphql {
        lines.push(format!("GraphQL   {url}"));
    }
    if let Some(url) = &status.identity {
        lines.push(format!("identity  {url}"));
    }
    if let Some(url) = &status.postgres {
        lines.push(format!("Postgres  {url}"));
    }
    if let Some(url) = &status.redis {
        lines.push(format!("Redis     {url}"));
    }
    if let Some(address) = &status.kafka {
        lines.push(format!("Kafka     {address}"));
    }
    if let (Some(password), Some(account)) = (&status.demo.password, status.demo.accounts.first()) {
        lines.push(format!(
            "demo      {} accounts, such as {}, password {password}",
            status.demo.accounts.len(),
            account.email
        ));
    }
    lines.push(String::new());
    for service in &status.services {
        let pid = service
            .pid
            .map(|pid| format!("pid {pid}"))
            .unwrap_or_default();
        lines.push(format!(
            "{:<16} {:<2} {:<10} {:<12} {}",
            service.name,
            service.replica,
            service.state.word(),
            pid,
            service
                .grpc
                .as_deref()
                .or(service.admin.as_deref())
                .unwrap_or_default()
        ));
    }
    lines.join("\n") + "\n"
}
