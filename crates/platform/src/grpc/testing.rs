//! A service for the tests of the server and client stacks. Each method takes a text and answers one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use http::{Request, Response};
use platform_contract::{Access, Class, Idempotency, Method, PlatformReason, Served, Service};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic_prost::ProstCodec;

use super::{Health, Services};
use crate::auth::issuer::Issuer;
use crate::auth::{Caller, Verifier};
use crate::config::{AuthArgs, GrpcArgs};
use crate::error::Refusal;
use crate::{deadline, trace};

const fn method(name: &'static str, path: &'static str, access: Access) -> Method {
    of_class(Class::Mutation, name, path, access)
}

const fn of_class(class: Class, name: &'static str, path: &'static str, access: Access) -> Method {
    let text = "google.protobuf.StringValue";
    Method {
        name,
        path,
        input: text,
        output: text,
        access,
        idempotency: Idempotency::None,
        class,
    }
}

pub(crate) static SERVICE: Service = Service {
    name: "test",
    full_name: "test.v1.TestService",
    domain: "test.homeward",
    roles: &[
        ("user-business", "seller"),
        ("operator", "seller"),
        ("user-mover", "buyer"),
    ],
    methods: &[
        method("Do", "/test.v1.TestService/Do", Access::Public),
        method("Stream", "/test.v1.TestService/Stream", Access::Public),
        of_class(
            Class::Read,
            "Get",
            "/test.v1.TestService/Get",
            Access::Public,
        ),
        of_class(
            Class::List,
            "List",
            "/test.v1.TestService/List",
            Access::Public,
        ),
        method(
            "Private",
            "/test.v1.TestService/Private",
            Access::Authenticated,
        ),
        method(
            "Sell",
            "/test.v1.TestService/Sell",
            Access::Allowed {
                roles: &["seller"],
                services: &["catalog"],
                delegation: false,
            },
        ),
        method(
            "SellFor",
            "/test.v1.TestService/SellFor",
            Access::Allowed {
                roles: &["seller"],
                services: &["catalog"],
                delegation: true,
            },
        ),
    ],
    descriptors: &[],
};

/// The service; counts what it began and what it saw to its end.
#[derive(Clone, Default)]
pub(crate) struct TestServer {
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) done: Arc<AtomicUsize>,
    /// What is ordered to be held goes on when this is true.
    pub(crate) open: watch::Sender<bool>,
    pub(crate) name: &'static str,
}

impl Served for TestServer {
    const SERVICE: &'static Service = &SERVICE;
}

impl TestServer {
    async fn run(self, request: tonic::Request<String>) -> Result<tonic::Response<String>, Status> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let caller = Caller::of(&request);
        let order = request.into_inner();
        let (verb, rest) = order.split_once(':').unwrap_or((&order, ""));
        let answer = match verb {
            "echo" => rest.to_owned(),
            "name" => self.name.to_owned(),
            "caller" => match &caller {
                Caller::User(user) if user.via.is_some() => {
                    format!(
                        "{} via {}",
                        caller.principal(),
                        user.via.as_deref().unwrap_or_default()
                    )
                }
                caller => caller.principal().into_owned(),
            },
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(rest.parse().unwrap())).await;
                "slept".to_owned()
            }
            "hold" => {
                self.open.subscribe().wait_for(|open| *open).await.unwrap();
                rest.to_owned()
            }
            "remaining" => deadline::remaining().unwrap().as_millis().to_string(),
            "trace" => trace::current().to_string(),
            "big" => "x".repeat(rest.parse().unwrap()),
            "panic" => panic!("as asked"),
            "internal" => {
                return Err(Refusal::new(PlatformReason::InternalFault, "as asked").into());
            }
            "bare" => return Err(Status::internal("the cause: secret")),
            "refuse" => {
                return Err(Refusal::new(PlatformReason::VersionMismatch, "as asked").into());
            }
            other => panic!("no such order: {other}"),
        };
        self.done.fetch_add(1, Ordering::SeqCst);
        Ok(tonic::Response::new(answer))
    }

    async fn stream(
        self,
        request: tonic::Request<String>,
    ) -> Result<tonic::Response<Texts>, Status> {
        let order = request.into_inner();
        let texts = stream::iter(0_u32..).then(move |n| {
            let order = order.clone();
            async move {
                if n == 2 {
                    match order.as_str() {
                        "panic" => panic!("as asked"),
                        "refuse" => {
                            return Err(
                                Refusal::new(PlatformReason::VersionMismatch, "as asked").into()
                            );
                        }
                        _ => {}
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok(format!("{n} {}", trace::current().trace_id()))
            }
        });
        Ok(tonic::Response::new(Box::pin(texts)))
    }
}

type Texts = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

struct Unary(TestServer);

impl tonic::server::UnaryService<String> for Unary {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<String>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        Box::pin(self.0.clone().run(request))
    }
}

