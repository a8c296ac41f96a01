//! Readiness: Postgres answers, and has every migration that the service knows.

use std::time::{Duration, Instant};

use platform::Runtime;
use platform::config::Secret;
use sqlx::migrate::Migrator;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::migrate;
use crate::pool::serving_options;

const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(2);
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Whether the database is there, or why not.
pub(crate) type State = Result<(), String>;

/// Looks at the database on a connection of its own, so that a busy pool is not taken for a
/// lost database.
struct Watch {
    service: &'static str,
    url: Secret,
    /// What the pool connects with; the secret may change while the service runs.
    current: String,
    pool: PgPool,
    migrators: Vec<&'static Migrator>,
    conn: Option<PgConnection>,
}

/// Answers what is known from then on.
pub(crate) fn start(
    rt: &mut Runtime,
    url: &Secret,
    pool: PgPool,
    migrators: &[&'static Migrator],
) -> watch::Receiver<State> {
    let watch = Watch {
        service: rt.name(),
        url: url.clone(),
        current: url.expose(),
        pool,
        migrators: migrators.to_vec(),
        conn: None,
    };
    let (sender, state) = watch::channel(Err("not reached yet".to_owned()));
    let known = state.clone();
    rt.ready_when("database", move || {
        let state = state.borrow().clone();
        async move { state }
    });
    rt.spawn("database-watch", move |stop| watch.run(sender, stop));
    known
}

impl Watch {
    async fn run(
        mut self,
        sender: watch::Sender<State>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut said: Option<Instant> = None;
        loop {
            let state = match tokio::time::timeout(PATIENCE, self.check()).await {
                Ok(state) => state,
                Err(_) => Err("no answer in time".to_owned()),
            };
            match &state {
                Ok(()) => {
                    if sender.borrow().is_err() {
                        info!("the database is there");
                    }
                    said = None;
                }
                Err(problem) => {
                    self.conn = None;
                    if said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
                        warn!("waiting for the database: {problem}");
                        said = Some(Instant::now());
                    }
                }
            }
            let _ = sender.send_replace(state);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn check(&mut self) -> State {
        self.follow_secret()?;
        if let Some(conn) = &mut self.conn {
            return conn.ping().await.map_err(|error| error.to_string());
        }
        let options =
            serving_options(&self.url, self.service).map_err(|error| error.to_string())?;
        let mut conn = options.connect().await.map_err(|error| error.to_string())?;
        migrate::verify(&mut conn, &self.migrators).await?;
        self.conn = Some(conn);
        Ok(())
    }

    /// Connections made from now on use a changed password; those that are open live on.
    fn follow_secret(&mut self) -> State {
        let url = self.url.expose();
        if url != self.current {
            let options =
                serving_options(&self.url, self.service).map_err(|error| error.to_string())?;
            self.pool.set_connect_options(options);
            self.current = url;
            self.conn = None;
        }
        Ok(())
    }
}
