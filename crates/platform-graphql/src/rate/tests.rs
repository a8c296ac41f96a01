use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use http::Request;
use platform::auth::{Caller, Verifier};
use platform::config::AuthArgs;
use platform_cache::RedisArgs;
use platform_testkit::{Issuer, RedisProcess, Vars, until};
use prometheus_client::registry::Registry;

use super::*;

const KEY: &str = "0123456789abcdef";

/// A limiter with these settings, as one replica has it.
async fn replica(settings: &[(&str, &str)], redis: Option<&Vars>) -> Limiter {
    let vars = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let args = platform::config::parse::<RateArgs>("test", &vars.collect()).unwrap();
    let redis = match redis {
        Some(vars) => {
            let args = platform::config::parse::<RedisArgs>("test", vars).unwrap();
            let redis = args.connect("test", &mut Registry::default()).unwrap();
            until("redis to be there", async || redis.there().then_some(())).await;
            Some(redis)
        }
        None => None,
    };
    Limiter::new(args, redis).unwrap()
}

/// The head of a request from this socket.
fn head(peer: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::post("/graphql");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (mut head, ()) = request.body(()).unwrap().into_parts();
    let peer: SocketAddr = format!("{peer}:4711").parse().unwrap();
    head.extensions.insert(ConnectInfo(peer));
    head
}

/// Sends a request as nobody; answers whether it is let in.
async fn ask(limiter: &Limiter, head: &Parts) -> Result<(), Refusal> {
    let origin = limiter.greet(head)?;
    limiter.admit(&origin, &Caller::Nobody, 1).await
}

/// How many of so many requests are let in.
async fn let_in(limiter: &Limiter, head: &Parts, count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        passed += usize::from(ask(limiter, head).await.is_ok());
    }
    passed
}

async fn somebody(issuer: &Issuer) -> Caller {
    let args: AuthArgs = platform::config::parse("test", &issuer.vars()).unwrap();
    let token = issuer.user("user-mover").sign();
    Verifier::new(&args).verify(&token).await.unwrap()
}

#[tokio::test]
async fn what_is_too_much_is_refused_with_a_time_to_wait() {
    let limiter = replica(&[("RATE_ADDRESS", "3/1h")], None).await;
    assert_eq!(let_in(&limiter, &head("9.9.9.9", &[]), 5).await, 3);
    let refusal = ask(&limiter, &head("9.9.9.9", &[])).await.unwrap_err();
    assert_eq!(refusal.word, "RATE_EXCEEDED");
    assert_eq!(refusal.code, platform_contract::Code::ResourceExhausted);
    assert_eq!(refusal.http, StatusCode::TOO_MANY_REQUESTS);
    assert!(refusal.retryable);
    let wait = refusal.retry_after.unwrap().as_secs();
    assert!((1_100..=1_200).contains(&wait), "{wait}");
    assert_eq!(let_in(&limiter, &head("9.9.9.8", &[]), 5).await, 3);
}

#[tokio::test]
async fn who_has_nothing_left_is_refused_before_anything_is_read() {
    let limiter = replica(&[("RATE_ADDRESS", "1/1h")], None).await;
    let head = head("9.9.9.9", &[]);
    assert!(limiter.greet(&head).is_ok());
    assert_eq!(let_in(&limiter, &head, 2).await, 1);
    assert_eq!(limiter.greet(&head).unwrap_err().word, "RATE_EXCEEDED");
}

#[tokio::test]
async fn a_forged_header_changes_nothing() {
    let redis = RedisProcess::start();
    for proxies in [None, Some("10.0.0.0/8")] {
        let mut settings = vec![("RATE_ADDRESS", "3/1h")];
        settings.extend(proxies.map(|proxies| ("TRUSTED_PROXIES", proxies)));
        redis.flush();
        let limiter = replica(&settings, Some(&redis.vars())).await;
        let mut passed = 0;
        for n in 0..10 {
            let forged = format!("1.1.1.{n}, 10.0.0.{n}");
            let head = head("9.9.9.9", &[("x-forwarded-for", &forged)]);
            passed += let_in(&limiter, &head, 1).await;
        }
        assert_eq!(passed, 3, "{proxies:?}");
    }
    // A proxy that is trusted speaks for those behind it.
    redis.flush();
    let settings = [("RATE_ADDRESS", "3/1h"), ("TRUSTED_PROXIES", "10.0.0.0/8")];
    let limiter = replica(&settings, Some(&redis.vars())).await;
    for client in ["1.1.1.1", "1.1.1.2"] {
        let head = head("10.0.0.7", &[("x-forwarded-for", client)]);
        assert_eq!(let_in(&limiter, &head, 5).await, 3);
    }
}

