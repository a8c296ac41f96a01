use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use platform_contract::PlatformReason;
use serde::{Deserialize, Serialize};
use tonic::Status;
use tonic::metadata::MetadataValue;
use uuid::Uuid;

use super::Claims;
use crate::error::Refusal;

/// The kind of tokens that services hold.
const SYSTEM: &str = "system";

/// On whose behalf a call is made. Cheap to clone; the server stack puts it into the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: the call came without a token.
    #[default]
    Nobody,
    /// A person.
    User(Arc<User>),
    /// A service, on nobody's behalf.
    System(Arc<System>),
}

/// A person, as the access token describes them.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: Uuid,
    /// `user-<word>`.
    pub kind: String,
    /// Global roles.
    pub roles: Vec<String>,
    /// The organisation acted for, and what the user is in it.
    pub organisation: Option<(Uuid, OrgRole)>,
    /// The session that the token belongs to.
    pub session_id: Uuid,
    /// The user's access version when the token was made.
    pub access_version: i64,
    /// The application that calls.
    pub client_id: String,
    /// When the token expires, in seconds since 1970.
    pub expires_at: i64,
    /// The service that acts for the user, where the method allows it.
    pub via: Option<String>,
    pub(super) token: String,
}

/// A service.
#[derive(Clone, PartialEq, Eq)]
pub struct System {
    /// Its name: `catalog`.
    pub name: String,
    /// When the token expires, in seconds since 1970.
    pub expires_at: i64,
    pub(super) token: String,
}

/// What a user is in an organisation; more is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrgRole {
    /// Reads drafts.
    Member,
    /// Changes what the organisation has.
    Manager,
    /// Everything.
    Owner,
}

impl Caller {
    /// Who makes this call, as the server stack found out; nobody where no stack ran.
    pub fn of<T>(request: &tonic::Request<T>) -> Caller {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// The user, or the refusal for a call that needs one.
    pub fn user(&self) -> Result<&User, Status> {
        match self {
            Caller::User(user) => Ok(user),
            Caller::Nobody => Err(Refusal::new(
                PlatformReason::TokenMissing,
                "the call needs an access token",
            )
            .into()),
            Caller::System(_) => {
                Err(Refusal::new(PlatformReason::RoleRequired, "the call is for users").into())
            }
        }
    }

    /// One text per principal: `user:<uuid>`, `system:catalog`, `nobody`.
    pub fn principal(&self) -> Cow<'static, str> {
        match self {
            Caller::Nobody => Cow::Borrowed("nobody"),
            Caller::User(user) => Cow::Owned(format!("user:{}", user.id)),
            Caller::System(system) => Cow::Owned(format!("system:{}", system.name)),
        }
    }

    /// Puts the caller's token on a call to another service, which verifies it again.
    pub fn authorize<T>(&self, request: &mut tonic::Request<T>) {
        let token = match self {
            Caller::Nobody => return,
            Caller::User(user) => &user.token,
            Caller::System(system) => &system.token,
        };
        let mut value = MetadataValue::try_from(format!("Bearer {token}"))
            .expect("a verified token is base64url and dots");
        value.set_sensitive(true);
        request.metadata_mut().insert("authorization", value);
    }

    /// The caller that verified claims describe; `None` when they contradict themselves.
    pub(super) fn from_claims(claims: Claims, token: &str) -> Option<Caller> {
        let organisation = match (claims.org, claims.org_role) {
            (Some(id), Some(role)) => Some((id, role)),
            (None, None) => None,
            _ => return None,
        };
        let token = token.to_owned();
        if claims.kind == SYSTEM {
            return (!claims.sub.is_empty() && organisation.is_none()).then(|| {
                Caller::System(Arc::new(System {
                    name: claims.sub,
                    expires_at: claims.exp,
                    token,
                }))
            });
        }
        claims
            .kind
            .strip_prefix("user-")
            .filter(|word| !word.is_empty())?;
        Some(Caller::User(Arc::new(User {
            id: Uuid::try_parse(&claims.sub).ok()?,
            kind: claims.kind,
            roles: claims.roles,
            organisation,
            session_id: claims.sid,
            access_version: claims.ver,
            client_id: claims.client_id,
            expires_at: claims.exp,
            via: None,
            token,
        })))
    }
}

impl User {
    /// Whether the user holds the global role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }

    /// The organisation acted for, if the user is at least `role` in it.
    pub fn organisation_as(&self, role: OrgRole) -> Option<Uuid> {
        self.organisation
            .filter(|(_, held)| *held >= role)
            .map(|(id, _)| id)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("roles", &self.roles)
            .field("organisation", &self.organisation)
            .field("via", &self.via)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
