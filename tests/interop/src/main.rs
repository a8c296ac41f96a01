//! The service that gRPC's interop client calls, on the server stack that every service has.

use std::process::ExitCode;
use std::sync::Arc;

use platform::auth::Verifier;
use platform::config::{AuthArgs, GrpcArgs};
use platform::{App, Runtime};

mod contract;
mod echo;
mod service;

use contract::{TEST_SERVICE, TestServiceServer};
use echo::Echo;
use service::Testing;

#[derive(clap::Args)]
struct Config {
    #[command(flatten)]
    grpc: GrpcArgs,
    #[command(flatten)]
    auth: AuthArgs,
}

fn main() -> ExitCode {
    App::<Config>::new("interop")
        .services(const { &[&TEST_SERVICE] })
        .main(start)
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let verifier = Arc::new(Verifier::new(&config.auth));
    let server = Echo(TestServiceServer::new(Testing));
    rt.grpc(&config.grpc, verifier, server);
    Ok(())
}