#[tokio::test]
async fn users_and_cost_have_limits_of_their_own() {
    let issuer = Issuer::start().await;
    let (one, other) = (somebody(&issuer).await, somebody(&issuer).await);
    let settings = [("RATE_USER", "2/1h"), ("RATE_COST", "100/1h")];
    let limiter = replica(&settings, None).await;
    let origin = limiter.greet(&head("9.9.9.9", &[])).unwrap();
    let admit = async |caller: &Caller, cost| {
        let outcome = limiter.admit(&origin, caller, cost).await;
        outcome.map_err(|refusal| refusal.message)
    };
    assert_eq!(admit(&one, 60).await, Ok(()));
    let message = "too much is asked for in a short time".to_owned();
    assert_eq!(admit(&one, 60).await, Err(message.clone()));
    assert_eq!(admit(&one, 40).await, Ok(()));
    assert_eq!(
        admit(&one, 0).await,
        Err("too many requests of this user".to_owned())
    );
    assert_eq!(admit(&other, 100).await, Ok(()));
    // Nobody in particular is their address.
    assert_eq!(admit(&Caller::Nobody, 100).await, Ok(()));
    assert_eq!(admit(&Caller::Nobody, 1).await, Err(message));
}

#[tokio::test]
async fn two_replicas_share_the_quota_of_an_application() {
    let redis = RedisProcess::start();
    let keys = format!("web {KEY} 10/1h");
    let settings = [("API_KEYS", keys.as_str()), ("API_KEY_REQUIRED", "true")];
    let first = replica(&settings, Some(&redis.vars())).await;
    let second = replica(&settings, Some(&redis.vars())).await;
    let mut passed = 0;
    for n in 0..20 {
        // From everywhere: it is the application that is counted.
        let head = head(&format!("9.9.9.{n}"), &[("x-api-key", KEY)]);
        passed += let_in(&first, &head, 1).await + let_in(&second, &head, 1).await;
    }
    assert_eq!(passed, 10);
    let refusal = ask(&first, &head("9.9.9.9", &[])).await.unwrap_err();
    assert_eq!(
        (refusal.word, refusal.http),
        ("API_KEY_INVALID", StatusCode::UNAUTHORIZED)
    );
}

#[tokio::test]
async fn where_one_limit_refuses_redis_charges_none() {
    let redis = RedisProcess::start();
    let settings = [("RATE_ADDRESS", "10/1h"), ("RATE_COST", "5/1h")];
    let limiter = replica(&settings, Some(&redis.vars())).await;
    let origin = limiter.greet(&head("9.9.9.9", &[])).unwrap();
    let admit = async |cost| limiter.admit(&origin, &Caller::Nobody, cost).await.is_ok();
    assert!(admit(4).await);
    for _ in 0..20 {
        assert!(!admit(4).await);
    }
    assert!(admit(1).await, "the address has paid for one request only");
}

#[tokio::test]
async fn without_redis_each_replica_still_has_bounds() {
    let redis = RedisProcess::start();
    let settings = [("RATE_ADDRESS", "5/1h")];
    let limiter = replica(&settings, Some(&redis.vars())).await;
    assert_eq!(let_in(&limiter, &head("9.9.9.9", &[]), 3).await, 3);
    redis.pause();
    let stopped = head("9.9.9.8", &[]);
    assert_eq!(let_in(&limiter, &stopped, 20).await, 5, "stopped");
    redis.kill();
    let killed = head("9.9.9.7", &[]);
    assert_eq!(let_in(&limiter, &killed, 20).await, 5, "killed");

    redis.run();
    let redis = limiter.redis.as_ref().unwrap();
    until("redis to be back", async || redis.there().then_some(())).await;
    assert_eq!(let_in(&limiter, &head("9.9.9.6", &[]), 20).await, 5);
}

#[test]
fn the_settings_are_well_formed() {
    platform::config::debug_assert::<RateArgs>();
}
