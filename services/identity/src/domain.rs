//! Who people are and what they may do: types and rules, without transport or storage.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// For this long the refresh token before the current one still yields the current one:
/// answers get lost, and two tabs refresh at once.
const REPEAT_WINDOW: TimeDelta = TimeDelta::seconds(30);

/// How long an invitation can be accepted.
pub(crate) const INVITATION_OPEN_FOR: TimeDelta = TimeDelta::days(7);
/// Open invitations of one organisation.
pub(crate) const INVITATIONS_OPEN_MAX: i64 = 100;

/// The global roles that do not come with the kind of an account; `system` is for services only.
pub(crate) const GRANTABLE: [&str; 1] = ["operator"];

/// Every case that a caller can react to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("an account with this e-mail address exists")]
    EmailTaken,
    #[error("no account has this e-mail address with this password")]
    CredentialsInvalid,
    #[error("the refresh token is unknown, expired, or its session has ended")]
    RefreshTokenInvalid,
    #[error("a used refresh token came back, the session has been ended")]
    RefreshTokenReused,
    #[error("too many passwords are waiting to be checked")]
    LoginOverloaded { retry_after: Duration },
    #[error("too many logins of this name, or from this address, have failed")]
    LoginThrottled { retry_after: Duration },
    #[error("no such organisation among those the caller may do this in")]
    OrganisationNotFound,
    #[error("no such member in an organisation that the caller may manage")]
    MemberNotFound,
    #[error("the user is a member already")]
    MemberExists,
    #[error("no account has this e-mail address or id")]
    UserNotFound,
    #[error("the organisation would be left without an owner")]
    LastOwner,
    #[error("no such invitation is open")]
    InvitationNotFound,
    #[error("the invitation is for another e-mail address than that of the account")]
    InvitationEmailMismatch,
    #[error("the organisation has {INVITATIONS_OPEN_MAX} open invitations")]
    InvitationsTooMany,
    #[error("nobody would be left who can appoint operators")]
    LastOperator,
    #[error("service name and secret do not belong together")]
    ServiceSecretInvalid,
    #[error("the session behind the token has ended")]
    SessionEnded,
    #[error("the signing key is not loaded yet")]
    KeysNotLoaded,
    #[error(transparent)]
    Db(#[from] sqlx::Error),
    /// A fault of ours; its text is for the log only.
    #[error(transparent)]
    Fault(#[from] anyhow::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct UserId(pub(crate) Uuid);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct OrganisationId(pub(crate) Uuid);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct InvitationId(pub(crate) Uuid);

/// A login on one device; the family of its refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct SessionId(pub(crate) Uuid);

/// What a person is here for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub(crate) enum Kind {
    Mover,
    Client,
    Business,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mover => "mover",
            Self::Client => "client",
            Self::Business => "business",
        }
    }

    /// The claim `kind`, and the global role that comes with it.
    pub(crate) fn principal(self) -> &'static str {
        match self {
            Self::Mover => "user-mover",
            Self::Client => "user-client",
            Self::Business => "user-business",
        }
    }
}

/// What a member may do in an organisation; each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub(crate) enum Role {
    Member,
    Manager,
    Owner,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Manager => "manager",
            Self::Owner => "owner",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) display_name: String,
    pub(crate) kind: Kind,
    /// Global roles beside that of the kind.
    pub(crate) granted: Vec<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) version: i64,
    pub(crate) access_version: i64,
}

impl User {
    /// All global roles, that of the kind first.
    pub(crate) fn roles(&self) -> Vec<String> {
        let mut roles = vec![self.kind.principal().to_owned()];
        roles.extend(self.granted.iter().cloned());
        roles
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Organisation {
    pub(crate) id: OrganisationId,
    pub(crate) name: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) version: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) organisation_id: OrganisationId,
    pub(crate) user_id: UserId,
    pub(crate) role: Role,
    pub(crate) created_at: DateTime<Utc>,
}

/// That whoever has an address may become a member.
#[derive(Clone, Debug)]
pub(crate) struct Invitation {
    pub(crate) id: InvitationId,
    pub(crate) organisation_id: OrganisationId,
    /// As typed.
    pub(crate) email: String,
    pub(crate) role: Role,
    pub(crate) invited_by: UserId,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
}

/// The organisation that a session acts for, and as what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acting {
    pub(crate) organisation_id: OrganisationId,
    pub(crate) role: Role,
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) user_id: UserId,
    /// Which refresh token of the family is the current one.
    pub(crate) counter: i64,
    pub(crate) rotated_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

/// What a refresh token of a session is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The current one: it yields its successor.
    Next,
    /// The one before, just now: it yields the current one again.
    Repeat,
    /// An older one: somebody has a copy.
    Reused,
    /// The session is over, or never gave out such a token.
    Invalid,
}

impl Session {
    pub(crate) fn turn(&self, counter: i64, now: DateTime<Utc>) -> Turn {
        if self.ended_at.is_some() || self.expires_at <= now || counter > self.counter {
            Turn::Invalid
        } else if counter == self.counter {
            Turn::Next
        } else if counter + 1 == self.counter && now < self.rotated_at + REPEAT_WINDOW {
            Turn::Repeat
        } else {
            Turn::Reused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn session() -> Session {
        Session {
            id: SessionId(Uuid::nil()),
            user_id: UserId(Uuid::nil()),
            counter: 5,
            rotated_at: at(0),
            expires_at: at(1000),
            ended_at: None,
        }
    }

    #[test]
    fn the_current_refresh_token_yields_its_successor() {
        assert_eq!(session().turn(5, at(999)), Turn::Next);
    }

    #[test]
    fn the_token_before_is_accepted_for_thirty_seconds() {
        assert_eq!(session().turn(4, at(29)), Turn::Repeat);
        assert_eq!(session().turn(4, at(30)), Turn::Reused);
    }

    #[test]
    fn an_older_token_is_reuse_at_once() {
        assert_eq!(session().turn(3, at(1)), Turn::Reused);
    }

    #[test]
    fn tokens_of_a_session_that_is_over_are_invalid() {
        assert_eq!(session().turn(5, at(1000)), Turn::Invalid);
        let ended = Session {
            ended_at: Some(at(1)),
            ..session()
        };
        assert_eq!(ended.turn(5, at(2)), Turn::Invalid);
        assert_eq!(ended.turn(1, at(2)), Turn::Invalid);
    }

    #[test]
    fn a_token_from_before_a_restored_backup_is_no_reuse() {
        assert_eq!(session().turn(6, at(1)), Turn::Invalid);
    }
}
