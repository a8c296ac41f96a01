//! How the services behind the schema are: every replica of each is asked all the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use platform::client::{Channel, GrpcTarget, Metrics};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// With the time for an answer, less than the two seconds in which a fault is to be seen.
const INTERVAL: Duration = Duration::from_millis(800);
const ANSWER_TIME_MAX: Duration = Duration::from_millis(500);

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) service: &'static str,
    /// Since when the service is up, or down.
    pub(crate) since: DateTime<Utc>,
    /// Of each replica, what is wrong with it.
    pub(crate) replicas: Vec<Option<Trouble>>,
}

/// What is wrong with a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing listens there.
    Unreachable,
    /// No answer in time.
    Silent,
    /// It says so itself: something that it needs is away, or it is stopping.
    Unready,
    /// An answer that is none.
    Broken,
}

impl Health {
    /// One replica is enough.
    pub(crate) fn is_up(&self) -> bool {
        self.replicas.contains(&None)
    }

    /// The health now, after what was known before.
    fn after(self, before: Option<&Health>) -> Health {
        match before {
            Some(before) if before.is_up() == self.is_up() => Health {
                since: before.since,
                ..self
            },
            _ => self,
        }
    }
}

/// Asks.
pub(crate) struct Monitor {
    services: Vec<(&'static str, Vec<Channel>)>,
    known: watch::Sender<Option<Arc<[Health]>>>,
}

/// What is known; cheap to clone.
#[derive(Clone)]
pub(crate) struct Known(watch::Receiver<Option<Arc<[Health]>>>);

impl Monitor {
    pub(crate) fn new(targets: &BTreeMap<&'static str, GrpcTarget>) -> Monitor {
        // Probes are not among the calls that are measured.
        let metrics = Metrics::new(&mut Registry::default());
        let services = targets.iter().map(|(name, target)| {
            let replicas = target.urls().map(|url| {
                let one = url.parse().expect("one address of a target is a target");
                Channel::connect(&metrics, name, &one)
            });
            (*name, replicas.collect())
        });
        Monitor {
            services: services.collect(),
            known: watch::Sender::new(None),
        }
    }

    pub(crate) fn known(&self) -> Known {
        Known(self.known.subscribe())
    }

    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut interval = tokio::time::interval(INTERVAL);
        while stop.run_until_cancelled(interval.tick()).await.is_some() {
            let measured = join_all(self.services.iter().map(measure));
            let Some(measured) = stop.run_until_cancelled(measured).await else {
                break;
            };
            self.known.send_modify(|known| {
                let before = known.take();
                let mut before = before.iter().flat_map(|all| all.iter());
                let all = measured
                    .into_iter()
                    .map(|health| health.after(before.next()));
                *known = Some(all.collect());
            });
        }
        Ok(())
    }
}

impl Known {
    /// What was measured last; at the start, what is about to be.
    pub(crate) async fn get(&self) -> Result<Arc<[Health]>, Status> {
        let mut known = self.0.clone();
        let known = known.wait_for(Option::is_some).await;
        let known = known.map_err(|_| Status::unavailable("stopping"))?;
        known.clone().ok_or_else(|| Status::unavailable("stopping"))
    }
}

async fn measure((service, replicas): &(&'static str, Vec<Channel>)) -> Health {
    Health {
        service,
        replicas: join_all(replicas.iter().map(ask)).await,
        since: platform::time::now(),
    }
}

async fn ask(replica: &Channel) -> Option<Trouble> {
    let mut client = HealthClient::new(replica.clone());
    let call = client.check(HealthCheckRequest::default());
    match platform::deadline::scope(ANSWER_TIME_MAX, call).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => None,
        Ok(_) => Some(Trouble::Unready),
        Err(status) => Some(match status.code() {
            Code::Unavailable => Trouble::Unreachable,
            Code::DeadlineExceeded | Code::Cancelled => Trouble::Silent,
            _ => Trouble::Broken,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_changes_with_up_and_down_alone() {
        let health = |second, replicas: &[Option<Trouble>]| Health {
            service: "catalog",
            since: DateTime::from_timestamp(second, 0).unwrap(),
            replicas: replicas.to_vec(),
        };
        let first = health(1, &[None, None]).after(None);
        assert_eq!(first.since.timestamp(), 1);
        let one_away = health(2, &[None, Some(Trouble::Unreachable)]).after(Some(&first));
        assert!(one_away.is_up());
        assert_eq!(one_away.since.timestamp(), 1);
        let down = health(3, &[Some(Trouble::Silent), Some(Trouble::Unready)]);
        let down = down.after(Some(&one_away));
        assert!(!down.is_up());
        assert_eq!(down.since.timestamp(), 3);
        let other = health(4, &[Some(Trouble::Unready), Some(Trouble::Unready)]);
        assert_eq!(other.after(Some(&down)).since.timestamp(), 3);
    }
}
