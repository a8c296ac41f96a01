//! GraphQL over HTTP: reads a request, has it checked and executed, writes the answer.
//!
//! Order: method, media types, body limit, JSON, the document by its id or text, the checks of
//! [`crate::guard`], a turn, the caller, execution under the deadline, [`write`].

mod accept;
mod args;
mod compress;
mod cors;
mod head;
mod health;
mod read;
mod write;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_graphql::Executor;
use async_graphql::parser::types::{ExecutableDocument, OperationType, Selection};
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request as HttpRequest, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, SET_COOKIE, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use platform::auth::{Caller, Verifier};
use platform_contract::PlatformReason;

use crate::admission::{Admission, AdmissionLimits, Class};
use crate::context::Context;
use crate::document::{Documents, Prepared};
use crate::guard::{Checker, Limits};
use crate::persisted::Persisted;
use crate::rate::Limiter;
use crate::refusal::{Refusal, RequestReason};
use crate::session::{Jar, Opened, Sessions};
use accept::{Accepted, Media};
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
    verifier: Arc<Verifier>,
    limits: Limits,
    deadline: Duration,
    deadline_max: Duration,
    persisted: Persisted,
    public_age: Duration,
    admission: Admission,
    cors: Origins,
    sessions: Option<Arc<Sessions>>,
    limiter: Option<Arc<Limiter>>,
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
            limits,
            deadline: Duration::from_secs(10),
            deadline_max: Duration::from_secs(25),
            persisted: Persisted::default(),
            public_age: Duration::ZERO,
            admission: Admission::new(AdmissionLimits::default()),
            cors: Origins::default(),
            sessions: None,
            limiter: None,
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

    async fn respond(&self, head: &Parts, body: Body) -> Response {
        let accepted = Accepted::of(&head.headers);
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        let page = reads && accepted.page && !read::asks(head.uri.query().unwrap_or_default());
        if let Some(page) = self.page.as_ref().filter(|_| page) {
            return page(head);
        }
        // What changed of the session is told with a refusal as well.
        let jar = OnceLock::new();
        let outcome = self.in_time(head, body, &accepted, &jar).await;
        let mut response =
            outcome.unwrap_or_else(|refusal| write::refused(&refusal, &accepted, &self.limits));
        if let Some(jar) = jar.get() {
            let headers = response.headers_mut();
            Jar::write(jar, headers);
            if headers.contains_key(SET_COOKIE) {
                headers.insert(CACHE_CONTROL, write::PRIVATE);
            }
        }
        response
    }

    async fn in_time(
        &self,
        head: &Parts,
        body: Body,
        accepted: &Accepted,
        jar: &OnceLock<Jar>,
    ) -> Result<Response, Refusal> {
        if !matches!(head.method, Method::GET | Method::HEAD | Method::POST) {
            return Err(method_not_allowed("send GraphQL by GET or POST"));
        }
        let Some(media) = accepted.media else {
            return Err(Refusal::new(
                RequestReason::NotAcceptable,
                StatusCode::NOT_ACCEPTABLE,
                "accept application/graphql-response+json or application/json",
            ));
        };
        let time = head::time(&head.headers, self.deadline, self.deadline_max)?;
        let work = platform::deadline::scope(time, self.answer(head, body, media, jar));
        match tokio::time::timeout(time + GRACE, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Refusal::new(
                PlatformReason::DeadlinePassed,
                StatusCode::GATEWAY_TIMEOUT,
                "the time for the request is over",
            )),
        }
    }

    async fn answer(
        &self,
        head: &Parts,
        body: Body,
        media: Media,
        kept: &OnceLock<Jar>,
    ) -> Result<Response, Refusal> {
        let by_get = head.method != Method::POST;
        // Who has nothing left is refused before anything of the request is read.
        let limiter = self.limiter.as_deref();
        let greeted = limiter.map(|limiter| Ok((limiter, limiter.greet(head)?)));
        let greeted = greeted.transpose()?;
        let asked = if by_get {
            read::query(head.uri.query().unwrap_or_default(), &self.limits)?
        } else {
            read::body(&head.headers, body, &self.limits).await?
        };
        let found = self.persisted.find(asked.named)?;
        let document = self.documents.get(&found.text)?;
        if let Some(hash) = found.keep {
            self.persisted.keep(hash, found.text);
        }
        let name = asked.operation_name.as_deref();
        let prepared = document.prepare(name, asked.variables, &self.limits)?;
        let query = prepared.kind == OperationType::Query;
        if by_get && !query {
            return Err(method_not_allowed("only queries can be sent by GET"));
        }
        let _turn = match class(&prepared) {
            Some(class) => Some(self.admission.admit(class).await?),
            None => None,
        };

        let Opened { caller, jar } = self.open(head).await?;
        let jar = kept.get_or_init(|| jar);
        if let Some((limiter, origin)) = &greeted {
            let caller = caller.as_ref().unwrap_or(&Caller::Nobody);
            limiter.admit(origin, caller, prepared.cost).await?;
        }
        let request = prepared.request(Context::new(caller)).data(jar.clone());
        let mut executed = self.schema.execute(request).await;
        document.redact(&mut executed.errors);
        let public = by_get && found.by_id && !head::says_who(&head.headers);
        let form = Form {
            media,
            query,
            public_s: public.then_some(self.public_age.as_secs()),
        };
        Ok(write::executed(
            executed,
            &form,
            &head.headers,
            &self.limits,
        ))
    }

    async fn open(&self, head: &Parts) -> Result<Opened, Refusal> {
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
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(ALLOW, write::METHODS);
        headers.insert(VARY, HeaderValue::from_static("origin"));
        endpoint.cors.preflight(&head.headers, headers);
        return response;
    }
    let mut response = endpoint.respond(&head, body).await;
    endpoint.cors.allow(&head.headers, response.headers_mut());
    if head.method == Method::HEAD {
        return without_body(response);
    }
    response
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
        RequestReason::MethodNotAllowed,
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
