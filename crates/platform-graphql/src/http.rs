//! GraphQL over HTTP: reads a request, has it checked and executed, writes the answer.
//!
//! Order: method, media types, body limit, JSON, the document by its id or text, the checks of
//! [`crate::guard`], a turn, the caller, execution under the deadline, [`write`]. The way to
//! execution, [`Endpoint::admit`], is that of sockets and streams ([`crate::live`]) as well.

mod accept;
mod args;
mod compress;
mod cors;
mod head;
mod health;
mod operation;
pub(crate) mod read;
pub(crate) mod write;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_graphql::parser::types::{ExecutableDocument, OperationType, Selection};
use async_graphql::{Executor, Request};
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request as HttpRequest, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::{FutureExt, StreamExt, stream};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, SET_COOKIE, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use platform::admission::{Admission, AdmissionLimits, Class, Permit};
use platform::auth::{Caller, Verifier};
use platform_contract::PlatformReason;
use prometheus_client::registry::Registry;

use crate::admission::Turn;
use crate::context::Context;
use crate::document::{Document, Documents, Prepared};
use crate::guard::{Checker, Limits};
use crate::live::{self, Live, Pace, Run, Step};
use crate::persisted::{Manifest, Persisted};
use crate::rate::{Limiter, Origin};
use crate::refusal::{Refusal, RequestReason};
use crate::session::{Jar, Opened, Sessions};
use accept::{Accepted, Media};
use operation::Operations;
use read::Asked;
use tonic::Status;
use write::Form;

pub(crate) use accept::gzip as takes_gzip;
pub use args::EndpointArgs;
pub use cors::{NotAnOrigin, Origins};
pub use health::health;

/// Calls end with the deadline and are told as errors of their fields; this is for the telling.
const GRACE: Duration = Duration::from_millis(500);

/// A schema behind one path.
pub struct Endpoint<E> {
    schema: E,
    documents: Documents,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) deadline: Duration,
    deadline_max: Duration,
    persisted: Persisted,
    public_age: Duration,
    admission: Admission,
    operations: Operations,
    cors: Origins,
    sessions: Option<Arc<Sessions>>,
    pub(crate) limiter: Option<Arc<Limiter>>,
    live: Option<Arc<Live>>,
    page: Option<Box<Page>>,
}

/// Makes a page from the head of a request.
type Page = dyn Fn(&Parts) -> Response + Send + Sync;

impl<E: Executor> Endpoint<E> {
    /// An endpoint with the given limits, no web sessions, and 10 s for a request.
    pub fn new(
        schema: E,
        checker: Checker,
        limits: Limits,
        verifier: Arc<Verifier>,
    ) -> Endpoint<E> {
        Endpoint {
            schema,
            documents: Documents::new(checker, limits.clone()),
            verifier,
            limits: Arc::new(limits),
            deadline: Duration::from_secs(10),
            deadline_max: Duration::from_secs(25),
            persisted: Persisted::default(),
            public_age: Duration::ZERO,
            admission: Admission::new(AdmissionLimits::default()),
            operations: Operations::default(),
            cors: Origins::default(),
            sessions: None,
            limiter: None,
            live: None,
            page: None,
        }
    }

    /// Another time for a request, from its head to its answer: for those that name none, and the
    /// longest that can be asked for.
    #[must_use]
    pub fn deadline(self, deadline: Duration, max: Duration) -> Self {
        Endpoint {
            deadline,
            deadline_max: max,
            ..self
        }
    }

    /// Documents that clients name by an id.
    #[must_use]
    pub fn persisted(self, persisted: Persisted) -> Self {
        Endpoint { persisted, ..self }
    }

    /// Documents of pages that the program serves itself, beside those known already; they run where
    /// only listed ones do.
    #[must_use]
    pub fn own_documents(self, documents: Manifest) -> Self {
        let persisted = self.persisted.own(documents);
        Endpoint { persisted, ..self }
    }

    /// How long anybody may keep the answer to a persisted query that was sent by GET and says
    /// nothing of who asks. Afterwards it is asked for again, by its tag.
    #[must_use]
    pub fn public_age(self, public_age: Duration) -> Self {
        Endpoint { public_age, ..self }
    }

    /// Who lets requests in.
    #[must_use]
    pub fn admission(self, admission: Admission) -> Self {
        Endpoint { admission, ..self }
    }

