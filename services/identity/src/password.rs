//! Checks and makes password hashes, so many at a time as settings allow, and sheds the rest:
//! each costs tens of milliseconds and megabytes, and anybody can ask for one.
//!
//! New hashes are argon2id. Accounts that were imported come with bcrypt hashes, which are checked
//! on the same threads, and replaced when their password is known.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::domain::Error;

/// Twice the work with each step: this is about a second, and anybody can ask for it.
const BCRYPT_COST_MAX: u32 = 14;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct PasswordArgs {
    /// Memory of one password hash (argon2id), in KiB.
    #[arg(env = "PASSWORD_MEMORY_KIB", default_value_t = 19 * 1024)]
    pub(crate) password_memory_kib: u32,

    /// Passes of one password hash.
    #[arg(env = "PASSWORD_PASSES", default_value_t = 2)]
    pub(crate) password_passes: u32,

    /// Lanes of one password hash.
    #[arg(env = "PASSWORD_LANES", default_value_t = 1)]
    pub(crate) password_lanes: u32,

    /// Passwords checked at once; without it, one per processor.
    #[arg(env = "PASSWORD_THREADS", value_parser = platform::config::at_least_one)]
    pub(crate) password_threads: Option<usize>,

    /// Passwords that may wait for their turn; the next is refused.
    #[arg(env = "PASSWORD_QUEUE_MAX", default_value_t = 64)]
    pub(crate) password_queue_max: usize,

    /// Longest wait of a password for its turn; then it is refused.
    #[arg(env = "PASSWORD_QUEUE_AGE_MAX", default_value = "2s", value_parser = platform::config::duration)]
    pub(crate) password_queue_age_max: Duration,
}

pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    /// Checked in place of the hash of somebody who does not exist, so that both take as long.
    nobody: Arc<str>,
    /// One permit for each that is worked on or waits.
    places: Arc<Semaphore>,
    /// One permit for each that is worked on.
    threads: Arc<Semaphore>,
    queue_age_max: Duration,
    metrics: Metrics,
}

/// What a check has shown.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) matches: bool,
    /// A hash of the same password by the present settings, where the stored one is by others.
    pub(crate) renewed: Option<String>,
}

impl Passwords {
    pub(crate) fn new(args: &PasswordArgs, registry: &mut Registry) -> anyhow::Result<Self> {
        let threads = match args.password_threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let params = Params::new(
            args.password_memory_kib,
            args.password_passes,
            args.password_lanes,
            None,
        )
        .map_err(|error| anyhow!("PASSWORD_MEMORY_KIB, _PASSES and _LANES do not fit: {error}"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = hash(&argon2, &uuid::Uuid::now_v7().to_string())?.into();
        Ok(Self {
            argon2,
            nobody,
            places: Arc::new(Semaphore::new(threads + args.password_queue_max)),
            threads: Arc::new(Semaphore::new(threads)),
            queue_age_max: args.password_queue_age_max,
            metrics: Metrics::new(registry),
        })
    }

    /// The hash of a new password, as a PHC string.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        let argon2 = self.argon2.clone();
        self.run(move || hash(&argon2, &password)).await
    }

    /// Whether `stored` is a hash of the password. Without one the answer is no, after the same work.
    pub(crate) async fn check(
        &self,
        password: String,
        stored: Option<&str>,
    ) -> Result<Checked, Error> {
        let argon2 = self.argon2.clone();
        let known = stored.is_some();
        let stored = stored.map_or_else(|| self.nobody.clone(), Arc::from);
        let outdated = scheme(&stored) != scheme(&self.nobody);
        let checks = self.metrics.checks(scheme(&stored));
        self.run(move || {
            checks.inc();
            let matches = verify(&argon2, &password, &stored)? && known;
            let renew = matches && outdated;
            let renewed = renew.then(|| hash(&argon2, &password)).transpose()?;
            Ok(Checked { matches, renewed })
        })
        .await
    }

    /// Refuses what would find no place, before anything else is done for it.
    pub(crate) fn look_for_room(&self) -> Result<(), Error> {
        match self.places.available_permits() {
            0 => Err(self.refuse()),
            _ => Ok(()),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.admit().await?;
        // The turn goes with the work: it cannot be stopped, also when its caller has gone.
        let done = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        Ok(done.await.context("a password thread has ended")??)
    }

    async fn admit(&self) -> Result<Turn, Error> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Err(self.refuse());
        };
        let waits = Counted::new(&self.metrics.waiting);
        match timeout(self.queue_age_max, self.threads.clone().acquire_owned()).await {
            Ok(Ok(thread)) => {
                drop(waits);
                Ok(Turn {
                    _permits: [place, thread],
                    _works: Counted::new(&self.metrics.working),
                })
            }
            _ => Err(self.refuse()),
        }
    }

