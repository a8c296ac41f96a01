//! The gRPC server: one listener, one stack of layers in front of every method.
//!
//! From the outside in: panics become a status ([`panics`]), every call is traced, logged and counted
//! ([`telemetry`]), time runs ([`timeout`]), too much work is refused ([`crate::admission`]), the caller is found
//! out and held against the contract ([`access`]), the request is measured ([`message`]), and the method runs.
//! The answer passes through [`answer`], which keeps time, permit and span until its last frame, and where that
//! is not taken, [`stalled`] ends it. Health and reflection stand beside it, and are never refused.
//!
//! So a refusal costs neither the verification of a token nor the reading of a request. What is known before is
//! the path, and with it the class of the method, which is in the contract; who calls is not, and so nobody's
//! token buys a better place. A stream keeps its place until its last message.

mod access;
mod answer;
mod health;
mod message;
mod panics;
mod routes;
mod serve;
mod stack;
mod stalled;
mod telemetry;
mod timeout;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use platform_contract::{Served, Service};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;

use crate::admission::{Admission, AdmissionLimits};
use crate::auth::Verifier;
use crate::config::GrpcArgs;

pub use health::Health;
pub(crate) use message::too_large;
pub(crate) use telemetry::{code_name, describe};
pub(crate) use timeout::{header as timeout_header, parse as parse_timeout, passed};

/// A method's or a whole service's implementation, as tonic generates it.
type Server = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The services of one listener.
pub struct Services {
    name: &'static str,
    verifier: Arc<Verifier>,
    args: GrpcArgs,
    telemetry: telemetry::Telemetry,
    admission: Admission,
    health: Health,
    servers: Vec<(&'static Service, Server)>,
}

impl Services {
    /// No services yet; `name` is that of the process.
    pub fn new(
        name: &'static str,
        verifier: Arc<Verifier>,
        args: &GrpcArgs,
        registry: &mut Registry,
    ) -> Services {
        let admission = Admission::new(AdmissionLimits {
            running: args.calls_max,
            waiting: args.call_queue_max,
            age: args.call_queue_age_max,
        });
        admission.register(registry);
        Services {
            name,
            verifier,
            args: args.clone(),
            telemetry: telemetry::Telemetry::new(registry),
            admission,
            health: Health::new(),
            servers: Vec::new(),
        }
    }

    /// Adds a server that the build generated: `services.add(CatalogServiceServer::new(catalog))`.
    pub fn add<S>(&mut self, server: S)
    where
        S: Served + tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.servers
            .push((S::SERVICE, BoxCloneSyncService::new(server)));
    }

    /// The services added so far.
    pub fn contracts(&self) -> impl Iterator<Item = &'static Service> {
        self.servers.iter().map(|(service, _)| *service)
    }

    /// The handle that tells the health service whether the process is ready; not ready until told.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Serves until `drain` is cancelled and the calls in flight have been answered. From then on no
    /// connection is accepted, and those that are there get GOAWAY. When `abort` is cancelled, what is
    /// left is answered UNAVAILABLE.
    pub async fn serve(
        self,
        listener: TcpListener,
        drain: CancellationToken,
        abort: CancellationToken,
    ) {
        let limits = serve::Limits::of(&self.args);
        let health = self.health.clone();
        let (stack, follow) = stack::Stack::new(self, &drain, &abort).await;
        tokio::select! {
            () = serve::serve(Arc::new(stack), health, listener, limits, drain, abort) => {}
            // Only stops when nobody is left who could say anything.
            () = follow => {}
        }
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.contracts().map(|service| service.full_name).collect();
        f.debug_struct("Services")
            .field("name", &self.name)
            .field("services", &names)
            .finish_non_exhaustive()
    }
}
