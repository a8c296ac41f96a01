//! Slows down whoever guesses passwords, and locks nobody out.
//!
//! A try counts as failed until its password proves right, so that tries which come at once see each
//! other. Failures count per name, per address, and per both together; over a limit the next try waits
//! 1, 2, 4 ... 60 s. One failure is forgotten for each minute without another. From where a name has
//! logged in before, its tries are neither counted nor refused, whatever others do to name and address.

use std::net::{IpAddr, Ipv6Addr};

use chrono::{DateTime, TimeDelta, Utc};
use platform::sealed::Sealer;
use sqlx::PgConnection;
use tonic::metadata::MetadataMap;

use crate::{
    domain::{Error, UserId},
    service_secrets::ServiceSecrets,
    store::attempt::{self, Failures},
};

/// Set by the caller that clients are connected to; believed with that caller's secret only.
const CLIENT_ADDRESS: &str = "x-client-address";
const SERVICE_SECRET: &str = "x-service-secret";

/// One failure is forgotten after so long without another. No wait is longer, so that at the longest
/// wait as much is forgotten as is added, and the count grows no further.
const FORGET_AFTER_S: u32 = 60;
const FORGET_AFTER: TimeDelta = TimeDelta::seconds(FORGET_AFTER_S as i64);
/// Other origins remembered of one user.
const OTHER_ORIGINS_MAX: i64 = 19;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ThrottleArgs {
    /// Failed logins of one name from one address, after which the next ones wait.
    #[arg(env = "LOGIN_FAILURES_NAME_AND_ADDRESS_MAX", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) login_failures_name_and_address_max: u32,

    /// Failed logins of one name, after which the next ones wait.
    #[arg(env = "LOGIN_FAILURES_NAME_MAX", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) login_failures_name_max: u32,

    /// Failed logins from one address, after which the next ones wait.
    #[arg(env = "LOGIN_FAILURES_ADDRESS_MAX", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) login_failures_address_max: u32,

    /// The service that is believed what address a client has.
    #[arg(env = "CLIENT_ADDRESS_FROM", default_value = "bff")]
    pub(crate) client_address_from: String,
}

pub(crate) struct Throttle {
    sealer: Sealer,
    args: ThrottleArgs,
}

impl Throttle {
    pub(crate) fn new(sealer: Sealer, args: ThrottleArgs) -> Self {
        Self { sealer, args }
    }

    /// The client's address, if somebody tells it who is believed.
    pub(crate) fn client_address(
        &self,
        metadata: &MetadataMap,
        secrets: &ServiceSecrets,
    ) -> Option<IpAddr> {
        let text = |key: &str| metadata.get(key)?.to_str().ok();
        let (address, secret) = (text(CLIENT_ADDRESS)?, text(SERVICE_SECRET)?);
        match secrets.holds(&self.args.client_address_from, secret) {
            Ok(true) => address.parse().ok().map(network),
            Ok(false) => None,
            Err(error) => {
                // A login is worth more than the address it comes from.
                tracing::warn!("cannot tell who is believed a client's address: {error:#}");
                None
            }
        }
    }

    /// A try to log in by this name. Without an address only the failures of the name count.
    pub(crate) fn attempt(&self, name: &str, address: Option<IpAddr>) -> Attempt {
        let key = |purpose, text: &str| self.sealer.mac(purpose, text.as_bytes()).to_vec();
        let mut limits = vec![(key("login-name", name), self.args.login_failures_name_max)];
        let mut origin = None;
        if let Some(address) = address.map(|address| address.to_string()) {
            // No address holds a space, so no two pairs make one text.
            let both = key("login-name-and-address", &format!("{address} {name}"));
            let max = self.args.login_failures_name_and_address_max;
            limits.push((both.clone(), max));
            let max = self.args.login_failures_address_max;
            limits.push((key("login-address", &address), max));
            origin = Some(both);
        }
        Attempt {
            limits,
            origin,
            charged: Vec::new(),
        }
    }
}

/// What is counted as one address: of IPv6 the half that one customer has whole.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64)).into(),
        ip => ip,
    }
}

/// One try to log in.
pub(crate) struct Attempt {
    /// What it is counted under, and how many failures are free there.
    limits: Vec<(Vec<u8>, u32)>,
    /// Name and address together.
    origin: Option<Vec<u8>>,
    /// Where it was counted.
    charged: Vec<Vec<u8>>,
}