    fn refuse(&self) -> Error {
        self.metrics.refused.inc();
        Error::LoginOverloaded {
            retry_after: self.queue_age_max,
        }
    }
}

/// The right to use a thread, as long as it is held.
struct Turn {
    _permits: [OwnedSemaphorePermit; 2],
    _works: Counted,
}

/// One more in a gauge, as long as it is held.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Metrics {
    checks: Family<Scheme, Counter>,
    refused: Counter,
    waiting: Gauge,
    working: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Scheme {
    scheme: String,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            checks: Family::default(),
            refused: Counter::default(),
            waiting: Gauge::default(),
            working: Gauge::default(),
        };
        registry.register(
            "password_checks",
            "Passwords held against a hash, by its algorithm and parameters",
            metrics.checks.clone(),
        );
        registry.register(
            "passwords_refused",
            "Passwords that found no place in the queue, or waited in it for too long",
            metrics.refused.clone(),
        );
        registry.register(
            "passwords_waiting",
            "Passwords that wait for a thread",
            metrics.waiting.clone(),
        );
        registry.register(
            "passwords_working",
            "Passwords that are being checked or hashed",
            metrics.working.clone(),
        );
        metrics
    }

    fn checks(&self, scheme: &str) -> Counter {
        let scheme = scheme.to_owned();
        self.checks.get_or_create(&Scheme { scheme }).clone()
    }
}

/// What is wrong with a hash that shall be imported, if anything.
pub(crate) fn importable(hash: &str) -> Result<(), &'static str> {
    // Those of `$2x$` were made by a faulty program.
    if !["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|version| hash.starts_with(version))
    {
        return Err("is no bcrypt hash of version 2a, 2b or 2y");
    }
    match hash.parse::<bcrypt::HashParts>() {
        Ok(parts) if (4..=BCRYPT_COST_MAX).contains(&parts.get_cost()) => Ok(()),
        Ok(_) => Err("has a cost that is not 4 to 14"),
        Err(_) => Err("is no bcrypt hash"),
    }
}

fn is_bcrypt(hash: &str) -> bool {
    hash.starts_with("$2")
}

/// Algorithm and parameters of a hash: all in front of its salt.
fn scheme(hash: &str) -> &str {
    // In a hash of bcrypt the salt stands in one part with the rest.
    let parts_behind = if is_bcrypt(hash) { 1 } else { 2 };
    let scheme = hash.rsplitn(parts_behind + 1, '$').nth(parts_behind);
    scheme.unwrap_or_default().trim_start_matches('$')
}

fn hash(argon2: &Argon2<'_>, password: &str) -> anyhow::Result<String> {
    let hash: PasswordHash = argon2
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow!("cannot hash a password: {error}"))?;
    Ok(hash.to_string())
}

