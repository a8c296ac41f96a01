//! Accounts from elsewhere, with the bcrypt hashes of their passwords. Each line of JSON is one, in a
//! transaction of its own; an address that has an account already is left as it is, so that the same
//! file again changes nothing.

use std::{
    fmt,
    io::{BufRead, Read as _},
};

use anyhow::Context as _;
use api::homeward::identity::v1::{UserKind, UserRegistered};
use chrono::{DateTime, Utc};
use platform::error::FieldErrors;
use platform_db::error::{Kind as Failure, classify};
use platform_events::Actor;
use serde::Deserialize;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::{
    audit::{Action, By, Entry},
    domain::{Error, Kind, UserId},
    password, store,
};

/// Longest line, without its end; fields at their limits take half of it.
const LINE_BYTES_MAX: u64 = 4096;

/// What became of the lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) imported: u64,
    /// Their address has an account.
    pub(crate) present: u64,
    pub(crate) refused: u64,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            imported,
            present,
            refused,
        } = self;
        write!(
            f,
            "{imported} imported, {present} there already, {refused} refused"
        )
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    email: String,
    display_name: String,
    kind: String,
    password_hash: String,
    created_at: Option<DateTime<Utc>>,
}

/// Imports line by line, and reports those that cannot be; fails when the file or the database does.
pub(crate) async fn run(
    conn: &mut PgConnection,
    mut file: impl BufRead,
    report: impl Fn(u64, &str),
) -> anyhow::Result<Done> {
    let mut done = Done::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = LINE_BYTES_MAX + 1;
        let read = file.by_ref().take(limit).read_until(b'\n', &mut line);
        if read.with_context(|| format!("cannot read line {number}"))? == 0 {
            break;
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == limit {
            file.skip_until(b'\n')
                .with_context(|| format!("cannot read line {number}"))?;
            report(number, &format!("is longer than {LINE_BYTES_MAX} bytes"));
            done.refused += 1;
            continue;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match account(conn, &line).await {
            Ok(true) => done.imported += 1,
            Ok(false) => done.present += 1,
            Err(Refused::Line(problem)) => {
                report(number, &problem);
                done.refused += 1;
            }
            Err(Refused::Db(error)) if classify(&error) == Failure::Unavailable => {
                return Err(error).with_context(|| format!("at line {number}, after {done}"));
            }
            Err(Refused::Db(error)) => {
                report(number, &error.to_string());
                done.refused += 1;
            }
        }
    }
    Ok(done)
}

/// Why a line is not imported.
enum Refused {
    Line(String),
    Db(sqlx::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error)
    }
}

/// Makes one account; false when its address has one.
async fn account(conn: &mut PgConnection, line: &[u8]) -> Result<bool, Refused> {
    // The text of the error would quote the line; its place does not.
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "is no account",
            _ => "is no JSON",
        };
        Refused::Line(format!("{what}, at column {}", error.column()))
    })?;
    let now = platform::time::now();
    let mut fields = FieldErrors::default();
    let email = fields.email("email", &line.email);
    let display_name = fields.text("display_name", &line.display_name, 1..=80);
    fields.keep("password_hash", password::importable(&line.password_hash));
    let kind = match line.kind.as_str() {
        "mover" => Some((Kind::Mover, UserKind::Mover)),
        "client" => Some((Kind::Client, UserKind::Client)),
        "business" => Some((Kind::Business, UserKind::Business)),
        _ => {
            fields.violation("kind", "is not mover, client or business");
            None
        }
    };
    let created_at = line.created_at.unwrap_or(now);
    if created_at > now {
        fields.violation("created_at", "lies in the future");
    }
    fields
        .check()
        .map_err(|refusal| Refused::Line(tonic::Status::from(refusal).message().to_owned()))?;
    let Some((kind, registered_kind)) = kind else {
        return Err(Refused::Line("kind is missing".to_owned()));
    };

    let mut tx = conn.begin().await?;
    let user = store::user::New {
        id: UserId(Uuid::now_v7()),
        email: &email.typed,
        email_key: &email.key,
        display_name: &display_name,
        kind,
        password_hash: &line.password_hash,
        created_at,
    };
    match store::user::insert(&mut tx, &user).await {
        Ok(()) => {}
        Err(Error::EmailTaken) => return Ok(false),
        Err(Error::Db(error)) => return Err(error.into()),
        Err(error) => return Err(Refused::Line(error.to_string())),
    }
    let registered = UserRegistered {
        user_id: user.id.0.to_string(),
        // Where every account begins.
        version: 1,
        kind: registered_kind.into(),
        organisation_id: String::new(),
    };
    let entry = Entry::new(Action::AccountImported, By::command()).to(user.id);
    store::audit::insert(&mut tx, &entry, now)
        .await
        .map_err(|error| match error {
            Error::Db(error) => Refused::Db(error),
            error => Refused::Line(error.to_string()),
        })?;
    // A replica of the service sends it.
    platform_events::publish(&mut tx, &registered, Actor::service("identity"))
        .await
        .map_err(sqlx::Error::from)?;
    tx.commit().await?;
    Ok(true)
}
