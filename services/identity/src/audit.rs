//! What the audit log says: who did what to whom. Ids only, so that it can be kept.

pub(crate) use api::homeward::identity::v1::AuditAction as Action;
use platform::{auth::Caller, trace};
use platform_events::Actor;
use uuid::Uuid;

use crate::domain::{OrganisationId, User, UserId};

/// In front of the words of [`Action`], in the contract only.
const PREFIX: &str = "AUDIT_ACTION_";

/// Who does something, and by which application.
#[derive(Clone, Debug)]
pub(crate) struct By {
    pub(crate) actor: Actor,
    /// Empty when none is known.
    pub(crate) client_id: String,
}

impl By {
    /// Who has just proved to be this user, while the call came from nobody.
    pub(crate) fn user(user: &User, organisation: Option<OrganisationId>, client_id: &str) -> Self {
        Self {
            actor: Actor {
                id: user.id.0.to_string(),
                kind: user.kind.principal().to_owned(),
                organisation: organisation.map(|id| id.0),
            },
            client_id: client_id.to_owned(),
        }
    }

    /// Somebody at the command line of the service.
    pub(crate) fn command() -> Self {
        Self {
            actor: Actor::service("identity"),
            client_id: "command".to_owned(),
        }
    }

    /// The service of its own accord.
    pub(crate) fn schedule() -> Self {
        Self {
            actor: Actor::service("identity"),
            client_id: "schedule".to_owned(),
        }
    }
}

impl From<&Caller> for By {
    fn from(caller: &Caller) -> Self {
        let client_id = match caller {
            Caller::Nobody => "",
            Caller::User(user) => &user.client_id,
            Caller::System(system) => &system.name,
        };
        Self {
            actor: caller.into(),
            client_id: client_id.to_owned(),
        }
    }
}

/// One line of the log; stored by [`crate::store::audit::insert`] in the transaction that makes it true.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    pub(crate) action: Action,
    pub(crate) by: By,
    pub(crate) user_id: Option<UserId>,
    pub(crate) organisation_id: Option<OrganisationId>,
    pub(crate) role: Option<String>,
    pub(crate) object_id: Option<String>,
    pub(crate) trace_id: Option<String>,
}

impl Entry {
    /// Part of the trace at hand.
    pub(crate) fn new(action: Action, by: impl Into<By>) -> Self {
        Self {
            id: Uuid::now_v7(),
            action,
            by: by.into(),
            user_id: None,
            organisation_id: None,
            role: None,
            object_id: None,
            trace_id: trace::try_current().map(|context| context.trace_id()),
        }
    }

    /// To whom it is done.
    pub(crate) fn to(self, user: impl Into<Option<UserId>>) -> Self {
        let user_id = user.into();
        Self { user_id, ..self }
    }

    pub(crate) fn within(self, organisation: impl Into<Option<OrganisationId>>) -> Self {
        let organisation_id = organisation.into();
        Self {
            organisation_id,
            ..self
        }
    }

    pub(crate) fn role(self, role: &str) -> Self {
        let role = Some(role.to_owned());
        Self { role, ..self }
    }

    /// The session, invitation or key that it is about.
    pub(crate) fn object(self, id: impl ToString) -> Self {
        let object_id = Some(id.to_string());
        Self { object_id, ..self }
    }
}

/// How the database calls it: `role_granted`.
pub(crate) fn word(action: Action) -> String {
    let name = action.as_str_name();
    name.trim_start_matches(PREFIX).to_ascii_lowercase()
}

/// The opposite of [`word`]; unspecified for one that this version does not know.
pub(crate) fn action(word: &str) -> Action {
    let name = format!("{PREFIX}{}", word.to_ascii_uppercase());
    Action::from_str_name(&name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_read_back_from_its_word() {
        assert_eq!(word(Action::RoleGranted), "role_granted");
        assert_eq!(action("role_granted"), Action::RoleGranted);
        assert_eq!(action("of_a_later_version"), Action::Unspecified);
    }
}
