mod lapse;

use std::sync::Arc;

use platform_contract::{PlatformReason, Voided};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::Code;
use uuid::Uuid;

use super::issuer::{Issuer, Keys};
use super::{Caller, Claims, OrgRole};
use crate::error::Details;

const NOW: i64 = 1_800_000_000;

/// Good claims around a fixed moment.
fn claims(issuer: &Issuer) -> Value {
    json!(Claims {
        iat: NOW,
        nbf: NOW,
        exp: NOW + 600,
        ..issuer.claims()
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

#[tokio::test]
async fn a_good_token_names_its_user() {
    let issuer = Issuer::start().await;
    let claims = Claims {
        org: Some(Uuid::now_v7()),
        org_role: Some(OrgRole::Manager),
        ..issuer.claims()
    };
    let caller = issuer
        .verifier()
        .verify(&issuer.token(&json!(claims)))
        .await
        .unwrap();
    let user = caller.user().unwrap();
    assert_eq!(user.id.to_string(), claims.sub);
    assert_eq!(user.organisation, claims.org.zip(claims.org_role));
    assert_eq!(user.organisation_as(OrgRole::Member), claims.org);
    assert_eq!(user.organisation_as(OrgRole::Owner), None);
    assert_eq!((user.session_id, user.access_version), (claims.sid, 1));
    assert!(user.has_role("user-business") && !user.has_role("operator"));
    assert_eq!(caller.principal(), format!("user:{}", claims.sub));
}

#[tokio::test]
async fn a_service_is_a_system_caller() {
    let issuer = Issuer::start().await;
    let caller = issuer
        .verifier()
        .verify(&issuer.system("catalog"))
        .await
        .unwrap();
    assert_eq!(caller.principal(), "system:catalog");
    assert!(Details::is(
        &caller.user().unwrap_err(),
        PlatformReason::RoleRequired
    ));
}

#[tokio::test]
async fn each_key_verifies_with_its_own_algorithm() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    for (alg, kid) in [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": kid});
        let token = issuer.sign(alg, &header, &claims(&issuer));
        assert!(verifier.verify_at_time(&token, NOW).await.is_ok(), "{alg}");
    }
}

#[tokio::test]
async fn every_claim_is_required() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let good = claims(&issuer);
    assert!(
        verifier
            .verify_at_time(&issuer.token(&good), NOW)
            .await
            .is_ok()
    );
    for name in [
        "iss",
        "aud",
        "sub",
        "client_id",
        "iat",
        "nbf",
        "exp",
        "jti",
        "sid",
        "kind",
        "roles",
        "ver",
    ] {
        let mut without = good.clone();
        assert!(
            without.as_object_mut().unwrap().remove(name).is_some(),
            "{name}"
        );
        let outcome = verifier.verify_at_time(&issuer.token(&without), NOW).await;
        assert!(
            outcome.unwrap_err().starts_with("Invalid"),
            "without {name}"
        );
    }
}

#[tokio::test]
async fn every_claim_has_its_type() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let wrong: &[(&str, &[Value])] = &[
        ("iss", &[json!(1), json!(null), json!("http://other")]),
        (
            "aud",
            &[json!(["api"]), json!(null), json!("other"), json!("")],
        ),
        (
            "sub",
            &[json!(1), json!(null), json!(""), json!("not-a-uuid")],
        ),
        ("client_id", &[json!(1), json!(null), json!("")]),
        ("iat", &[json!("1800000000"), json!(1.5), json!(null)]),
        ("nbf", &[json!("1800000000"), json!(1.5), json!(null)]),
        (
            "exp",
            &[
                json!("1800000600"),
                json!(1_800_000_600.5),
                json!(null),
                json!(u64::MAX),
                json!(NOW),
            ],
        ),
        ("jti", &[json!(1), json!(null), json!("x")]),
        ("sid", &[json!(1), json!(null), json!("x")]),
        (
            "kind",
            &[
                json!(1),
                json!(null),
                json!(""),
                json!("user-"),
                json!("admin"),
                json!("User-x"),
            ],
        ),
        (
            "roles",
            &[json!("user-business"), json!(null), json!([1]), json!({})],
        ),
        ("ver", &[json!("1"), json!(1.5), json!(null), json!(-1)]),
        // The organisation's two claims come together or not at all.
        (
            "org",
            &[json!(1), json!(null), json!("x"), json!(Uuid::nil())],
        ),
        (
            "org_role",
            &[json!(1), json!(null), json!("boss"), json!("owner")],
        ),
    ];
    for (name, values) in wrong {
        for value in *values {
            let token = issuer.token(&with(claims(&issuer), name, value.clone()));
            let outcome = verifier.verify_at_time(&token, NOW).await;
            assert!(
                outcome.as_ref().is_err_and(|e| e.starts_with("Invalid")),
                "{name} = {value}: {outcome:?}"
            );
        }
    }
}

