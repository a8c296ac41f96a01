use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::OrgRole;

/// The `typ` of an access token's header (RFC 9068).
pub const TOKEN_TYPE: &str = "at+jwt";

/// What an access token says; the issuer signs it, everybody else verifies it.
///
/// Every claim is required and typed, but for the organisation, of which both claims are there or neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer, letter by letter as configured.
    pub iss: String,
    /// The one audience of the platform.
    pub aud: String,
    /// The user's id, or the service's name for the kind `system`.
    pub sub: String,
    /// The application that the token was issued to.
    pub client_id: String,
    /// Issued at, in seconds since 1970.
    pub iat: i64,
    /// Not valid before.
    pub nbf: i64,
    /// Expires at.
    pub exp: i64,
    /// Id of this token.
    pub jti: Uuid,
    /// The session that the token belongs to.
    pub sid: Uuid,
    /// `system`, or the kind of the user: `user-<word>`.
    pub kind: String,
    /// Global roles.
    pub roles: Vec<String>,
    /// The user's access version: what was issued under a lower one is void.
    pub ver: i64,
    /// The organisation that the user acts for.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub org: Option<Uuid>,
    /// What the user is in it.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub org_role: Option<OrgRole>,
}

/// A claim that may be left out, but not be null.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    claim: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(claim).map(Some)
}