    /// Shows who is let in as `admission_*`, and what is executed; once in a process.
    pub fn register(&self, registry: &mut Registry) {
        self.admission.register(registry);
        self.operations.register(registry);
    }

    /// Pages of other origins that may use the endpoint.
    #[must_use]
    pub fn cors(self, cors: Origins) -> Self {
        Endpoint { cors, ..self }
    }

    /// Sessions of browsers, kept in a cookie.
    #[must_use]
    pub fn sessions(self, sessions: Arc<Sessions>) -> Self {
        let sessions = Some(sessions);
        Endpoint { sessions, ..self }
    }

    /// How much one caller may ask for.
    #[must_use]
    pub fn limiter(self, limiter: Arc<Limiter>) -> Self {
        let limiter = Some(limiter);
        Endpoint { limiter, ..self }
    }

    /// Subscriptions, over WebSockets and event streams at the same path.
    #[must_use]
    pub fn live(self, live: Arc<Live>) -> Self {
        let live = Some(live);
        Endpoint { live, ..self }
    }

    /// What a person sees who opens the path in a browser.
    #[must_use]
    pub fn page(self, page: impl Fn(&Parts) -> Response + Send + Sync + 'static) -> Self {
        let page: Option<Box<Page>> = Some(Box::new(page));
        Endpoint { page, ..self }
    }

    /// Serves at `path`.
    pub fn router(self, path: &str) -> Router {
        Router::new()
            .route(path, any(serve::<E>))
            .with_state(Arc::new(self))
    }

    async fn respond(self: &Arc<Self>, head: &mut Parts, body: Body) -> Response {
        let mut accepted = Accepted::of(&head.headers);
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        let page = reads && accepted.page && !read::asks(head.uri.query().unwrap_or_default());
        if let Some(page) = self.page.as_ref().filter(|_| page) {
            return page(head);
        }
        // What changed of the session is told with a refusal as well.
        let jar = OnceLock::new();
        let outcome = self.dispatch(head, body, &accepted, &jar).await;
        let streams = self.live.is_some();
        if live::is_handshake(head) || matches!(head.method, Method::PUT | Method::DELETE) {
            // There is no old form of these, in which a refusal would be 200.
            accepted = Accepted::STRICT;
        }
        let mut response = outcome.unwrap_or_else(|refusal| {
            if streams && accepted.only_stream && live::is_told_in_stream(&refusal) {
                live::refused(&refusal, &self.limits)
            } else {
                write::refused(&refusal, &accepted, &self.limits)
            }
        });
        if streams && response.status() == StatusCode::METHOD_NOT_ALLOWED {
            let headers = response.headers_mut();
            headers.insert(ALLOW, write::METHODS_OF_STREAMS);
        }
        if let Some(jar) = jar.get() {
            let headers = response.headers_mut();
            Jar::write(jar, headers);
            if headers.contains_key(SET_COOKIE) {
                headers.insert(CACHE_CONTROL, write::PRIVATE);
            }
        }
        response
    }

    async fn dispatch(
        self: &Arc<Self>,
        head: &mut Parts,
        body: Body,
        accepted: &Accepted,
        jar: &OnceLock<Jar>,
    ) -> Result<Response, Refusal> {
        let time = || head::time(&head.headers, self.deadline, self.deadline_max);
        if let Some(live) = &self.live {
            if live::is_handshake(head) {
                return in_time(time()?, self.handshake(live, head, jar).boxed()).await;
            }
            if let Some(step) = Step::of(head, accepted.stream) {
                return in_time(time()?, self.step(live, step, head, body, jar).boxed()).await;
            }
        }
        if !matches!(head.method, Method::GET | Method::HEAD | Method::POST) {
            return Err(method_not_allowed("send GraphQL by GET or POST"));
        }
        if accepted.media.is_none() && !(self.live.is_some() && accepted.stream) {
            return Err(Refusal::new(
                RequestReason::GraphqlNotAcceptable,
                StatusCode::NOT_ACCEPTABLE,
                "accept application/graphql-response+json or application/json",
            ));
        }
        // Boxed, or else the compiler counts its layers in those of every schema.
        in_time(time()?, self.answer(head, body, accepted, jar).boxed()).await
    }