#[tokio::test]
async fn time_is_checked_with_a_leeway_of_five_seconds() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let token = issuer.token(&claims(&issuer));
    let fresh = || issuer.verifier();
    assert_eq!(
        fresh().verify_at_time(&token, NOW + 605).await,
        Err("Expired".to_owned())
    );
    assert!(fresh().verify_at_time(&token, NOW + 604).await.is_ok());
    // Also when the token was believed before.
    assert!(verifier.verify_at_time(&token, NOW + 599).await.is_ok());
    assert_eq!(
        verifier.verify_at_time(&token, NOW + 606).await,
        Err("Expired".to_owned())
    );

    for name in ["nbf", "iat"] {
        let token = issuer.token(&with(claims(&issuer), name, json!(NOW + 6)));
        assert!(
            verifier
                .verify_at_time(&token, NOW)
                .await
                .unwrap_err()
                .contains("not yet valid"),
            "{name}"
        );
        assert!(
            verifier.verify_at_time(&token, NOW + 1).await.is_ok(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_key_decides_the_algorithm() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    for (signed, alg, kid) in [
        ("none", "none", "rsa"),
        ("none", "None", "rsa"),
        ("none", "RS256", "rsa"),
        ("HS256", "HS256", "rsa"),
        ("HS256", "HS256", "secret"),
        ("HS256", "RS256", "rsa"),
        ("PS256", "PS256", "rsa"),
        ("PS256", "RS256", "rsa"),
        ("RS256", "ES256", "rsa"),
        ("RS256", "RS512", "rsa"),
        ("ES256", "ES256", "rsa"),
        ("ES256", "ES256", "lies"),
        ("EdDSA", "EdDSA", "ec"),
    ] {
        let token = issuer.sign(
            signed,
            &json!({"alg": alg, "typ": "at+jwt", "kid": kid}),
            &claims(&issuer),
        );
        let outcome = verifier.verify_at_time(&token, NOW).await;
        assert!(
            outcome.unwrap_err().starts_with("Invalid"),
            "{signed} as {alg} for {kid}"
        );
    }
}

#[tokio::test]
async fn headers_that_bring_keys_or_extensions_are_refused() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let good = json!({"alg": "RS256", "typ": "at+jwt", "kid": "rsa"});
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("jku", json!("http://evil")),
        ("jwk", json!({})),
        ("x5u", json!("http://evil")),
        ("x5c", json!([])),
        ("typ", json!("JWT")),
        ("typ", json!(null)),
        ("kid", json!(null)),
        ("kid", json!(7)),
        ("kid", json!("../../etc/passwd")),
        ("alg", json!(null)),
        ("alg", json!(["RS256"])),
    ] {
        let token = issuer.sign(
            "RS256",
            &with(good.clone(), name, value.clone()),
            &claims(&issuer),
        );
        let outcome = verifier.verify_at_time(&token, NOW).await;
        assert!(
            outcome.unwrap_err().starts_with("Invalid"),
            "{name} = {value}"
        );
    }
}

#[tokio::test]
async fn damaged_tokens_are_refused() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let good = issuer.token(&claims(&issuer));
    let parts: Vec<_> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let other = issuer.token(&claims(&issuer));
    let other_payload = other.split('.').nth(1).unwrap();
    let huge = format!("{good}{}", "A".repeat(9000));
    for token in [
        "",
        ".",
        "..",
        "...",
        "abc",
        &format!("{header}.{payload}"),
        &format!("{header}.{payload}."),
        &format!("{header}.{payload}.{signature}."),
        &format!("{header}.{other_payload}.{signature}"),
        &format!(
            "{header}.{payload}.{}",
            signature.chars().rev().collect::<String>()
        ),
        &format!(" {good}"),
        &huge,
    ] {
        let outcome = verifier.verify_at_time(token, NOW).await;
        assert!(outcome.unwrap_err().starts_with("Invalid"), "{token:.80}");
    }
}

#[tokio::test]
async fn a_status_tells_invalid_from_expired() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let backwards = issuer.token(&with(json!(issuer.claims()), "exp", json!(1_700_000_000)));
    let invalid = verifier.verify("nonsense").await.unwrap_err();
    assert_eq!(invalid.code(), Code::Unauthenticated);
    assert!(Details::is(&invalid, PlatformReason::TokenInvalid));
    // Issued after it expired: that is no token of ours.
    let backwards = verifier.verify(&backwards).await.unwrap_err();
    assert!(Details::is(&backwards, PlatformReason::TokenInvalid));
    let mut claims = issuer.claims();
    (claims.iat, claims.nbf, claims.exp) = (1_700_000_000, 1_700_000_000, 1_700_000_600);
    let expired = verifier
        .verify(&issuer.token(&json!(claims)))
        .await
        .unwrap_err();
    assert_eq!(expired.code(), Code::Unauthenticated);
    assert!(Details::is(&expired, PlatformReason::TokenExpired));
}

