//! What every replica says at `/metrics`, as far as it is asked for.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};

use super::Base;
use crate::{
    checkout::Checkout,
    http,
    progress::answer,
    stack::state::{Service, State},
};

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    base: Base,
    /// Of the lines, those whose name begins with this; all without it.
    #[arg(default_value = "")]
    name: String,
    /// Asks this service only.
    #[arg(long)]
    service: Option<String>,
}

/// Exit code 1 if a replica cannot be asked: what it would say is unknown.
pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let base = args.base.port_base;
    let state = State::read(&checkout.folder(base))?.filter(State::supervised);
    let state = state.with_context(|| format!("no stack runs at port base {base}"))?;
    let asked = |service: &&Service| {
        args.service
            .as_ref()
            .is_none_or(|name| *name == service.name)
    };
    let services: Vec<&Service> = state.status.services.iter().filter(asked).collect();
    if services.is_empty() {
        bail!("no such service runs");
    }
    let mut all = true;
    for service in services {
        match of(service) {
            Ok(text) => wanted(&text, &args.name).for_each(|line| {
                answer(&format!("{} {} {line}", service.name, service.replica));
            }),
            Err(error) => {
                eprintln!("{} {}: {error:#}", service.name, service.replica);
                all = false;
            }
        }
    }
    Ok(if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn of(service: &Service) -> anyhow::Result<String> {
    let admin = service.admin.as_deref().context("it has no admin port")?;
    let port = admin.rsplit(':').next().and_then(|port| port.parse().ok());
    let port = port.with_context(|| format!("{admin} has no port"))?;
    Ok(http::get(port, "/metrics", TIMEOUT)?.body)
}

/// Lines with a value; the many of a histogram only where they are asked for.
fn wanted<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let bucket = |line: &str| line.split('{').next().unwrap_or(line).ends_with("_bucket");
    text.lines().filter(move |line| {
        let with_buckets = name.ends_with("_bucket") || !bucket(line);
        !line.starts_with('#') && line.starts_with(name) && with_buckets
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_the_beginning_of_their_name() {
        let text = "# HELP a_b Some.\n# TYPE a_b gauge\na_b{x=\"1\"} 2\nc_total 3\n# EOF\n";
        assert_eq!(wanted(text, "a_").collect::<Vec<_>>(), ["a_b{x=\"1\"} 2"]);
        assert_eq!(wanted(text, "").count(), 2);
        let histogram = "d_seconds_bucket{le=\"1.0\"} 1\nd_seconds_count 1\n";
        assert_eq!(
            wanted(histogram, "d_").collect::<Vec<_>>(),
            ["d_seconds_count 1"]
        );
        assert_eq!(wanted(histogram, "d_seconds_bucket").count(), 1);
    }
}
