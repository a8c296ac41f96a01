//! All SQL. Rows are locked in one order everywhere, so that no two calls can deadlock:
//! organisations, invitations, passwords, memberships, sessions, user roles, users,
//! origins of logins, failures of logins.

pub(crate) mod attempt;
pub(crate) mod audit;
pub(crate) mod invitation;
pub(crate) mod member;
pub(crate) mod organisation;
pub(crate) mod session;
pub(crate) mod signing_key;
pub(crate) mod user;
pub(crate) mod user_role;

use platform_db::error::{Kind, classify};

fn constraint(error: &sqlx::Error) -> Option<&str> {
    match classify(error) {
        Kind::Constraint(name) => Some(name),
        _ => None,
    }
}
