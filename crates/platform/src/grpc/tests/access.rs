//! Who may call what.

use platform_contract::PlatformReason;
use serde_json::json;
use tonic::{Code, Request, Status};

use crate::auth::Claims;
use crate::auth::issuer::Issuer;
use crate::error::Details;
use crate::grpc::testing::{Running, TestClient, bearing};

const DO: &str = "/test.v1.TestService/Do";
const PRIVATE: &str = "/test.v1.TestService/Private";
const SELL: &str = "/test.v1.TestService/Sell";
const SELL_FOR: &str = "/test.v1.TestService/SellFor";

type Client = TestClient<tonic::transport::Channel>;

async fn start() -> (Issuer, Running, Client) {
    let issuer = Issuer::start().await;
    let running = Running::believing(&issuer).await;
    let client = running.client().await;
    (issuer, running, client)
}

#[track_caller]
fn assert_refused(outcome: Result<String, Status>, code: Code, reason: PlatformReason) {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(Details::is(&status, reason), "{status:?}");
    assert_eq!(
        Details::of(&status).domain.as_deref(),
        Some("test.homeward")
    );
}

#[tokio::test]
async fn nobody_reaches_what_is_public_and_nothing_else() {
    let (_issuer, _running, client) = start().await;
    assert_eq!(client.run("caller").await.unwrap(), "nobody");
    for path in [PRIVATE, SELL, SELL_FOR] {
        let outcome = client.call(path, Request::new("caller".to_owned())).await;
        assert_refused(outcome, Code::Unauthenticated, PlatformReason::TokenMissing);
    }
}

#[tokio::test]
async fn a_user_is_told_apart_by_role() {
    let (issuer, _running, client) = start().await;
    let claims = issuer.claims();
    let seller = issuer.token(&json!(claims));
    for path in [DO, PRIVATE, SELL, SELL_FOR] {
        let principal = client.call(path, bearing(&seller, "caller")).await.unwrap();
        assert_eq!(principal, format!("user:{}", claims.sub));
    }
    let operator = issuer.user_with(&["user-client", "operator"]);
    client
        .call(SELL, bearing(&operator, "caller"))
        .await
        .unwrap();
    // `seller` is a role of the service: to hold a global role of that name means nothing.
    for roles in [&["user-mover"][..], &[], &["seller"]] {
        let other = issuer.user_with(roles);
        client
            .call(PRIVATE, bearing(&other, "caller"))
            .await
            .unwrap();
        let outcome = client.call(SELL, bearing(&other, "caller")).await;
        assert_refused(
            outcome,
            Code::PermissionDenied,
            PlatformReason::RoleRequired,
        );
    }
}

#[tokio::test]
async fn a_service_reaches_what_names_it() {
    let (issuer, _running, client) = start().await;
    let catalog = issuer.system("catalog");
    assert_eq!(
        client
            .call(SELL, bearing(&catalog, "caller"))
            .await
            .unwrap(),
        "system:catalog"
    );
    assert_eq!(
        client.call(DO, bearing(&catalog, "caller")).await.unwrap(),
        "system:catalog"
    );
    let outcome = client.call(PRIVATE, bearing(&catalog, "caller")).await;
    assert_refused(
        outcome,
        Code::PermissionDenied,
        PlatformReason::RoleRequired,
    );
    let outcome = client
        .call(SELL, bearing(&issuer.system("movers"), "caller"))
        .await;
    assert_refused(
        outcome,
        Code::PermissionDenied,
        PlatformReason::RoleRequired,
    );
    // A service that bears a user's role gains nothing by it, and a user called like a service neither.
    let claims = Claims {
        sub: "movers".to_owned(),
        kind: "system".to_owned(),
        ..issuer.claims()
    };
    let outcome = client
        .call(SELL, bearing(&issuer.token(&json!(claims)), "caller"))
        .await;
    assert_refused(
        outcome,
        Code::PermissionDenied,
        PlatformReason::RoleRequired,
    );
    let claims = Claims {
        sub: "catalog".to_owned(),
        ..issuer.claims()
    };
    let outcome = client
        .call(SELL, bearing(&issuer.token(&json!(claims)), "caller"))
        .await;
    assert_refused(outcome, Code::Unauthenticated, PlatformReason::TokenInvalid);
}

#[tokio::test]
async fn a_bad_token_is_refused_even_where_none_is_needed() {
    let (issuer, _running, client) = start().await;
    let now = crate::time::now().timestamp();
    let expired = Claims {
        iat: now - 700,
        nbf: now - 700,
        exp: now - 100,
        ..issuer.claims()
    };
    let expired = issuer.token(&json!(expired));
    for path in [DO, PRIVATE, SELL] {
        let outcome = client.call(path, bearing("nonsense", "caller")).await;
        assert_refused(outcome, Code::Unauthenticated, PlatformReason::TokenInvalid);
        let outcome = client.call(path, bearing(&expired, "caller")).await;
        assert_refused(outcome, Code::Unauthenticated, PlatformReason::TokenExpired);
        let mut basic = Request::new("caller".to_owned());
        basic
            .metadata_mut()
            .insert("authorization", "Basic dTpw".parse().unwrap());
        assert_refused(
            client.call(path, basic).await,
            Code::Unauthenticated,
            PlatformReason::TokenInvalid,
        );
        let mut twice = bearing(&issuer.user(), "caller");
        twice.metadata_mut().append(
            "authorization",
            format!("Bearer {}", issuer.user()).parse().unwrap(),
        );
        assert_refused(
            client.call(path, twice).await,
            Code::Unauthenticated,
            PlatformReason::TokenInvalid,
        );
    }
}

#[tokio::test]
async fn a_service_acts_for_a_user_only_where_the_method_says_so_and_both_are_allowed() {
    let (issuer, _running, client) = start().await;
    let claims = issuer.claims();
    let (seller, buyer) = (
        issuer.token(&json!(claims)),
        issuer.user_with(&["user-mover"]),
    );
    let (catalog, movers) = (issuer.system("catalog"), issuer.system("movers"));
    let for_user = |service: &str, user: &str| {
        let mut request = bearing(service, "caller");
        request
            .metadata_mut()
            .insert("on-behalf-of", format!("Bearer {user}").parse().unwrap());
        request
    };
    let caller = client
        .call(SELL_FOR, for_user(&catalog, &seller))
        .await
        .unwrap();
    assert_eq!(caller, format!("user:{} via catalog", claims.sub));
    for (path, service, user) in [
        (SELL, &catalog, &seller),
        (DO, &catalog, &seller),
        (SELL_FOR, &movers, &seller),
        (SELL_FOR, &catalog, &buyer),
        (SELL_FOR, &seller, &seller),
        (SELL_FOR, &catalog, &catalog),
    ] {
        let outcome = client.call(path, for_user(service, user)).await;
        assert_refused(
            outcome,
            Code::PermissionDenied,
            PlatformReason::RoleRequired,
        );
    }
    let outcome = client.call(SELL_FOR, for_user(&catalog, "nonsense")).await;
    assert_refused(outcome, Code::Unauthenticated, PlatformReason::TokenInvalid);
}

#[tokio::test]
async fn without_the_issuers_keys_a_token_cannot_be_judged() {
    let mut issuer = Issuer::start().await;
    let running = Running::believing(&issuer).await;
    let token = issuer.user();
    issuer.stop().await;
    let client = running.client().await;
    let outcome = client.call(PRIVATE, bearing(&token, "caller")).await;
    assert_refused(
        outcome,
        Code::Unavailable,
        PlatformReason::DependencyUnavailable,
    );
    assert_eq!(client.run("caller").await.unwrap(), "nobody");
}
