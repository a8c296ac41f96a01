//! Demo data: businesses, offers, users and votes, loaded through the public API.
//!
//! Every mutation has a fixed request id and every load looks first at what is there, so that an
//! interrupted one resumes.

mod api;
mod data;
mod load;

use std::fs;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{
    os::secret,
    stack::{
        plan::Plan,
        state::{Account, Demo},
    },
};

pub(crate) use load::{Report, load};

/// Which data are loaded, in `demo.json` of the stack's folder.
#[derive(Serialize, Deserialize)]
struct Mark {
    data: String,
    accounts: Vec<Account>,
}

/// The services that a load needs are started.
pub(crate) fn possible<'a>(started: impl IntoIterator<Item = &'a String>) -> bool {
    let mut needed = vec!["bff", "catalog", "identity"];
    for name in started {
        needed.retain(|other| other != name);
    }
    needed.is_empty()
}

/// These very data are loaded.
pub(crate) fn complete(plan: &Plan) -> bool {
    mark(plan).is_some_and(|mark| mark.data == data::fingerprint())
}

fn mark(plan: &Plan) -> Option<Mark> {
    serde_json::from_slice(&fs::read(plan.folder.demo()).ok()?).ok()
}

fn set_mark(plan: &Plan, accounts: Vec<Account>) -> anyhow::Result<()> {
    let mark = Mark {
        data: data::fingerprint(),
        accounts,
    };
    secret::write(&plan.folder.demo(), &serde_json::to_string(&mark)?)
}

/// The accounts that can be logged in with, none before they are there.
pub(crate) fn status(plan: &Plan) -> anyhow::Result<Demo> {
    match mark(plan) {
        None => Ok(Demo::default()),
        Some(mark) => Ok(Demo {
            password: Some(password(plan)?),
            accounts: mark.accounts,
        }),
    }
}

/// One for all accounts, random per stack.
fn password(plan: &Plan) -> anyhow::Result<String> {
    secret::keep(&plan.folder.secrets().join("demo-password")).context("no demo password")
}