impl Attempt {
    /// Counts the try as a failure, or refuses it and counts nothing.
    pub(crate) async fn charge(
        &mut self,
        tx: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if let Some(origin) = &self.origin
            && attempt::is_known(tx, origin).await?
        {
            return Ok(());
        }
        let keys: Vec<_> = self.limits.iter().map(|(key, _)| key.clone()).collect();
        let mut failures = attempt::lock(tx, &keys, now).await?;
        let open_at = failures.iter().filter_map(|row| {
            let (_, free) = self.limits.iter().find(|(key, _)| *key == row.key)?;
            row.open_at(*free)
        });
        if let Some(open_at) = open_at.max()
            && let Ok(retry_after) = (open_at - now).to_std()
            && !retry_after.is_zero()
        {
            return Err(Error::LoginThrottled { retry_after });
        }
        for row in &mut failures {
            row.add(now);
        }
        attempt::update(tx, &failures).await?;
        self.charged = keys;
        Ok(())
    }

    /// Takes the failure back: the password was not looked at.
    pub(crate) async fn refund(&self, tx: &mut PgConnection) -> Result<(), Error> {
        if self.charged.is_empty() {
            return Ok(());
        }
        attempt::refund(tx, &self.charged, FORGET_AFTER_S.into()).await
    }

    /// Takes the failure back, and remembers from where the user has logged in.
    pub(crate) async fn succeed(
        &self,
        tx: &mut PgConnection,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if let Some(origin) = &self.origin {
            attempt::remember(tx, origin, user, now, OTHER_ORIGINS_MAX).await?;
        }
        self.refund(tx).await
    }
}

impl Failures {
    /// How many count at `at`.
    fn count(&self, at: DateTime<Utc>) -> i32 {
        let left = (self.forgotten_at - at).as_seconds_f64() / f64::from(FORGET_AFTER_S);
        // Far below the largest number: each took a minute of waiting, or is below a limit.
        left.ceil().max(0.0) as i32
    }

    /// When the next try may come; `None` while there are fewer than are free.
    fn open_at(&self, free: u32) -> Option<DateTime<Utc>> {
        let over = u32::try_from(self.count(self.failed_at))
            .ok()?
            .checked_sub(free)?;
        let wait_s = 1_u32
            .checked_shl(over)
            .map_or(FORGET_AFTER_S, |s| s.min(FORGET_AFTER_S));
        Some(self.failed_at + TimeDelta::seconds(wait_s.into()))
    }

    fn add(&mut self, now: DateTime<Utc>) {
        // Another replica's clock may be ahead.
        self.failed_at = self.failed_at.max(now);
        let count = self.count(self.failed_at) + 1;
        self.forgotten_at = self.failed_at + FORGET_AFTER * count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn nothing() -> Failures {
        Failures {
            key: Vec::new(),
            failed_at: at(0),
            forgotten_at: at(0),
        }
    }

    #[test]
    fn the_waits_after_the_free_failures_double_up_to_a_minute() {
        let mut failures = nothing();
        for _ in 0..5 {
            assert_eq!(failures.open_at(5), None);
            failures.add(at(0));
        }
        let mut waits = Vec::new();
        for _ in 0..9 {
            let open_at = failures.open_at(5).unwrap();
            waits.push((open_at - failures.failed_at).num_seconds());
            failures.add(open_at);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(
            failures.count(failures.failed_at),
            11,
            "it grows no further"
        );
    }

    #[test]
    fn a_failure_is_forgotten_for_each_minute_without_another() {
        let mut failures = nothing();
        for _ in 0..5 {
            failures.add(at(0));
        }
        for (seconds, count) in [
            (59, 5),
            (60, 4),
            (119, 4),
            (240, 1),
            (299, 1),
            (300, 0),
            (9000, 0),
        ] {
            assert_eq!(failures.count(at(seconds)), count, "{seconds} s");
        }
        failures.add(at(120));
        assert_eq!(failures.open_at(5), None, "three and one more");
        failures.add(at(150));
        assert_eq!(
            failures.open_at(5),
            Some(at(151)),
            "half a minute counts as none"
        );
    }

    #[test]
    fn a_clock_behind_takes_nothing_back() {
        let mut failures = nothing();
        failures.add(at(10));
        failures.add(at(4));
        assert_eq!(failures.failed_at, at(10));
        assert_eq!(failures.count(at(10)), 2);
    }

    #[test]
    fn one_customer_of_ipv6_is_one_address() {
        let of = |ip: &str| network(ip.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn keys_tell_names_and_addresses_to_nobody_without_the_seal_key() {
        let args = || ThrottleArgs {
            login_failures_name_and_address_max: 5,
            login_failures_name_max: 20,
            login_failures_address_max: 100,
            client_address_from: "bff".to_owned(),
        };
        let keys = |seal_key| {
            let throttle = Throttle::new(Sealer::from_keys([seal_key; 32], None), args());
            throttle
                .attempt("ada@example.org", Some([192, 0, 2, 1].into()))
                .limits
        };
        assert_eq!(keys(1), keys(1));
        for (key, _) in keys(1) {
            assert!(keys(2).iter().all(|(other, _)| *other != key));
        }
    }
}
