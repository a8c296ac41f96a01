//! GraphQL over HTTP: reads a request, has it checked and executed, writes the answer.
//!
//! Order: method and media type, body limit, JSON, the checks of [`crate::guard`], the caller,
//! execution under the deadline, [`write`].

mod read;
mod write;

use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use async_graphql::{Executor, Request, Response as Executed};
use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use axum::routing::post;
use http::{Method, StatusCode};
use platform::auth::Verifier;
use platform_contract::PlatformReason;

use crate::context::Context;
use crate::guard::{self, Checked, Limits};
use crate::refusal::{Refusal, RequestReason};
use write::Media;

/// A schema behind one path.
pub struct Endpoint<E> {
    schema: E,
    verifier: Arc<Verifier>,
    limits: Limits,
    deadline: Duration,
    introspection: bool,
}

impl<E: Executor> Endpoint<E> {
    /// An endpoint with the default limits and 10 s for a request.
    pub fn new(schema: E, verifier: Arc<Verifier>) -> Endpoint<E> {
        Endpoint {
            schema,
            verifier,
            limits: Limits::default(),
            deadline: Duration::from_secs(10),
            introspection: true,
        }
    }

    /// Other limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Endpoint { limits, ..self }
    }

    /// Another time for a request, from its head to its answer.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Endpoint { deadline, ..self }
    }

    /// Whether the schema can be asked about itself.
    #[must_use]
    pub fn introspection(self, introspection: bool) -> Self {
        Endpoint {
            introspection,
            ..self
        }
    }

    /// Serves GET and POST at `path`.
    pub fn router(self, path: &str) -> Router {
        Router::new()
            .route(
                path,
                post(serve::<E>)
                    .get(serve::<E>)
                    .fallback(method_not_allowed),
            )
            .with_state(Arc::new(self))
    }

    async fn answer(&self, request: HttpRequest) -> Result<Executed, Refusal> {
        let by_get = matches!(*request.method(), Method::GET | Method::HEAD);
        let (head, body) = request.into_parts();
        let asked = if by_get {
            read::query(head.uri.query().unwrap_or_default(), &self.limits)?
        } else {
            read::body(&head.headers, body, &self.limits).await?
        };
        let Checked {
            document,
            kind,
            variables,
        } = guard::check(
            &asked.query,
            asked.operation_name.as_deref(),
            asked.variables,
            &self.limits,
        )?;
        if by_get && kind != OperationType::Query {
            return Err(Refusal::new(
                RequestReason::MethodNotAllowed,
                StatusCode::METHOD_NOT_ALLOWED,
                "only queries can be sent by GET",
            ));
        }
        let mut request = Request::new(asked.query).variables(variables);
        request.operation_name = asked.operation_name;
        request.set_parsed_query(document);
        if !self.introspection {
            request = request.disable_introspection();
        }
        let context = Context::read(&head.headers, &self.verifier).await;
        Ok(self.schema.execute(request.data(context)).await)
    }
}

async fn serve<E: Executor>(
    State(endpoint): State<Arc<Endpoint<E>>>,
    request: HttpRequest,
) -> Response {
    let media = Media::accepted(request.headers());
    let work = platform::deadline::scope(endpoint.deadline, endpoint.answer(request));
    // Calls end with the deadline and are told as errors of their fields; the grace is for that.
    let grace = Duration::from_millis(500);
    match tokio::time::timeout(endpoint.deadline + grace, work).await {
        Ok(Ok(executed)) => write::executed(executed, media, &endpoint.limits),
        Ok(Err(refusal)) => write::refused(&refusal, media, &endpoint.limits),
        Err(_) => {
            let message = "the time for the request is over";
            let refusal = Refusal::new(
                PlatformReason::DeadlinePassed,
                StatusCode::GATEWAY_TIMEOUT,
                message,
            );
            write::refused(&refusal, media, &endpoint.limits)
        }
    }
}

async fn method_not_allowed(request: HttpRequest) -> Response {
    let media = Media::accepted(request.headers());
    let message = "send GraphQL by GET or POST";
    let refusal = Refusal::new(
        RequestReason::MethodNotAllowed,
        StatusCode::METHOD_NOT_ALLOWED,
        message,
    );
    write::refused(&refusal, media, &Limits::default())
}
