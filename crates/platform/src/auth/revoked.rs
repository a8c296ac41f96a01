//! Tokens that are void before they expire.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use platform_contract::Voided;
use tokio::sync::watch;
use tracing::warn;
use uuid::Uuid;

use super::User;

/// Longest life of an access token. One made for longer is not believed, since what makes tokens
/// void is remembered only for so long.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_mins(10);

/// Entries kept: far more than sessions end in the life of a token.
const ENTRIES_MAX: usize = 100_000;

/// What has become void lately; bounded in time and number.
#[derive(Default)]
pub(super) struct Revoked {
    /// By user: the least access version, and until when it is of interest.
    versions: HashMap<Uuid, (i64, i64)>,
    /// Sessions with their users.
    sessions: HashSet<(Uuid, Uuid)>,
    /// In the order in which they can be forgotten.
    entries: VecDeque<(i64, Entry)>,
    /// By user: how many watch, and what wakes them when something of the user becomes void.
    watched: HashMap<Uuid, (usize, watch::Sender<()>)>,
}

enum Entry {
    Version(Uuid),
    Session(Uuid, Uuid),
}

impl Revoked {
    /// Remembers it until `until`, which never goes back by much.
    pub(super) fn add(&mut self, voided: &Voided, now: i64, until: i64) -> Result<(), uuid::Error> {
        let (user, entry) = match voided {
            Voided::Below {
                subject,
                access_version,
            } => {
                let user = Uuid::try_parse(subject)?;
                let known = self.versions.entry(user).or_default();
                // An event may be repeated after a later one.
                *known = (known.0.max(*access_version), known.1.max(until));
                (user, Entry::Version(user))
            }
            Voided::Session { subject, session } => {
                let (user, session) = (Uuid::try_parse(subject)?, Uuid::try_parse(session)?);
                if !self.sessions.insert((user, session)) {
                    return Ok(());
                }
                (user, Entry::Session(user, session))
            }
        };
        if let Some((_, wake)) = self.watched.get(&user) {
            wake.send_replace(());
        }
        self.entries.push_back((until, entry));
        while let Some((until, entry)) = self.entries.front() {
            let live = *until > now;
            if live && self.entries.len() <= ENTRIES_MAX {
                break;
            }
            if live && self.entries.len() % 1000 == 1 {
                warn!(
                    "more than {ENTRIES_MAX} sessions and roles have ended: the oldest are forgotten"
                );
            }
            match *entry {
                Entry::Version(user) => {
                    let last = self.versions.get(&user);
                    if last.is_some_and(|(_, last)| last == until) {
                        self.versions.remove(&user);
                    }
                }
                Entry::Session(user, session) => {
                    self.sessions.remove(&(user, session));
                }
            }
            self.entries.pop_front();
        }
        Ok(())
    }

    /// Told whenever something of the user becomes void, until as many have left as came.
    pub(super) fn watch(&mut self, user: Uuid) -> watch::Receiver<()> {
        let (count, wake) = self.watched.entry(user).or_default();
        *count += 1;
        wake.subscribe()
    }

    pub(super) fn leave(&mut self, user: Uuid) {
        if let Some((count, _)) = self.watched.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.watched.remove(&user);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn watched_count(&self) -> usize {
        self.watched.len()
    }

    pub(super) fn holds(&self, user: &User) -> bool {
        let least = self.versions.get(&user.id);
        least.is_some_and(|(least, _)| user.access_version < *least)
            || self.sessions.contains(&(user.id, user.session_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(user: Uuid, access_version: i64) -> Voided {
        Voided::Below {
            subject: user.to_string(),
            access_version,
        }
    }

    fn session(user: Uuid, session: Uuid) -> Voided {
        Voided::Session {
            subject: user.to_string(),
            session: session.to_string(),
        }
    }

    fn user(id: Uuid, session_id: Uuid, access_version: i64) -> User {
        User {
            id,
            kind: "user-mover".to_owned(),
            roles: Vec::new(),
            organisation: None,
            session_id,
            access_version,
            client_id: String::new(),
            expires_at: 0,
            via: None,
            token: String::new(),
        }
    }

    #[test]
    fn lower_versions_and_ended_sessions_are_held_and_nothing_else() {
        let [ada, eve, over, other] = [(); 4].map(|()| Uuid::now_v7());
        let mut revoked = Revoked::default();
        revoked.add(&below(ada, 3), 0, 600).unwrap();
        revoked.add(&session(ada, over), 0, 600).unwrap();
        assert!(revoked.holds(&user(ada, other, 2)));
        assert!(!revoked.holds(&user(ada, other, 3)));
        assert!(revoked.holds(&user(ada, over, 3)));
        assert!(!revoked.holds(&user(eve, over, 1)), "not Eve's session");
    }

    #[test]
    fn a_repeat_of_an_older_event_takes_nothing_back() {
        let ada = Uuid::now_v7();
        let mut revoked = Revoked::default();
        revoked.add(&below(ada, 3), 0, 600).unwrap();
        revoked.add(&below(ada, 2), 0, 600).unwrap();
        assert!(revoked.holds(&user(ada, ada, 2)));
    }

    #[test]
    fn an_entry_is_forgotten_when_its_time_is_over_and_not_before_the_last_of_its_user() {
        let [ada, eve] = [(); 2].map(|()| Uuid::now_v7());
        let mut revoked = Revoked::default();
        revoked.add(&below(ada, 2), 0, 600).unwrap();
        revoked.add(&session(ada, ada), 0, 600).unwrap();
        revoked.add(&below(ada, 3), 300, 900).unwrap();
        revoked.add(&below(eve, 2), 600, 1200).unwrap();
        assert!(revoked.holds(&user(ada, eve, 2)));
        assert!(!revoked.holds(&user(ada, ada, 3)));
        revoked.add(&below(eve, 3), 900, 1500).unwrap();
        assert!(!revoked.holds(&user(ada, eve, 1)));
        assert_eq!((revoked.entries.len(), revoked.versions.len()), (2, 1));
    }

    #[test]
    fn there_are_never_more_than_the_limit_and_the_oldest_go() {
        let ids: Vec<Uuid> = (0..ENTRIES_MAX + 10).map(|_| Uuid::now_v7()).collect();
        let mut revoked = Revoked::default();
        for id in &ids {
            revoked.add(&session(*id, *id), 0, 600).unwrap();
        }
        assert_eq!(revoked.entries.len(), ENTRIES_MAX);
        assert_eq!(revoked.sessions.len(), ENTRIES_MAX);
        assert!(!revoked.holds(&user(ids[9], ids[9], 1)));
        assert!(revoked.holds(&user(ids[10], ids[10], 1)));
    }

    #[test]
    fn what_names_no_user_is_an_error() {
        let voided = Voided::Below {
            subject: "catalog".to_owned(),
            access_version: 1,
        };
        assert!(Revoked::default().add(&voided, 0, 600).is_err());
    }
}
