//! What belongs to one request: on whose behalf it is made, and the calls made for it.
//!
//! Deadline and trace are scopes of the task (`platform::deadline`, `platform::trace`), opened by
//! the endpoint and read by the clients.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use platform::auth::{Caller, Verifier};
use platform::error::Refusal;
use platform_contract::{Access, PlatformReason, Service};
use tonic::service::Interceptor;
use tonic::{GrpcMethod, Request, Status};

use crate::document::Document;

/// Longest bearer token looked at and forwarded. Metadata over a service's limit would end the
/// connection that all requests share.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// One request: its caller and its document. Resolvers find it with [`Context::of`].
#[derive(Clone, Debug)]
pub struct Context {
    caller: Arc<Result<Caller, Status>>,
    document: Option<Arc<Document>>,
}

impl Context {
    /// The context of a caller, or of a token that was refused.
    pub fn new(caller: Result<Caller, Status>) -> Context {
        Context {
            caller: Arc::new(caller),
            document: None,
        }
    }

    /// Reads and verifies the bearer token.
    ///
    /// A bad token does not end the request here: every field that asks who is calling answers
    /// why the token is refused, so that a client sees one kind of answer for all fields.
    pub async fn read(headers: &HeaderMap, verifier: &Verifier) -> Context {
        Context::new(bearer_caller(headers, verifier).await)
    }

    /// The context that the endpoint put into the request.
    pub fn of<'a>(ctx: &async_graphql::Context<'a>) -> &'a Context {
        ctx.data_unchecked()
    }

    /// Who is calling, or why the token is refused.
    pub fn caller(&self) -> Result<&Caller, Status> {
        self.caller.as_ref().as_ref().map_err(Status::clone)
    }

    /// What is executed. Every request comes from [`crate::document::Prepared::request`].
    pub fn document(&self) -> &Arc<Document> {
        let document = self.document.as_ref();
        document.expect("only prepared documents are executed")
    }

    pub(crate) fn with_document(self, document: Arc<Document>) -> Context {
        Context {
            document: Some(document),
            ..self
        }
    }

    /// For a client of `service`: lets through what the caller may call, with the caller's token.
    pub fn forward(&self, service: &'static Service) -> Forward {
        Forward {
            context: self.clone(),
            service,
        }
    }
}

/// Applies the access table of a service before it is called, and adds the caller's token.
#[derive(Clone, Debug)]
pub struct Forward {
    context: Context,
    service: &'static Service,
}

impl Interceptor for Forward {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = self.context.caller()?;
        let method = request
            .extensions()
            .get::<GrpcMethod<'_>>()
            .map(|method| method.method().to_owned());
        let method = method.and_then(|name| {
            self.service
                .methods
                .iter()
                .find(|method| method.name == name)
        });
        let Some(method) = method else {
            return Err(Refusal::new(
                PlatformReason::MethodUnknown,
                "the method is not in the contract",
            )
            .into());
        };
        allowed(self.service, method.access, caller)?;
        caller.authorize(&mut request);
        Ok(request)
    }
}

fn allowed(service: &Service, access: Access, caller: &Caller) -> Result<(), Status> {
    match access {
        Access::Public => Ok(()),
        Access::Authenticated => caller.user().map(|_| ()),
        Access::Allowed {
            roles, services, ..
        } => {
            let held = match caller {
                Caller::System(system) => services.contains(&system.name.as_str()),
                _ => {
                    let user = caller.user()?;
                    let mut mapped = service
                        .roles
                        .iter()
                        .filter(|(global, _)| user.has_role(global));
                    mapped.any(|(_, role)| roles.contains(role))
                }
            };
            if held {
                Ok(())
            } else {
                Err(Refusal::new(
                    PlatformReason::RoleRequired,
                    "the call needs a role that the caller does not hold",
                )
                .into())
            }
        }
    }
}

/// Who holds the bearer token, or why it is refused.
pub(crate) async fn bearer_caller(
    headers: &HeaderMap,
    verifier: &Verifier,
) -> Result<Caller, Status> {
    match bearer(headers) {
        Ok(None) => Ok(Caller::Nobody),
        Ok(Some(token)) => verifier.verify(token).await,
        Err(refusal) => Err(refusal.into()),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let invalid = |message| Refusal::new(PlatformReason::TokenInvalid, message);
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(invalid("more than one authorization is given")),
    };
    if value.len() > TOKEN_BYTES_MAX {
        return Err(invalid("the access token is too long"));
    }
    let text = value
        .to_str()
        .map_err(|_| invalid("the access token is not one"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(invalid("only bearer tokens are understood")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_bearer_token_is_read() {
        assert_eq!(bearer(&headers(&[])).unwrap(), None);
        assert_eq!(bearer(&headers(&["Bearer a.b.c"])).unwrap(), Some("a.b.c"));
        assert_eq!(
            bearer(&headers(&["bearer  a.b.c "])).unwrap(),
            Some("a.b.c")
        );
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX));
        for bad in [
            &["Basic abc"] as &[&str],
            &["Bearer"],
            &["Bearer a", "Bearer a"],
            &[long.as_str()],
        ] {
            assert!(bearer(&headers(bad)).is_err(), "{bad:.60?}");
        }
    }
}