#[tokio::test]
async fn keys_are_fetched_once_and_unknown_ones_at_most_once_per_cooldown() {
    let issuer = Issuer::start().await;
    let verifier = Arc::new(issuer.verifier());
    let many = (0..50).map(|_| {
        let (verifier, token) = (verifier.clone(), issuer.user());
        tokio::spawn(async move { verifier.verify(&token).await.unwrap() })
    });
    for one in many.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(issuer.fetches(), 1);
    for n in 0..20 {
        let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": format!("unknown-{n}")});
        let token = issuer.sign("RS256", &header, &json!(issuer.claims()));
        assert!(Details::is(
            &verifier.verify(&token).await.unwrap_err(),
            PlatformReason::TokenInvalid
        ));
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn known_keys_go_on_while_the_issuer_is_away() {
    let mut issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    verifier.verify(&issuer.user()).await.unwrap();
    issuer.stop().await;
    verifier.verify(&issuer.user()).await.unwrap();
}

#[tokio::test]
async fn without_any_key_the_service_is_unavailable_and_recovers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut issuer = Issuer::serve(listener, Keys::generate());
    let token = issuer.user();
    issuer.stop().await;
    let verifier = issuer.verifier();
    let status = verifier.verify(&token).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(Details::is(&status, PlatformReason::DependencyUnavailable));

    // The same address, other keys: the issuer came up after the service.
    let issuer = Issuer::serve(TcpListener::bind(addr).await.unwrap(), Keys::generate());
    let token = issuer.user();
    let answered = async {
        while verifier.verify(&token).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), answered)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_cache_of_verified_tokens_is_bounded() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let caller = verifier.verify(&issuer.user()).await.unwrap();
    for n in 0..20_000 {
        verifier.cache_for_test(n, caller.clone());
    }
    assert!(verifier.cached_count() <= 10_000);
}

#[test]
fn roles_in_an_organisation_are_ordered() {
    assert!(OrgRole::Member < OrgRole::Manager && OrgRole::Manager < OrgRole::Owner);
    assert_eq!(json!(OrgRole::Owner), json!("owner"));
}

#[tokio::test]
async fn a_caller_prints_no_token_and_hands_it_on() {
    let issuer = Issuer::start().await;
    let token = issuer.user();
    let caller = issuer.verifier().verify(&token).await.unwrap();
    assert!(!format!("{caller:?}").contains(&token));
    let mut request = tonic::Request::new(());
    caller.authorize(&mut request);
    assert_eq!(
        request.metadata().get("authorization").unwrap(),
        &format!("Bearer {token}")
    );
    assert!(
        Caller::Nobody
            .user()
            .is_err_and(|status| Details::is(&status, PlatformReason::TokenMissing))
    );
}

#[tokio::test]
async fn a_token_is_void_once_its_session_or_version_is_also_from_the_cache() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let claims: Claims = serde_json::from_value(claims(&issuer)).unwrap();
    let token = issuer.token(&json!(claims));
    let session = Voided::Session {
        subject: claims.sub.clone(),
        session: claims.sid.to_string(),
    };
    let below = |access_version| Voided::Below {
        subject: claims.sub.clone(),
        access_version,
    };

    verifier.revoke_at(&below(claims.ver), NOW).unwrap();
    assert!(verifier.verify_at_time(&token, NOW).await.is_ok());
    verifier.revoke_at(&session, NOW).unwrap();
    let revoked = verifier.verify_at_time(&token, NOW).await;
    assert_eq!(revoked.unwrap_err(), "Revoked");

    let later = Claims {
        sid: Uuid::now_v7(),
        ..claims.clone()
    };
    let token = issuer.token(&json!(later));
    assert!(verifier.verify_at_time(&token, NOW).await.is_ok());
    verifier.revoke_at(&below(claims.ver + 1), NOW).unwrap();
    let revoked = verifier.verify_at_time(&token, NOW).await;
    assert_eq!(revoked.unwrap_err(), "Revoked");
    let refreshed = Claims {
        ver: claims.ver + 1,
        ..later
    };
    let refreshed = issuer.token(&json!(refreshed));
    assert!(verifier.verify_at_time(&refreshed, NOW).await.is_ok());
}

#[tokio::test]
async fn a_revoked_token_is_told_from_a_bad_one() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let claims = issuer.claims();
    let voided = Voided::Session {
        subject: claims.sub.clone(),
        session: claims.sid.to_string(),
    };
    verifier.revoke(&voided).unwrap();
    let status = verifier.verify(&issuer.token(&json!(claims))).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(Details::is(&status, PlatformReason::TokenRevoked));
}

#[tokio::test]
async fn a_token_made_for_longer_than_revocations_are_remembered_is_refused() {
    let issuer = Issuer::start().await;
    let long = with(claims(&issuer), "exp", json!(NOW + 601));
    let outcome = issuer
        .verifier()
        .verify_at_time(&issuer.token(&long), NOW)
        .await;
    assert_eq!(outcome.unwrap_err(), r#"Invalid("made for too long")"#);
}
