//! The command `keys`: what there is, and steps out of turn.

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use platform::sealed::Sealer;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::rotation::{self, RotationArgs};
use crate::{
    Config,
    audit::By,
    store::{
        self,
        signing_key::{Row, State},
    },
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) action: Action,
    /// Prints JSON, a value per line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Lists the keys in the key set, the oldest first, and behind them those that are retired.
    List,
    /// Publishes a new key; it signs when everybody must know it. A key that waits already is the one.
    Rotate,
    /// Takes a key out of the key set before its turn, and deletes it.
    Retire {
        /// Its id, as `list` shows it.
        kid: String,
        /// Also if its tokens may be valid: they are void within minutes.
        #[arg(long)]
        leaked: bool,
    },
}

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<()> {
    let sealer = Sealer::new(&config.seal)?;
    let mut conn = PgConnection::connect(&config.db.database_url.expose())
        .await
        .context("cannot connect to the database")?;
    let mut tx = conn.begin().await?;
    let rows = act(&mut tx, &sealer, &config.rotation, &args.action).await?;
    tx.commit().await?;
    for row in &rows {
        let told = tell(row, &config.rotation);
        if args.json {
            println!("{told}");
        } else {
            println!("{}", line(&told));
        }
    }
    Ok(())
}

/// Does it, and answers the keys that it is about.
async fn act(
    tx: &mut PgConnection,
    sealer: &Sealer,
    args: &RotationArgs,
    action: &Action,
) -> anyhow::Result<Vec<Row>> {
    let (by, now) = (By::command(), platform::time::now());
    match action {
        Action::List => {
            let mut rows = store::signing_key::list(tx).await?;
            rows.extend(store::signing_key::list_retired(tx).await?);
            Ok(rows)
        }
        Action::Rotate => Ok(vec![rotation::rotate(tx, sealer, &by, now).await?]),
        Action::Retire { kid, leaked } => {
            rotation::retire_early(tx, args, kid, *leaked, &by, now).await?;
            let retired = store::signing_key::list_retired(tx).await?;
            Ok(retired.into_iter().filter(|row| row.kid == *kid).collect())
        }
    }
}

fn tell(row: &Row, args: &RotationArgs) -> Value {
    let (state, since) = match row.state {
        State::Published => ("published", Some(row.created_at)),
        State::Signing => ("signing", row.signing_at),
        State::Replaced => ("replaced", row.replaced_at),
        State::Retired => ("retired", row.retired_at),
    };
    let time =
        |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    json!({
        "kid": row.kid,
        "state": state,
        "since": time(since),
        "until": time(args.leaves_at(row)),
    })
}

fn line(told: &Value) -> String {
    let text = |name: &str| told[name].as_str().unwrap_or("-").to_owned();
    format!(
        "{}  {:9}  since {}  until {}",
        text("kid"),
        text("state"),
        text("since"),
        text("until")
    )
}
