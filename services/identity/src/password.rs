//! Checks and makes password hashes, so many at a time as settings allow, and sheds the rest:
//! each costs tens of milliseconds and megabytes, and anybody can ask for one.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::domain::Error;

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
}

impl Passwords {
    pub(crate) fn new(args: &PasswordArgs) -> anyhow::Result<Self> {
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
        })
    }

    /// The hash of a new password, as a PHC string.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        let argon2 = self.argon2.clone();
        self.run(move || hash(&argon2, &password)).await
    }

    /// Whether `stored` is a hash of the password. Without one the answer is no, after the same work.
    pub(crate) async fn verify(
        &self,
        password: String,
        stored: Option<&str>,
    ) -> Result<bool, Error> {
        let argon2 = self.argon2.clone();
        let known = stored.is_some();
        let stored = stored.map_or_else(|| self.nobody.clone(), Arc::from);
        let matches = self
            .run(move || verify(&argon2, &password, &stored))
            .await?;
        Ok(matches && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let permits = self.admit().await?;
        // The permits go with the work: it cannot be stopped, also when its caller has gone.
        let done = spawn_blocking(move || {
            let _permits = permits;
            work()
        });
        Ok(done.await.context("a password thread has ended")??)
    }

    async fn admit(&self) -> Result<[OwnedSemaphorePermit; 2], Error> {
        let overloaded = Error::LoginOverloaded {
            retry_after: self.queue_age_max,
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Err(overloaded);
        };
        match timeout(self.queue_age_max, self.threads.clone().acquire_owned()).await {
            Ok(Ok(thread)) => Ok([place, thread]),
            _ => Err(overloaded),
        }
    }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> anyhow::Result<String> {
    let hash: PasswordHash = argon2
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow!("cannot hash a password: {error}"))?;
    Ok(hash.to_string())
}

/// The hash names its algorithm and parameters; those of the settings are for new ones.
fn verify(argon2: &Argon2<'_>, password: &str, stored: &str) -> anyhow::Result<bool> {
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
        Arc::new(Passwords::new(&args).unwrap())
    }

    fn check(passwords: &Arc<Passwords>) -> impl Future<Output = Result<bool, Error>> + use<> {
        let passwords = passwords.clone();
        async move { passwords.verify("guess".to_owned(), None).await }
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = passwords(1, 0, Duration::from_secs(10));
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        let verify = |password: &str| passwords.verify(password.to_owned(), Some(&hash));
        assert!(verify("correct horse").await.unwrap());
        assert!(!verify("battery staple").await.unwrap());
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
}