/// The hash names its algorithm and parameters; those of the settings are for new ones.
fn verify(argon2: &Argon2<'_>, password: &str, stored: &str) -> anyhow::Result<bool> {
    if is_bcrypt(stored) {
        // As everywhere, of a long password the first 72 bytes count.
        return bcrypt::verify(password, stored).map_err(|error| anyhow!("a stored hash: {error}"));
    }
    let stored = PasswordHash::new(stored).map_err(|error| anyhow!("a stored hash: {error}"))?;
    match argon2.verify_password(password.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(anyhow!("cannot check a password: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::task::JoinSet;

    use super::*;

    fn passwords(threads: usize, queue_max: usize, queue_age_max: Duration) -> Arc<Passwords> {
        let args = PasswordArgs {
            password_memory_kib: 64,
            password_passes: 1,
            password_lanes: 1,
            password_threads: Some(threads),
            password_queue_max: queue_max,
            password_queue_age_max: queue_age_max,
        };
        Arc::new(Passwords::new(&args, &mut Registry::default()).unwrap())
    }

    fn check(passwords: &Arc<Passwords>) -> impl Future<Output = Result<bool, Error>> + use<> {
        let passwords = passwords.clone();
        async move {
            let checked = passwords.check("guess".to_owned(), None).await?;
            Ok(checked.matches)
        }
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = passwords(1, 0, Duration::from_secs(10));
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        let check = |password: &str| passwords.check(password.to_owned(), Some(&hash));
        assert!(check("correct horse").await.unwrap().matches);
        assert!(!check("battery staple").await.unwrap().matches);
        let again = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert_ne!(hash, again, "each has its own salt");
    }

    #[tokio::test]
    async fn nobody_has_no_password() {
        let passwords = passwords(1, 0, Duration::from_secs(10));
        assert!(!check(&passwords).await.unwrap());
    }

    #[tokio::test]
    async fn what_does_not_fit_the_queue_is_shed_at_once_and_no_more() {
        let passwords = passwords(2, 3, Duration::from_secs(60));
        let held = [
            passwords.admit().await.unwrap(),
            passwords.admit().await.unwrap(),
        ];
        let mut checks = JoinSet::new();
        for _ in 0..10 {
            checks.spawn(check(&passwords));
        }
        for _ in 0..7 {
            let shed = checks.join_next().await.unwrap().unwrap();
            assert!(
                matches!(shed, Err(Error::LoginOverloaded { .. })),
                "{shed:?}"
            );
        }
        assert!(checks.try_join_next().is_none(), "three wait");
        drop(held);
        for _ in 0..3 {
            assert!(checks.join_next().await.unwrap().unwrap().is_ok());
        }
        assert_eq!(
            passwords.places.available_permits(),
            5,
            "every place is free again"
        );
    }

    #[tokio::test]
    async fn what_waits_too_long_is_shed() {
        let passwords = passwords(1, 3, Duration::from_millis(20));
        let _held = passwords.admit().await.unwrap();
        let shed = check(&passwords).await.unwrap_err();
        let Error::LoginOverloaded { retry_after } = shed else {
            panic!("{shed}");
        };
        assert_eq!(retry_after, Duration::from_millis(20));
    }

    #[tokio::test]
    async fn a_caller_who_goes_away_leaves_the_queue() {
        let passwords = passwords(1, 1, Duration::from_secs(60));
        let held = passwords.admit().await.unwrap();
        let waiting = timeout(Duration::from_millis(1), check(&passwords)).await;
        assert!(waiting.is_err());
        drop(held);
        assert_eq!(passwords.places.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_hash_by_other_settings_is_renewed_when_its_password_is_known() {
        let passwords = passwords(1, 0, Duration::from_secs(10));
        let other = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(64, 2, 1, None).unwrap(),
        );
        for stored in [
            hash(&other, "correct horse").unwrap(),
            bcrypt::hash("correct horse", 4).unwrap(),
        ] {
            let check = |password: &str| passwords.check(password.to_owned(), Some(&stored));
            let wrong = check("battery staple").await.unwrap();
            assert!(!wrong.matches && wrong.renewed.is_none());
            let right = check("correct horse").await.unwrap();
            let renewed = right.renewed.unwrap();
            assert_eq!(scheme(&renewed), "argon2id$v=19$m=64,t=1,p=1");
            let again = passwords.check("correct horse".to_owned(), Some(&renewed));
            let again = again.await.unwrap();
            assert!(again.matches && again.renewed.is_none());
        }
    }

    #[test]
    fn only_hashes_of_bcrypt_that_take_no_longer_than_a_second_are_importable() {
        let hash = |version: &str, cost: &str| {
            format!("${version}${cost}$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzabcde")
        };
        for version in ["2a", "2b", "2y"] {
            assert_eq!(importable(&hash(version, "04")), Ok(()));
            assert_eq!(importable(&hash(version, "14")), Ok(()));
        }
        for cost in ["03", "15", "31", "99"] {
            assert_eq!(
                importable(&hash("2b", cost)),
                Err("has a cost that is not 4 to 14")
            );
        }
        for bad in [
            hash("2x", "10"),
            hash("2b", "xx"),
            hash("2b", "10") + "x",
            "$2b$10$".to_owned(),
            "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA".to_owned(),
            String::new(),
        ] {
            assert!(importable(&bad).is_err(), "{bad}");
        }
        assert_eq!(scheme(&hash("2b", "12")), "2b$12");
    }
}
