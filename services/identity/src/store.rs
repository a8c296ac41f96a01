//! All SQL. Rows are locked in one order everywhere, so that no two calls can deadlock:
//! organisations, passwords, memberships, sessions, users.

pub(crate) mod member;
pub(crate) mod organisation;
pub(crate) mod session;
pub(crate) mod signing_key;
pub(crate) mod user;

use platform_db::error::{Kind, classify};

fn constraint(error: &sqlx::Error) -> Option<&str> {
    match classify(error) {
        Kind::Constraint(name) => Some(name),
        _ => None,
    }
}
