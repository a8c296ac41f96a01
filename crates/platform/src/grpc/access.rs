//! Who calls, and whether the contract lets them.

use http::{HeaderMap, header};
use platform_contract::{Access, Method, PlatformReason, Service};
use std::sync::Arc;
use tonic::Status;

use crate::auth::{Caller, User, Verifier};
use crate::error::Refusal;

/// A user's token, sent by a service that acts for them beside its own.
const ON_BEHALF_OF: &str = "on-behalf-of";

/// The caller, if the method's contract admits them.
pub(super) async fn admit(
    verifier: &Verifier,
    service: &Service,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, Status> {
    // A token that is sent is verified even where none is needed: a caller must not go on believing
    // that it is logged in.
    let caller = match bearer(headers, header::AUTHORIZATION.as_str())? {
        Some(token) => verifier.verify(token).await?,
        None => Caller::Nobody,
    };
    let user = match bearer(headers, ON_BEHALF_OF)? {
        Some(token) => Some(verifier.verify(token).await?),
        None => None,
    };
    match user {
        None if allows(service, method.access, &caller) => Ok(caller),
        None => Err(refusal(&caller)),
        Some(user) => delegated(service, method.access, caller, user),
    }
}

/// A service acts for a user: the method must provide for it, and both must be allowed.
fn delegated(
    service: &Service,
    access: Access,
    caller: Caller,
    user: Caller,
) -> Result<Caller, Status> {
    let provided = matches!(
        access,
        Access::Allowed {
            delegation: true,
            ..
        }
    );
    match (caller, user) {
        (Caller::System(system), Caller::User(user))
            if provided
                && allows(service, access, &Caller::System(system.clone()))
                && allows(service, access, &Caller::User(user.clone())) =>
        {
            let mut user = User::clone(&user);
            user.via = Some(system.name.clone());
            Ok(Caller::User(Arc::new(user)))
        }
        (Caller::Nobody, _) => Err(refusal(&Caller::Nobody)),
        (caller, _) => Err(refusal(&caller)),
    }
}

fn allows(service: &Service, access: Access, caller: &Caller) -> bool {
    match (access, caller) {
        (Access::Public, _) => true,
        (_, Caller::Nobody) => false,
        (Access::Authenticated, caller) => matches!(caller, Caller::User(_)),
        (Access::Allowed { roles, .. }, Caller::User(user)) => service
            .roles
            .iter()
            .any(|(global, role)| roles.contains(role) && user.has_role(global)),
        (Access::Allowed { services, .. }, Caller::System(system)) => {
            services.contains(&system.name.as_str())
        }
    }
}

fn refusal(caller: &Caller) -> Status {
    match caller {
        Caller::Nobody => Refusal::new(
            PlatformReason::TokenMissing,
            "the call needs an access token",
        ),
        _ => Refusal::new(
            PlatformReason::RoleRequired,
            "the method is not for this caller",
        ),
    }
    .into()
}

/// The token of a header `Bearer <token>`; anything else in it is refused.
fn bearer<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Status> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .and_then(|(scheme, token)| {
            let token = token.trim_matches(' ');
            (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
        });
    match (token, values.next()) {
        (Some(token), None) => Ok(Some(token)),
        _ => Err(Refusal::new(
            PlatformReason::TokenInvalid,
            "the access token is not valid",
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_bearer_token_stands_alone_in_its_header() {
        assert_eq!(bearer(&headers(&[]), "authorization").unwrap(), None);
        assert_eq!(
            bearer(&headers(&["Bearer abc"]), "authorization").unwrap(),
            Some("abc")
        );
        assert_eq!(
            bearer(&headers(&["bearer abc"]), "authorization").unwrap(),
            Some("abc")
        );
        for bad in [
            &["abc"][..],
            &["Basic abc"],
            &["Bearer"],
            &["Bearer "],
            &[""],
            &["Bearer a", "Bearer b"],
        ] {
            assert!(bearer(&headers(bad), "authorization").is_err(), "{bad:?}");
        }
    }
}
