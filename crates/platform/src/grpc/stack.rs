//! The layers in their order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use platform_contract::PlatformReason;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::answer::{Answer, Cut};
use super::message::{self, Measured};
use super::routes::{HEALTH, Kind, REFLECTION, Route, Routes};
use super::telemetry::{Call, Telemetry};
use super::{Services, access, panics, stalled, timeout};
use crate::admission::{Admission, Permit, Source};
use crate::auth::Verifier;
use crate::config::GrpcArgs;
use crate::error::{Refusal, with_domain};
use crate::trace::TraceContext;
use crate::{deadline, trace};

/// How telemetry calls every method that does not exist.
const UNKNOWN_METHOD: &str = "_OTHER";

/// Everything in front of the methods of one listener.
pub(super) struct Stack {
    routes: Routes,
    /// Of the errors that no method can be named for.
    domain: &'static str,
    verifier: Arc<Verifier>,
    telemetry: Telemetry,
    admission: Admission,
    args: GrpcArgs,
    drain: CancellationToken,
    abort: CancellationToken,
}

/// A method's answer with what must be kept until it is over.
struct Answered {
    response: Response<Body>,
    deadline: Option<Instant>,
    cut: Cut,
    permit: Option<Permit>,
}

impl Stack {
    /// The stack, and what must run beside it.
    pub(super) async fn new(
        services: Services,
        drain: &CancellationToken,
        abort: &CancellationToken,
    ) -> (Stack, impl Future<Output = ()> + Send + use<>) {
        let contracts: Vec<_> = services.contracts().collect();
        let mut routes = Routes::default();

        let (health, follow) = services.health.server(contracts.clone()).await;
        routes.add_open(HEALTH, true, BoxCloneSyncService::new(health));

        let reflection = contracts.iter().fold(
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET),
            |builder, service| builder.register_encoded_file_descriptor_set(service.descriptors),
        );
        match reflection.build_v1() {
            Ok(reflection) => {
                routes.add_open(REFLECTION, false, BoxCloneSyncService::new(reflection))
            }
            Err(error) => {
                tracing::error!(%error, "the contracts cannot be served by reflection: {error}")
            }
        }

