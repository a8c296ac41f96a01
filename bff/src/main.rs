//! GraphQL for web and mobile: one schema over the gRPC services.

mod clients;
mod ids;
mod model;
mod mutation;
mod query;
mod schema;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use platform::auth::Verifier;
use platform::client::{Channel, GrpcTarget, Metrics};
use platform::config::{AuthArgs, Environment, HttpArgs, duration};
use platform::{App, Runtime};
use platform_events::KafkaArgs;
use platform_graphql::Endpoint;

use crate::clients::Clients;

/// How the BFF is configured.
#[derive(Args)]
struct Config {
    #[command(flatten)]
    http: HttpArgs,

    #[command(flatten)]
    auth: AuthArgs,

    #[command(flatten)]
    kafka: KafkaArgs,

    /// Addresses of `identity`, separated by commas.
    #[arg(env = "GRPC_IDENTITY")]
    grpc_identity: GrpcTarget,

    /// Addresses of `catalog`, separated by commas.
    #[arg(env = "GRPC_CATALOG")]
    grpc_catalog: GrpcTarget,

    /// Addresses of `recommendations`, separated by commas.
    #[arg(env = "GRPC_RECOMMENDATIONS")]
    grpc_recommendations: GrpcTarget,

    /// Time for a request, handed on to every call that it makes.
    #[arg(env = "REQUEST_DEADLINE", default_value = "10s", value_parser = duration)]
    request_deadline: Duration,
}

fn main() -> ExitCode {
    // The schema is the same under every configuration, so `sdl` works without one.
    if std::env::args().skip(1).eq(["sdl"]) {
        print!("{}", schema::sdl());
        return ExitCode::SUCCESS;
    }
    App::<Config>::new("bff")
        .command("sdl", "Prints the schema.", async |_| {
            print!("{}", schema::sdl());
            Ok(())
        })
        .main(start)
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let verifier = Arc::new(Verifier::new(&config.auth));
    let metrics = Metrics::new(rt.registry());
    let clients = Clients {
        identity: Channel::connect(&metrics, "identity", &config.grpc_identity),
        catalog: Channel::connect(&metrics, "catalog", &config.grpc_catalog),
        recommendations: Channel::connect(
            &metrics,
            "recommendations",
            &config.grpc_recommendations,
        ),
        verifier: verifier.clone(),
    };
    let kafka = config.kafka.connect(rt.name(), rt.registry());
    rt.spawn("revocations", {
        let verifier = verifier.clone();
        move |stop| platform_events::revocations(kafka, verifier, api::EVENTS, stop)
    });
    let open = rt.environment() != Environment::Production;
    let endpoint = Endpoint::new(schema::build(clients, open), verifier)
        .deadline(config.request_deadline)
        .introspection(open);
    rt.http(&config.http, endpoint.router("/graphql"));
    Ok(())
}