    async fn answer(
        self: &Arc<Self>,
        head: &Parts,
        body: Body,
        accepted: &Accepted,
        kept: &OnceLock<Jar>,
    ) -> Result<Response, Refusal> {
        let by_get = head.method != Method::POST;
        // Who has nothing left is refused before anything of the request is read.
        let limiter = self.limiter.as_deref();
        let origin = limiter.map(|limiter| limiter.greet(head)).transpose()?;
        let asked = if by_get {
            read::query(head.uri.query().unwrap_or_default(), &self.limits)?
        } else {
            read::body(&head.headers, body, &self.limits).await?
        };
        let live = self.live.as_ref().filter(|_| accepted.stream);
        let carries = Carries {
            mutations: !by_get,
            subscriptions: live.is_some(),
        };
        let who = async {
            let Opened { caller, jar } = self.open(head).await?;
            kept.get_or_init(|| jar);
            Ok(caller)
        };
        let admitted = self.admit(asked, carries, origin.as_ref(), who).await?;
        if let Some(live) = live
            && (accepted.only_stream || admitted.prepared.kind == OperationType::Subscription)
        {
            let time = platform::deadline::remaining().unwrap_or(self.deadline);
            return self.stream(live, admitted, head, origin.as_ref(), time);
        }
        let jar = kept.get().cloned().unwrap_or_else(Jar::none);
        let kind = admitted.prepared.kind;
        let by_id = admitted.by_id;
        let (request, document, _turn) = admitted.request(jar);
        let executing = self.operations.execute(&self.schema, kind, request);
        let mut executed = executing.await;
        document.redact(&mut executed.errors);
        let public = by_get && by_id && !head::says_who(&head.headers);
        let form = Form {
            media: accepted.media.unwrap_or(Media::Json),
            query: kind == OperationType::Query,
            public_s: public.then_some(self.public_age.as_secs()),
        };
        Ok(write::executed(
            executed,
            &form,
            &head.headers,
            &self.limits,
        ))
    }

    /// From what is asked to what may run, for every transport: the document is checked, the
    /// variables coerced, a turn waited for, and the caller, whom `who` finds out, charged.
    pub(crate) async fn admit(
        &self,
        asked: Asked,
        carries: Carries,
        origin: Option<&Origin>,
        who: impl Future<Output = Result<Result<Caller, Status>, Refusal>>,
    ) -> Result<Admitted, Refusal> {
        let found = self.persisted.find(asked.named)?;
        let document = self.documents.get(&found.text)?;
        if let Some(hash) = found.keep {
            self.persisted.keep(hash, found.text);
        }
        let name = asked.operation_name.as_deref();
        let prepared = document.prepare(name, asked.variables, &self.limits)?;
        carries.check(prepared.kind)?;
        let turn = match class(&prepared) {
            // Without a source: limits on one caller are the business of the limiter.
            Some(class) => Some(self.admission.admit(class, None).await?),
            None => None,
        };
        let caller = who.await?;
        if let (Some(limiter), Some(origin)) = (&self.limiter, origin) {
            let payer = caller.as_ref().unwrap_or(&Caller::Nobody);
            limiter.admit(origin, payer, prepared.cost).await?;
        }
        Ok(Admitted {
            prepared,
            caller,
            origin: origin.cloned().unwrap_or_default(),
            turn,
            by_id: found.by_id,
        })
    }

    /// Executes for a socket or stream; `time` is for the answer, or for each event.
    pub(crate) fn run(&self, admitted: Admitted, time: Duration) -> Run {
        let kind = admitted.prepared.kind;
        // The head of the answer has left, or there is none.
        let (request, document, turn) = admitted.request(Jar::none());
        if kind == OperationType::Subscription {
            let turn = Turn::new(turn);
            let request = request.data(turn.clone());
            return Run {
                answers: self.schema.execute_stream(request, None).map(Ok).boxed(),
                document,
                pace: Pace::Each(time),
                turn: Some(turn),
            };
        }
        let (schema, operations) = (self.schema.clone(), self.operations.clone());
        let answer = async move {
            let _turn = turn;
            let executing = operations.execute(&schema, kind, request);
            let work = tokio::time::timeout(time + GRACE, executing);
            work.await.map_err(|_| late())
        };
        Run {
            answers: stream::once(answer).boxed(),
            document,
            pace: Pace::Once(tokio::time::Instant::now() + time),
            turn: None,
        }
    }