        let domain = contracts.first().map_or("", |service| service.domain);
        for (service, server) in services.servers {
            routes.add_contract(service, server);
        }
        let stack = Stack {
            routes,
            domain,
            verifier: services.verifier,
            telemetry: services.telemetry,
            admission: services.admission,
            args: services.args,
            drain: drain.clone(),
            abort: abort.clone(),
        };
        (stack, follow)
    }

    /// Answers one call of a connection, whatever happens.
    pub(super) async fn call(
        &self,
        request: Request<Incoming>,
        connection: &Source,
    ) -> Response<Body> {
        if let Some(response) = not_grpc(&request, self.args.deadline_default) {
            return response;
        }
        let context = TraceContext::of(request.headers());
        trace::scope(
            context,
            panics::caught(self.traced(context, request, connection)),
        )
        .await
        .unwrap_or_else(|panicked| polished(panicked, self.domain).into_http())
    }

    async fn traced(
        &self,
        context: TraceContext,
        request: Request<Incoming>,
        connection: &Source,
    ) -> Response<Body> {
        let route = self.routes.find(request.uri().path());
        let (label, domain, quiet) = match route.as_deref() {
            Some(Route {
                label,
                kind: Kind::Contract { service, .. },
                ..
            }) => (*label, service.domain, false),
            Some(Route {
                label,
                kind: Kind::Open { .. },
                ..
            }) => (*label, self.domain, true),
            None => (UNKNOWN_METHOD, self.domain, false),
        };
        let call = self.telemetry.begin(label, quiet, context);
        let answered = match &route {
            Some(route) => match route.kind {
                Kind::Contract { .. } => self.admitted(request, route, connection).await,
                Kind::Open { one_message } => self.open(request, route, one_message).await,
            },
            None => {
                Err(Refusal::new(PlatformReason::MethodUnknown, "there is no such method").into())
            }
        };
        match answered {
            Ok(answered) => self.outgoing(answered, domain, context, call),
            Err(status) => refused(status, domain, call),
        }
    }

    /// Health and reflection: only the end of the process ends them.
    async fn open(
        &self,
        request: Request<Incoming>,
        route: &Route,
        one_message: bool,
    ) -> Result<Answered, Status> {
        let cut = stopping(self.drain.clone());
        Ok(Answered {
            response: self.handled(request, route, one_message).await?,
            deadline: None,
            cut: Box::pin(cut),
            permit: None,
        })
    }

    /// A method of a contract: its time begins, and within it a place is waited for, and the rest happens.
    async fn admitted(
        &self,
        request: Request<Incoming>,
        route: &Route,
        connection: &Source,
    ) -> Result<Answered, Status> {
        let limit = timeout::limit(
            request.headers(),
            self.args.deadline_default,
            self.args.deadline_max,
        )?;
        let until = Instant::now() + limit;
        let stopped = stopping(self.abort.clone());
        let mut cut: Cut = Box::pin(async move {
            tokio::select! {
                () = tokio::time::sleep_until(until) => timeout::passed(),
                status = stopped => status,
            }
        });
        let (response, permit) = tokio::select! {
            biased;
            status = &mut cut => return Err(status),
            done = deadline::scope_until(until, self.allowed(request, route, connection)) => done?,
        };
        Ok(Answered {
            response,
            deadline: Some(until),
            cut,
            permit: Some(permit),
        })
    }

    /// A place, then the caller, then the request, then the method.
    async fn allowed(
        &self,
        mut request: Request<Incoming>,
        route: &Route,
        connection: &Source,
    ) -> Result<(Response<Body>, Permit), Status> {
        let Kind::Contract {
            service,
            method,
            one_message,
        } = route.kind
        else {
            return Err(crate::error::internal(
                "an open method came to the access table",
            ));
        };
        let permit = self.admission.admit(method.class, Some(connection)).await?;
        let caller = access::admit(&self.verifier, service, method, request.headers()).await?;
        request.extensions_mut().insert(caller);
        let response = self.handled(request, route, one_message).await?;
        Ok((response, permit))
    }

    /// The method's answer, or the refusal of what it could not read.
    async fn handled(
        &self,
        request: Request<Incoming>,
        route: &Route,
        one_message: bool,
    ) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let (body, handed_over) = Measured::new(body, self.args.request_bytes_max);
        let request = Request::from_parts(parts, Body::new(body));
        let response = match route.server.clone().oneshot(request).await {
            Ok(response) => response,
            Err(infallible) => match infallible {},
        };
        // See `message`: INTERNAL before the handler had the request is not the handler's.
        let is_internal = response
            .headers()
            .get(Status::GRPC_STATUS)
            .is_some_and(|code| code == "13");
        if one_message && is_internal && !handed_over.get() {
            return Err(message::undecodable());
        }
        Ok(response)
    }

    fn outgoing(
        &self,
        answered: Answered,
        domain: &'static str,
        context: TraceContext,
        call: Call,
    ) -> Response<Body> {
        let Answered {
            response,
            deadline,
            cut,
            permit,
        } = answered;
        // A status in the headers is the whole answer.
        if let Some(status) = Status::from_header_map(response.headers()) {
            if status.code() != Code::Ok {
                return refused(status, domain, call);
            }
            call.finish(None);
            return response;
        }
        let bytes_max = self.args.response_bytes_max;
        if let Some(until) = deadline {
            stalled::must_end(until);
        }
        response.map(|body| {
            Body::new(Answer {
                inner: Some(body),
                unsent: Bytes::new(),
                context,
                deadline,
                cut,
                domain,
                bytes_max,
                call: Some(call),
                permit,
            })
        })
    }
}

/// Completes when the process gives up what is left.
async fn stopping(token: CancellationToken) -> Status {
    token.cancelled_owned().await;
    Refusal::new(
        PlatformReason::DependencyUnavailable,
        "the service is stopping",
    )
    .into()
}

fn refused(status: Status, domain: &str, call: Call) -> Response<Body> {
    let status = polished(status, domain);
    call.finish(Some(&status));
    status.into_http()
}

/// The status as it leaves: with a reason, and with the domain of who says it.
pub(super) fn polished(status: Status, domain: &str) -> Status {
    let status = if status.details().is_empty() {
        explained(status)
    } else {
        status
    };
    with_domain(status, domain)
}

/// A bare status, made by a library or carelessly: the codes that the platform itself has a word for get it.
fn explained(status: Status) -> Status {
    let reason = match status.code() {
        Code::Internal | Code::Unknown => PlatformReason::InternalFault,
        Code::Unavailable => PlatformReason::DependencyUnavailable,
        Code::DeadlineExceeded => PlatformReason::DeadlinePassed,
        _ => return status,
    };
    if matches!(status.code(), Code::Internal | Code::Unknown) {
        // The text of such a status is a cause, and causes stay in the log.
        return crate::error::internal(status.message());
    }
    Refusal::new(reason, status.message()).into()
}

/// What is not gRPC at all gets an answer of HTTP, with a word for people, to be taken within the limit.
fn not_grpc(request: &Request<Incoming>, limit: Duration) -> Option<Response<Body>> {
    let is_grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let status = match (request.method() == Method::POST, is_grpc) {
        (true, true) => return None,
        (false, _) => StatusCode::METHOD_NOT_ALLOWED,
        (true, false) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
    };
    stalled::must_end(Instant::now() + limit);
    let mut response = Response::new(match *request.method() {
        Method::HEAD => Body::empty(),
        _ => Body::new(Full::from("this port speaks gRPC\n")),
    });
    *response.status_mut() = status;
    Some(response)
}
