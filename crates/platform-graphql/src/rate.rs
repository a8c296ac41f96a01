//! How much one caller may ask for: by address, by user, by application, by cost.
//!
//! All limits of a request are judged in Redis by one script in one round trip, so that replicas
//! share them; either all are charged or none. Without Redis each replica goes on with its own
//! memory, by the same rule. Who is known to have nothing left is refused before a body is read.

mod address;
mod args;
mod bucket;
mod keys;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use platform::auth::Caller;
use platform_cache::{Redis, Script};

use crate::refusal::{Refusal, RequestReason};
pub use address::{Proxies, ProxyMalformed};
pub use args::{Rate, RateArgs, RateMalformed};
use bucket::{Bucket, Local, Spent};
use keys::ApiKeys;
pub use keys::Application;

/// Judges and charges several buckets as one step, by the same rule as [`Bucket`].
static TAKE: Script = Script::new(include_str!("rate/take.lua"));

/// Limits by address, user, application and cost.
pub struct Limiter {
    args: RateArgs,
    keys: ApiKeys,
    redis: Option<Redis>,
    local: Local,
    /// Who has nothing left, and until when.
    spent: Spent,
}

/// What the head of a request says about where it comes from; resolvers find it in the request's data.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The client's address; `None` where there is no socket, or nobody looks at it.
    pub address: Option<IpAddr>,
    /// The application whose key came along.
    pub application: Option<Arc<Application>>,
}

impl Origin {
    /// What counts as one address.
    pub(crate) fn network(&self) -> Option<IpAddr> {
        self.address.map(address::network)
    }
}

impl Limiter {
    /// Fails if the keys of applications cannot be read.
    pub fn new(args: RateArgs, redis: Option<Redis>) -> Result<Limiter, keys::KeysMalformed> {
        Ok(Limiter {
            keys: ApiKeys::new(args.api_keys.clone(), args.api_key_required)?,
            args,
            redis,
            local: Local::default(),
            spent: Spent::default(),
        })
    }

    /// Looks at the head of a request: the client's address, and the key of the application.
    /// Refuses a key that is not known, and an address or application with nothing left.
    pub fn greet(&self, head: &Parts) -> Result<Origin, Refusal> {
        let origin = Origin {
            address: self.address(head),
            application: self.keys.find(&head.headers)?,
        };
        self.spent
            .check(&self.buckets(&origin, &Caller::Nobody, 0))?;
        Ok(origin)
    }

    /// As [`Limiter::greet`] for the handshake of a socket, whose client may show the key of its
    /// application in its first message instead.
    pub fn knock(&self, head: &Parts) -> Result<Origin, Refusal> {
        if head.headers.contains_key("x-api-key") {
            return self.greet(head);
        }
        let origin = Origin {
            address: self.address(head),
            application: None,
        };
        self.spent
            .check(&self.buckets(&origin, &Caller::Nobody, 0))?;
        Ok(origin)
    }

    /// The application whose key is in these headers. Refuses a key that is not known, and none
    /// where one must be shown.
    pub fn application(&self, headers: &HeaderMap) -> Result<Option<Arc<Application>>, Refusal> {
        self.keys.find(headers)
    }

    fn address(&self, head: &Parts) -> Option<IpAddr> {
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>()?;
        let proxies = self.args.trusted_proxies.as_ref();
        Some(address::client(peer.0.ip(), &head.headers, proxies))
    }

    /// Charges a request of this cost to its address, user and application, or refuses it.
    pub async fn admit(&self, origin: &Origin, caller: &Caller, cost: u64) -> Result<(), Refusal> {
        let buckets = self.buckets(origin, caller, cost);
        if buckets.is_empty() {
            return Ok(());
        }
        self.spent.check(&buckets)?;
        let refused = match &self.redis {
            Some(redis) => match take(redis, &buckets).await {
                Some(outcome) => outcome,
                None => self.local.take(&buckets),
            },
            None => self.local.take(&buckets),
        };
        match refused.and_then(|(at, wait)| Some((buckets.get(at)?, wait))) {
            None => Ok(()),
            Some((bucket, wait)) => {
                self.spent.remember(bucket, wait);
                Err(exceeded(bucket, wait))
            }
        }
    }

    fn buckets(&self, origin: &Origin, caller: &Caller, cost: u64) -> Vec<Bucket> {
        let user = match caller {
            Caller::User(user) => Some(format!("user:{}", user.id)),
            Caller::System(system) => Some(format!("system:{}", system.name)),
            Caller::Nobody => None,
        };
        let address = origin
            .address
            .map(|ip| format!("address:{}", address::network(ip)));
        let application = origin.application.as_ref();
        let payer = user.as_ref().or(address.as_ref());
        let payer = payer
            .filter(|_| cost > 0)
            .map(|payer| format!("cost:{payer}"));
        let quota = application.map(|app| (format!("application:{}", app.name), app.quota));
        let all = [
            address.map(|key| ("address", key, self.args.rate_address, 1)),
            user.map(|key| ("user", key, self.args.rate_user, 1)),
            quota.map(|(key, quota)| ("application", key, quota, 1)),
            payer.map(|key| ("cost", key, self.args.rate_cost, cost)),
        ];
        all.into_iter()
            .flatten()
            .filter_map(|(what, key, rate, units)| Bucket::new(what, key, rate, units))
            .collect()
    }
}

/// `None` if Redis has no answer.
async fn take(redis: &Redis, buckets: &[Bucket]) -> Option<Option<(usize, Duration)>> {
    let keys = buckets
        .iter()
        .map(|bucket| redis.key(&format!("rate:{}", bucket.key)));
    let args = buckets.iter().flat_map(|bucket| {
        let (step, burst) = bucket.times();
        [step.into(), burst.into()]
    });
    let answer = redis.run(&TAKE, keys.collect(), args.collect()).await;
    let (which, wait_us): (usize, u64) = answer.ok()?;
    let refused = which.checked_sub(1);
    Some(refused.map(|at| (at, Duration::from_micros(wait_us))))
}

fn exceeded(bucket: &Bucket, wait: Duration) -> Refusal {
    let message = match bucket.what {
        "address" => "too many requests from this address",
        "user" => "too many requests of this user",
        "application" => "the quota of the application is used up",
        _ => "too much is asked for in a short time",
    };
    Refusal::new(
        RequestReason::RateExceeded,
        StatusCode::TOO_MANY_REQUESTS,
        message,
    )
    .retry_after(wait)
}
