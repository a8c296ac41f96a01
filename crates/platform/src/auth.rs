//! Who calls: access tokens are verified here, locally, in every service.

mod caller;
mod claims;
mod keys;
mod lapse;
mod revoked;
mod verifier;

#[cfg(test)]
pub(crate) mod issuer;
#[cfg(test)]
mod tests;

pub use caller::{Caller, OrgRole, System, User};
pub use claims::{Claims, TOKEN_TYPE};
pub use revoked::TOKEN_LIFETIME_MAX;
pub use verifier::Verifier;
