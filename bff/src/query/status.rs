use async_graphql::{Context, Enum, Object, SimpleObject};
use platform_graphql::DateTime;
use tonic::Status;

use crate::clients::Clients;
use crate::status::{Health, Trouble};

#[derive(Default)]
pub(crate) struct StatusQuery;

#[Object]
impl StatusQuery {
    /// How the services are on which this API rests, as it is now or was two seconds ago at most.
    async fn platform_status(&self, ctx: &Context<'_>) -> Option<Result<PlatformStatus, Status>> {
        // For everybody, whatever token they hold: it may be identity that is down.
        let clients: &Clients = ctx.data_unchecked();
        Some(clients.status.get().await.map(|all| PlatformStatus {
            services: all.iter().map(ServiceStatus::of).collect(),
        }))
    }
}

/// How the platform is.
#[derive(SimpleObject)]
struct PlatformStatus {
    /// Every service that this API calls.
    services: Vec<ServiceStatus>,
}

/// How a service is.
#[derive(SimpleObject)]
struct ServiceStatus {
    name: String,
    state: ServiceState,
    /// Since when the service is in this state.
    since: DateTime,
    /// What is wrong with a replica; null if nothing is.
    why: Option<ServiceTrouble>,
    /// Processes that there should be.
    replicas: i32,
    /// Processes that do their work.
    replicas_up: i32,
}

impl ServiceStatus {
    fn of(health: &Health) -> ServiceStatus {
        let count = |replicas: usize| i32::try_from(replicas).unwrap_or(i32::MAX);
        let troubles: Vec<Trouble> = health.replicas.iter().copied().flatten().collect();
        ServiceStatus {
            name: health.service.to_owned(),
            state: if health.is_up() {
                ServiceState::Up
            } else {
                ServiceState::Down
            },
            since: DateTime(health.since),
            why: troubles.first().map(|trouble| (*trouble).into()),
            replicas: count(health.replicas.len()),
            replicas_up: count(health.replicas.len() - troubles.len()),
        }
    }
}

/// Whether a service does its work.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum ServiceState {
    /// At least one process does.
    Up,
    /// None does: what it knows is null, and cannot be changed.
    Down,
}

/// What is wrong with a process.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Trouble")]
enum ServiceTrouble {
    /// It cannot be reached.
    Unreachable,
    /// It does not answer in time.
    Silent,
    /// It says that it is not ready: something that it needs is away, or it is stopping.
    Unready,
    /// It answers something else.
    Broken,
}
