//! The health service of gRPC, as far as it depends on readiness.

use platform_contract::Service;
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::Health as HealthApi;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, health_reporter};

/// Tells the health service whether the process is ready.
#[derive(Clone, Debug)]
pub struct Health(watch::Sender<bool>);

impl Health {
    pub(super) fn new() -> Health {
        Health(watch::Sender::new(false))
    }

    /// Sets what health checks answer, for the whole server and for each of its services.
    pub fn set(&self, ready: bool) {
        self.0
            .send_if_modified(|known| std::mem::replace(known, ready) != ready);
    }

    /// The service, and a task that keeps it up to date for as long as it runs.
    pub(super) async fn server(
        &self,
        services: Vec<&'static Service>,
    ) -> (
        HealthServer<impl HealthApi>,
        impl Future<Output = ()> + Send + use<>,
    ) {
        let (reporter, server) = health_reporter();
        let mut ready = self.0.subscribe();
        let now = *ready.borrow_and_update();
        report(&reporter, &services, now).await;
        let follow = async move {
            while ready.changed().await.is_ok() {
                let now = *ready.borrow_and_update();
                report(&reporter, &services, now).await;
            }
        };
        (server, follow)
    }
}

async fn report(reporter: &HealthReporter, services: &[&'static Service], ready: bool) {
    let status = if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    reporter.set_service_status("", status).await;
    for service in services {
        reporter.set_service_status(service.full_name, status).await;
    }
}
