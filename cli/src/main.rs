//! The `homeward` command: runs the whole platform on this machine, and its tests.

mod cargo;
mod checkout;
mod commands;
mod demo;
mod http;
mod image;
mod os;
mod packages;
mod progress;
mod stack;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use checkout::Checkout;

#[derive(Parser)]
#[command(
    name = "homeward",
    version,
    about = "Runs Homeward on this machine, and its tests."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what is missing (as root), builds, starts everything, loads demo data, prints URLs.
    Up(commands::up::Args),
    /// Stops a stack; its data stay.
    Down(commands::down::Args),
    /// Shows a stack: addresses, processes, demo accounts.
    Status(commands::status::Args),
    /// Runs everything that must pass, and prints the seconds of each stage.
    Test(commands::test::Args),
    /// Builds the image of a service, without a container engine.
    Image(commands::image::Args),
    /// Shows on a real Kubernetes API server what becomes of the charts.
    #[command(subcommand)]
    Cluster(commands::cluster::What),
    /// Measures a part of the platform, beside its peers where it has some.
    #[command(subcommand)]
    Bench(commands::bench::What),
    /// Looks for what would keep `up` or `test` from working.
    Doctor(commands::doctor::Args),
    /// Adds to this checkout what builds and passes its tests from the first moment.
    #[command(subcommand)]
    New(commands::new::What),
    /// Looks after databases in development.
    #[command(subcommand)]
    Db(commands::db::Command),
    /// Shows events, and decides about parked ones.
    Events(commands::events::Args),
    /// Shows what the services count and measure.
    Metrics(commands::metrics::Args),
    /// Follows votes or offers as they change.
    Watch(commands::watch::Args),
    /// Explains the words by which the platform refuses.
    Errors(commands::errors::Args),
    /// Prints what makes a shell complete this command line.
    Completions(commands::completions::Args),
    /// Shows the keys that sign access tokens, and rotates them.
    Keys(commands::keys::Args),
    /// Runs a command that dies with its parent.
    #[command(hide = true)]
    Child(commands::child::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) if error.is::<os::signals::Interrupted>() => ExitCode::from(130),
        Err(error) => {
            eprintln!("homeward: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Child(args) => return commands::child::run(args),
        Command::Completions(args) => return Ok(commands::completions::run(args, &Cli::command())),
        _ => {}
    }
    let checkout = Checkout::find()?;
    match cli.command {
        Command::Up(args) => commands::up::run(&checkout, &args),
        Command::Down(args) => commands::down::run(&checkout, &args),
        Command::Status(args) => commands::status::run(&checkout, &args),
        Command::Test(args) => commands::test::run(&checkout, &args),
        Command::Image(args) => commands::image::run(&checkout, &args),
        Command::Cluster(what) => commands::cluster::run(&checkout, &what),
        Command::Bench(what) => commands::bench::run(&checkout, &what),
        Command::Doctor(args) => commands::doctor::run(&checkout, &args),
        Command::Events(args) => commands::events::run(&checkout, &args),
        Command::Metrics(args) => commands::metrics::run(&checkout, &args),
        Command::Watch(args) => commands::watch::run(&checkout, &args),
        Command::Keys(args) => commands::keys::run(&checkout, &args),
        Command::New(what) => commands::new::run(&checkout, &what),
        Command::Db(command) => commands::db::run(&checkout, &command),
        Command::Errors(args) => commands::errors::run(&checkout, &args),
        Command::Child(_) | Command::Completions(_) => Ok(ExitCode::FAILURE),
    }
}

#[cfg(test)]
mod tests {
    use super::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
