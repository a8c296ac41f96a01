//! GraphQL for web and mobile: one schema over the gRPC services.

mod clients;
mod ids;
mod model;
mod mutation;
mod query;
mod schema;
mod session;
mod status;
mod subscription;
mod targets;
#[cfg(test)]
mod tests;
mod web;

use std::process::ExitCode;
use std::sync::Arc;

use api::homeward::identity::v1::IDENTITY_SERVICE;
use clap::Args;
use platform::auth::Verifier;
use platform::client::{Channel, Metrics};
use platform::config::{AuthArgs, Environment, HttpArgs, SealArgs, Secret};
use platform::sealed::Sealer;
use platform::{App, Runtime};
use platform_cache::RedisArgs;
use platform_events::KafkaArgs;
use platform_graphql::feed::FeedArgs;
use platform_graphql::rate::{Limiter, RateArgs};
use platform_graphql::{Endpoint, EndpointArgs, Graphiql, Limits, Live, LiveArgs, health};

use crate::clients::Clients;
use crate::status::Monitor;
use crate::subscription::Readers;
use crate::targets::Targets;

/// How the BFF is configured.
#[derive(Args)]
struct Config {
    #[command(flatten)]
    http: HttpArgs,

    #[command(flatten)]
    auth: AuthArgs,

    #[command(flatten)]
    endpoint: EndpointArgs,

    #[command(flatten)]
    seal: SealArgs,

    #[command(flatten)]
    rate: RateArgs,

    #[command(flatten)]
    feed: FeedArgs,

    #[command(flatten)]
    live: LiveArgs,

    #[command(flatten)]
    redis: RedisArgs,

    #[command(flatten)]
    kafka: KafkaArgs,

    /// The BFF's own secret. With it identity is told from which address a client logs in;
    /// without it identity slows down guesses by name only.
    #[arg(env = "SERVICE_SECRET")]
    service_secret: Option<Secret>,

    #[command(flatten)]
    targets: Targets,
}

fn main() -> ExitCode {
    // The schema is the same under every configuration, so `sdl` works without one.
    if std::env::args().skip(1).eq(["sdl"]) {
        print!("{}", schema::sdl());
        return ExitCode::SUCCESS;
    }
    App::<Config>::new("bff")
        .events(api::EVENTS, &["events.offer", "events.user", "events.vote"])
        .command("sdl", "Prints the schema.", async |_| {
            print!("{}", schema::sdl());
            Ok(())
        })
        .main(start)
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let verifier = Arc::new(Verifier::new(&config.auth));
    let metrics = Metrics::new(rt.registry());
    let Targets(targets) = config.targets;
    let monitor = Monitor::new(&targets);
    let channel = |(name, target)| (name, Channel::connect(&metrics, name, &target));
    let clients = Clients {
        channels: targets.into_iter().map(channel).collect(),
        verifier: verifier.clone(),
        service_secret: config.service_secret,
        status: monitor.known(),
    };
    rt.spawn("platform-status", |stop| monitor.run(stop));
    let kafka = config.kafka.connect(rt);
    let readers = Readers::new(config.feed.window(), verifier.clone());
    let sealer = Sealer::new(&config.seal)?;
    let feeds = readers.feeds(&sealer);
    for (task, reader) in readers.tasks() {
        let kafka = kafka.clone();
        rt.spawn(task, move |stop| reader.run(kafka, stop));
    }
    let sessions = session::sessions(
        config.http.public_url.as_ref(),
        rt.environment(),
        config.endpoint.cors_origins.clone(),
        sealer,
        clients.channel(&IDENTITY_SERVICE),
    )?;
    let redis = config.redis.connect(rt.name(), rt.registry())?;
    let limiter = Limiter::new(config.rate, Some(redis))?;
    let open = rt.environment() != Environment::Production;
    let live = Live::new(&config.live);
    live.register(rt.registry());
    let (schema, checker) = schema::build(&clients, &feeds, open);
    let mut endpoint = Endpoint::new(schema, checker, Limits::default(), verifier)
        .configured(&config.endpoint, !open)?
        .own_documents(web::manifest())
        .live(live.clone())
        .limiter(Arc::new(limiter));
    if let Some(sessions) = sessions {
        endpoint = endpoint.sessions(sessions);
    }
    endpoint.register(rt.registry());
    let grace = rt.grace();
    rt.spawn("live", move |stop| live.run(stop, grace));
    let mut routes = health().merge(web::router(open));
    if open {
        let page = Graphiql::new("/graphql", include_str!("../graphiql/login.js"));
        routes = routes.merge(page.router());
        endpoint = endpoint.page(move |_| page.page());
    }
    rt.http(&config.http, endpoint.router("/graphql").merge(routes));
    Ok(())
}