    pub(crate) async fn open(&self, head: &Parts) -> Result<Opened, Refusal> {
        match &self.sessions {
            Some(sessions) => {
                sessions
                    .open(&head.method, &head.headers, &self.verifier)
                    .await
            }
            None => Ok(Opened {
                caller: crate::context::bearer_caller(&head.headers, &self.verifier).await,
                jar: Jar::none(),
            }),
        }
    }
}

async fn serve<E: Executor>(
    State(endpoint): State<Arc<Endpoint<E>>>,
    request: HttpRequest,
) -> Response {
    let (mut head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        let methods = match endpoint.live {
            Some(_) => write::METHODS_OF_STREAMS,
            None => write::METHODS,
        };
        headers.insert(ALLOW, methods);
        headers.insert(VARY, HeaderValue::from_static("origin"));
        endpoint.cors.preflight(&head.headers, headers);
        return response;
    }
    let mut response = endpoint.respond(&mut head, body).await;
    endpoint.cors.allow(&head.headers, response.headers_mut());
    if head.method == Method::HEAD {
        return without_body(response);
    }
    response
}

/// A request that may run.
pub(crate) struct Admitted {
    prepared: Prepared,
    caller: Result<Caller, Status>,
    origin: Origin,
    pub(crate) turn: Option<Permit>,
    by_id: bool,
}

impl Admitted {
    /// For the schema, and what is needed until it has answered.
    fn request(self, jar: Jar) -> (Request, Arc<Document>, Option<Permit>) {
        let document = self.prepared.document.clone();
        let request = self.prepared.request(Context::new(self.caller));
        let request = request.data(jar).data(self.origin);
        (request, document, self.turn)
    }

    /// Who asks, as far as that is known.
    pub(crate) fn caller(&self) -> &Caller {
        self.caller.as_ref().unwrap_or(&Caller::Nobody)
    }
}

/// What can be sent on the way that a request came.
#[derive(Clone, Copy)]
pub(crate) struct Carries {
    mutations: bool,
    subscriptions: bool,
}

impl Carries {
    pub(crate) const ALL: Carries = Carries {
        mutations: true,
        subscriptions: true,
    };

    fn check(self, kind: OperationType) -> Result<(), Refusal> {
        match kind {
            OperationType::Mutation if !self.mutations => {
                Err(method_not_allowed("mutations cannot be sent by GET"))
            }
            OperationType::Subscription if !self.subscriptions => Err(Refusal::bad(
                RequestReason::GraphqlStreamRequired,
                "send subscriptions to this path over a WebSocket (graphql-transport-ws), or with `accept: text/event-stream`",
            )),
            _ => Ok(()),
        }
    }
}

/// Ends the work soon after its deadline.
async fn in_time<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let work = platform::deadline::scope(time, work);
    let outcome = tokio::time::timeout(time + GRACE, work).await;
    outcome.unwrap_or_else(|_| Err(late()))
}

fn late() -> Refusal {
    Refusal::new(
        PlatformReason::DeadlinePassed,
        StatusCode::GATEWAY_TIMEOUT,
        "the time for the request is over",
    )
}

/// As for GET, and the length as well.
fn without_body(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    if let Some(bytes) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, bytes.into());
    }
    Response::from_parts(head, Body::empty())
}

fn method_not_allowed(message: &str) -> Refusal {
    Refusal::new(
        RequestReason::GraphqlMethodNotAllowed,
        StatusCode::METHOD_NOT_ALLOWED,
        message,
    )
}

/// How much the request matters when there is too much to do; a probe is always answered.
fn class(prepared: &Prepared) -> Option<Class> {
    match prepared.kind {
        OperationType::Query if probes(&prepared.document.parsed) => None,
        OperationType::Query if prepared.lists => Some(Class::List),
        OperationType::Query => Some(Class::Read),
        _ => Some(Class::Mutation),
    }
}

/// Whether nothing is asked but whether somebody answers: `{ __typename }`.
fn probes(document: &ExecutableDocument) -> bool {
    document.operations.iter().all(|(_, operation)| {
        let selections = &operation.node.selection_set.node.items;
        selections.iter().all(|selection| {
            matches!(&selection.node, Selection::Field(field) if field.node.name.node == "__typename")
        })
    })
}