struct Streaming(TestServer);

impl tonic::server::ServerStreamingService<String> for Streaming {
    type Response = String;
    type ResponseStream = Texts;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Texts>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        Box::pin(self.0.clone().stream(request))
    }
}

impl tower::Service<Request<Body>> for TestServer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
            Ok(match request.uri().path().ends_with("/Stream") {
                true => grpc.server_streaming(Streaming(server), request).await,
                false => grpc.unary(Unary(server), request).await,
            })
        })
    }
}

/// A running server.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) server: TestServer,
    pub(crate) health: Health,
    pub(crate) registry: Registry,
    pub(crate) drain: CancellationToken,
    pub(crate) abort: CancellationToken,
    pub(crate) served: JoinHandle<()>,
}

pub(crate) fn args() -> GrpcArgs {
    crate::config::parse::<GrpcArgs>("test", &Default::default()).unwrap()
}

impl Running {
    /// With a verifier that believes nobody.
    pub(crate) async fn start() -> Running {
        Running::with(&args(), nobodys_verifier()).await
    }

    pub(crate) async fn with(args: &GrpcArgs, verifier: Verifier) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Running::on(listener, args, verifier, "one")
    }

    pub(crate) async fn believing(issuer: &Issuer) -> Running {
        Running::with(&args(), issuer.verifier()).await
    }

    pub(crate) fn on(
        listener: TcpListener,
        args: &GrpcArgs,
        verifier: Verifier,
        name: &'static str,
    ) -> Running {
        let addr = listener.local_addr().unwrap();
        let mut registry = Registry::default();
        let server = TestServer {
            name,
            ..TestServer::default()
        };
        let mut services = Services::new("test", Arc::new(verifier), args, &mut registry);
        services.add(server.clone());
        let health = services.health();
        let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
        let served = tokio::spawn(services.serve(listener, drain.clone(), abort.clone()));
        Running {
            addr,
            server,
            health,
            registry,
            drain,
            abort,
            served,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A client by others: tonic's own channel.
    pub(crate) async fn client(&self) -> TestClient<tonic::transport::Channel> {
        let endpoint = tonic::transport::Endpoint::from_shared(self.url()).unwrap();
        TestClient(endpoint.connect().await.unwrap())
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn shows(&self, line: &str) {
        let line = format!("{line}\n");
        let shown = async {
            while !self.metrics().contains(&line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), shown).await;
        assert!(in_time.is_ok(), "no {line} in\n{}", self.metrics());
    }

    /// Waits until the service has begun this many calls.
    pub(crate) async fn has_begun(&self, calls: usize) {
        eventually(|| self.server.begun.load(Ordering::SeqCst) >= calls).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.drain.cancel();
        self.abort.cancel();
        self.served.abort();
    }
}

pub(crate) fn nobodys_verifier() -> Verifier {
    Verifier::new(&AuthArgs {
        issuer_url: "http://127.0.0.1:1".to_owned(),
        jwks_url: None,
        token_audience: "api".to_owned(),
    })
}

pub(crate) async fn eventually(condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waited)
        .await
        .expect("the condition came true in time");
}

#[derive(Clone)]
pub(crate) struct TestClient<C>(pub(crate) C);

impl<C> TestClient<C>
where
    C: tonic::client::GrpcService<Body> + Clone,
    C::Error: std::fmt::Debug,
    C::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(crate) async fn run(&self, order: &str) -> Result<String, Status> {
        self.call(
            "/test.v1.TestService/Do",
            tonic::Request::new(order.to_owned()),
        )
        .await
    }

    pub(crate) async fn call(
        &self,
        path: &'static str,
        request: tonic::Request<String>,
    ) -> Result<String, Status> {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client
            .ready()
            .await
            .map_err(|_| Status::unknown("not ready"))?;
        let codec = ProstCodec::<String, String>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        Ok(client.unary(request, path, codec).await?.into_inner())
    }

    pub(crate) async fn stream(&self, order: &str) -> Result<tonic::Streaming<String>, Status> {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client
            .ready()
            .await
            .map_err(|_| Status::unknown("not ready"))?;
        let codec = ProstCodec::<String, String>::default();
        let path = http::uri::PathAndQuery::from_static("/test.v1.TestService/Stream");
        Ok(client
            .server_streaming(tonic::Request::new(order.to_owned()), path, codec)
            .await?
            .into_inner())
    }
}

/// A request with a token.
pub(crate) fn bearing(token: &str, order: &str) -> tonic::Request<String> {
    let mut request = tonic::Request::new(order.to_owned());
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}
