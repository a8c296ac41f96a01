//! The secrets by which services prove who they are.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
};
use platform::config::Secret;

/// Shorter ones could be guessed.
const CHARS_MIN: usize = 16;

/// `catalog=<secret>,bff=<secret>`, read anew for each use, so that secrets can be changed while running.
pub(crate) struct ServiceSecrets(Secret);

impl ServiceSecrets {
    /// Refuses a setting that cannot be read.
    pub(crate) fn new(secret: Secret) -> anyhow::Result<Self> {
        parse(&secret.expose()).context("SERVICE_SECRETS")?;
        Ok(Self(secret))
    }

    /// Whether this is the secret of this service; takes as long for one that does not exist.
    pub(crate) fn holds(&self, service: &str, secret: &str) -> anyhow::Result<bool> {
        let text = self.0.expose();
        let secrets = parse(&text).context("SERVICE_SECRETS")?;
        let expected = secrets.get(service).copied();
        // Digests are of one length: how long the right secret is does not show either.
        let equal = constant_time::verify_slices_are_equal(
            digest(&SHA256, secret.as_bytes()).as_ref(),
            digest(&SHA256, expected.unwrap_or_default().as_bytes()).as_ref(),
        );
        Ok(equal.is_ok() && expected.is_some())
    }
}

fn parse(text: &str) -> anyhow::Result<BTreeMap<&str, &str>> {
    let mut secrets = BTreeMap::new();
    for (place, pair) in text.split(',').enumerate() {
        let place = place + 1;
        let (service, secret) = pair
            .trim()
            .split_once('=')
            .with_context(|| format!("entry {place} is not <service>=<secret>"))?;
        ensure!(!service.is_empty(), "entry {place} names no service");
        ensure!(
            secret.chars().count() >= CHARS_MIN,
            "the secret of `{service}` has fewer than {CHARS_MIN} characters"
        );
        ensure!(
            secrets.insert(service, secret).is_none(),
            "`{service}` has two secrets"
        );
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_its_own_secret_only() {
        let secret = Secret::new("catalog=0123456789abcdef, bff=fedcba9876543210=");
        let secrets = ServiceSecrets::new(secret).unwrap();
        assert!(secrets.holds("catalog", "0123456789abcdef").unwrap());
        assert!(secrets.holds("bff", "fedcba9876543210=").unwrap());
        assert!(!secrets.holds("catalog", "fedcba9876543210=").unwrap());
        assert!(!secrets.holds("catalog", "").unwrap());
        assert!(!secrets.holds("unknown", "").unwrap());
    }

    #[test]
    fn a_setting_that_cannot_be_read_is_refused_without_showing_it() {
        for (text, problem) in [
            ("", "entry 1 is not <service>=<secret>"),
            ("catalog", "entry 1 is not"),
            ("=0123456789abcdef", "entry 1 names no service"),
            ("catalog=tooshort", "the secret of `catalog`"),
            (
                "a=0123456789abcdef,a=0123456789abcdef",
                "`a` has two secrets",
            ),
        ] {
            let error = ServiceSecrets::new(Secret::new(text)).err().unwrap();
            let message = format!("{error:#}");
            assert!(message.contains(problem), "{message}");
            assert!(!message.contains("tooshort"), "{message}");
        }
    }
}
