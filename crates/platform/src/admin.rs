//! The admin port: `/live`, `/ready` and `/metrics`.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::future::{BoxFuture, join_all};
use prometheus_client::{encoding::text::encode, registry::Registry};

/// A condition that does not answer in time does not hold.
const CHECK_TIME_MAX: Duration = Duration::from_secs(1);

/// Whether the service can answer its main calls.
#[derive(Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    phase: Phase,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Starting,
    Serving,
    Draining,
}

#[derive(Clone)]
struct Condition {
    name: &'static str,
    check: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

/// What keeps a service from being ready, by condition; empty when it is.
pub(crate) type Unready = BTreeMap<&'static str, String>;

impl Readiness {
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).phase = phase;
    }

    pub(crate) fn require<F>(
        &self,
        name: &'static str,
        check: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check = Arc::new(move || Box::pin(check()) as BoxFuture<'static, _>);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.conditions.push(Condition { name, check });
    }

    pub(crate) async fn check(&self) -> Unready {
        let (phase, conditions) = {
            let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (inner.phase, inner.conditions.clone())
        };
        match phase {
            Phase::Starting => return BTreeMap::from([("phase", "starting".to_owned())]),
            Phase::Draining => return BTreeMap::from([("phase", "draining".to_owned())]),
            Phase::Serving => {}
        }
        let checks = conditions.iter().map(async |condition| {
            let result = tokio::time::timeout(CHECK_TIME_MAX, (condition.check)()).await;
            let result = result.unwrap_or_else(|_| Err("does not answer".to_owned()));
            result.err().map(|problem| (condition.name, problem))
        });
        join_all(checks).await.into_iter().flatten().collect()
    }
}

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    registry: Arc<OnceLock<Registry>>,
}

/// The registry is there once the service has started; until then there are no metrics.
pub(crate) fn router(readiness: Readiness, registry: Arc<OnceLock<Registry>>) -> Router {
    Router::new()
        .route("/live", get("live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Admin {
            readiness,
            registry,
        })
}

async fn ready(State(admin): State<Admin>) -> Response {
    let unready = admin.readiness.check().await;
    if unready.is_empty() {
        "ready\n".into_response()
    } else {
        let kind = [(CONTENT_TYPE, "application/json")];
        let text = serde_json::json!(unready).to_string();
        (StatusCode::SERVICE_UNAVAILABLE, kind, text).into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let Some(registry) = admin.registry.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    };
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_means_serving_with_every_condition_met() {
        let readiness = Readiness::default();
        assert_eq!(readiness.check().await["phase"], "starting");
        readiness.enter(Phase::Serving);
        assert!(readiness.check().await.is_empty());

        readiness.require("postgres", async || Err("connection refused".to_owned()));
        readiness.require("keys", async || Ok(()));
        let unready = readiness.check().await;
        assert_eq!(
            unready,
            BTreeMap::from([("postgres", "connection refused".to_owned())])
        );

        readiness.enter(Phase::Draining);
        assert_eq!(readiness.check().await["phase"], "draining");
    }

    #[tokio::test]
    async fn a_condition_that_hangs_does_not_hold() {
        let readiness = Readiness::default();
        readiness.enter(Phase::Serving);
        readiness.require("postgres", std::future::pending);
        assert_eq!(readiness.check().await["postgres"], "does not answer");
    }
}
