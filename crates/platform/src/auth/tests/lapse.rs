//! Until when a token is good.

use platform_contract::{PlatformReason, Voided};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use super::super::issuer::Issuer;
use super::super::{Caller, Claims};
use crate::error::Details;

/// The claims' session, and every token of the user below this access version.
fn voided(claims: &Claims, access_version: i64) -> [Voided; 2] {
    let subject = || claims.sub.clone();
    [
        Voided::Session {
            subject: subject(),
            session: claims.sid.to_string(),
        },
        Voided::Below {
            subject: subject(),
            access_version,
        },
    ]
}

/// What a future that should not be over yet answers.
fn not_yet<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.poll(&mut context).is_pending());
}

async fn lapsed(future: impl Future<Output = tonic::Status>) -> tonic::Status {
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, future).await.unwrap()
}

#[tokio::test]
async fn a_right_ends_with_its_session_or_role_and_not_with_those_of_others() {
    let issuer = Issuer::start().await;
    let claims = issuer.claims();
    for ends in 0..2 {
        let verifier = issuer.verifier();
        let caller = verifier.verify(&issuer.token(&json!(claims))).await;
        let caller = caller.unwrap();
        let waiting = tokio::spawn(verifier.lapse(&caller));
        // It sleeps from here on, and only what wakes it lets it look again.
        tokio::task::yield_now().await;
        let mut lapse = std::pin::pin!(verifier.lapse(&caller));
        not_yet(lapse.as_mut());
        // Another user's everything, another session, and a version that is old already.
        let [theirs, all_theirs] = voided(&issuer.claims(), i64::MAX);
        let other = Claims {
            sid: Uuid::now_v7(),
            ..claims.clone()
        };
        let [other, old] = voided(&other, claims.ver);
        for voided in [theirs, all_theirs, other, old] {
            verifier.revoke(&voided).unwrap();
            not_yet(lapse.as_mut());
        }
        let ended = &voided(&claims, claims.ver + 1)[ends];
        verifier.revoke(ended).unwrap();
        let waiting = async { waiting.await.unwrap() };
        for status in [lapsed(lapse).await, lapsed(waiting).await] {
            assert_eq!(status.code(), Code::Unauthenticated);
            assert!(Details::is(&status, PlatformReason::TokenRevoked));
        }
    }
}

#[tokio::test]
async fn what_is_revoked_between_the_check_and_the_first_look_is_not_missed() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let claims = issuer.claims();
    let token = issuer.token(&json!(claims));
    let caller = verifier.verify(&token).await.unwrap();
    let before = verifier.lapse(&caller);
    verifier.revoke(&voided(&claims, 0)[0]).unwrap();
    let after = verifier.lapse(&caller);
    for status in [lapsed(before).await, lapsed(after).await] {
        assert!(Details::is(&status, PlatformReason::TokenRevoked));
    }
}

#[tokio::test]
async fn a_right_ends_when_its_token_is_no_longer_accepted_and_that_of_nobody_never() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let now = crate::time::now().timestamp();
    // With the leeway, this one has a second or two left.
    let claims = Claims {
        iat: now - 100,
        nbf: now - 100,
        exp: now - 3,
        ..issuer.claims()
    };
    let system = Claims {
        sub: "catalog".to_owned(),
        kind: "system".to_owned(),
        roles: vec![],
        ..claims.clone()
    };
    let mut nobody = std::pin::pin!(verifier.lapse(&Caller::Nobody));
    let tokens = [claims, system].map(|claims| issuer.token(&json!(claims)));
    let mut callers = Vec::new();
    for token in &tokens {
        callers.push(verifier.verify(token).await.unwrap());
    }
    for (token, caller) in tokens.iter().zip(callers) {
        let status = lapsed(verifier.lapse(&caller)).await;
        assert!(Details::is(&status, PlatformReason::TokenExpired));
        let status = verifier.verify(token).await.unwrap_err();
        assert!(Details::is(&status, PlatformReason::TokenExpired));
        not_yet(nobody.as_mut());
    }
}

#[tokio::test]
async fn who_no_longer_waits_for_the_end_of_a_right_leaves_nothing_behind() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let caller = verifier.verify(&issuer.user()).await.unwrap();
    let [one, two] = [(); 2].map(|()| verifier.lapse(&caller));
    assert_eq!(verifier.watched_count(), 1);
    drop(one);
    assert_eq!(verifier.watched_count(), 1);
    drop(two);
    assert_eq!(verifier.watched_count(), 0);
}
