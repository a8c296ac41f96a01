//! Sockets and event streams from outside, over a schema whose events are made here.

mod drain;
mod events;
mod limits;
mod rights;
mod shared;
mod slow;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_graphql::{Context, EmptySubscription, Object, Schema, Subscription};
use axum::Router;
use axum::body::Body;
use futures_util::{SinkExt, Stream, StreamExt, stream};
use http::header::{ACCEPT, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use platform::auth::Verifier;
use platform_testkit::{Issuer, until};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::Status;
use tower::ServiceExt;

use super::{Gate, Inside};
use crate::{Endpoint, Limits, Live, LiveArgs, Open, schemas};

/// A piece of a flood.
const PIECE_BYTES: usize = 16 << 10;

struct Query;

#[Object]
impl Query {
    async fn echo(&self, text: String) -> String {
        text
    }

    async fn who(&self, ctx: &Context<'_>) -> Option<Result<String, Status>> {
        let caller = crate::Context::of(ctx).caller();
        Some(caller.map(|caller| caller.principal().into_owned()))
    }

    /// Waits for the gate to open.
    async fn gated(&self, ctx: &Context<'_>) -> i32 {
        ctx.data_unchecked::<Gate>().pass().await;
        1
    }
}

#[derive(Clone, Default)]
struct Counts {
    bumps: Arc<AtomicUsize>,
    pulled: Arc<AtomicUsize>,
}

struct Mutation;

#[Object]
impl Mutation {
    async fn bump(&self, ctx: &Context<'_>) -> usize {
        let counts = ctx.data_unchecked::<Counts>();
        counts.bumps.fetch_add(1, Ordering::SeqCst) + 1
    }
}

struct Events;

struct Tick;

#[Object]
impl Tick {
    async fn remaining_ms(&self) -> Option<u64> {
        u64::try_from(platform::deadline::remaining()?.as_millis()).ok()
    }

    async fn trace(&self) -> Option<String> {
        Some(platform::trace::try_current()?.trace_id())
    }
}

#[Subscription]
impl Events {
    async fn numbers(&self, to: i32) -> impl Stream<Item = i32> {
        stream::iter(0..to)
    }

    /// One event, and then none until the gate opens.
    async fn quiet(&self, ctx: &Context<'_>) -> impl Stream<Item = i32> + use<> {
        let gate = ctx.data_unchecked::<Gate>().clone();
        let inside = gate.enter();
        stream::once(async { 0 }).chain(stream::once(async move {
            let _inside: Inside = inside;
            gate.open.subscribe().wait_for(|open| *open).await.unwrap();
            1
        }))
    }

    /// As much as is taken.
    async fn flood(&self, ctx: &Context<'_>) -> impl Stream<Item = String> + use<> {
        let pulled = ctx.data_unchecked::<Counts>().pulled.clone();
        stream::repeat_with(move || {
            pulled.fetch_add(1, Ordering::SeqCst);
            "x".repeat(PIECE_BYTES)
        })
    }

    async fn ticks(&self, every_ms: u64) -> impl Stream<Item = Tick> {
        let interval = tokio::time::interval(Duration::from_millis(every_ms));
        stream::unfold(interval, |mut interval| async {
            interval.tick().await;
            Some((Tick, interval))
        })
    }

    /// Says at once that it is open, and at last that the right has ended.
    async fn session(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = &'static str> + use<>, Status> {
        let verifier = ctx.data_unchecked::<Arc<Verifier>>();
        let ended = verifier.lapse(crate::Context::of(ctx).caller()?);
        let last = stream::once(async {
            ended.await;
            "ENDED"
        });
        Ok(stream::once(async { "OPEN" }).chain(last))
    }

    async fn refused(&self) -> Result<stream::Empty<i32>, Status> {
        Err(Status::unauthenticated("who are you"))
    }

    async fn panics(&self) -> impl Stream<Item = i32> {
        stream::once(async { panic!("a resolver that panics") })
    }
}

type Api = Schema<Query, Mutation, Events>;

struct Site {
    router: Router,
    live: Arc<Live>,
    verifier: Arc<Verifier>,
    issuer: Issuer,
    counts: Counts,
    gate: Gate,
    addr: SocketAddr,
}

impl Site {
    async fn new() -> Site {
        Site::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut LiveArgs)) -> Site {
        Site::serving(change, |endpoint, _| endpoint).await
    }

    async fn serving(
        change: impl FnOnce(&mut LiveArgs),
        equip: impl FnOnce(Endpoint<Api>, &Issuer) -> Endpoint<Api>,
    ) -> Site {
        let mut args = LiveArgs::default();
        change(&mut args);
        let live = Live::new(&args);
        let issuer = Issuer::start().await;
        let auth = platform::config::parse("test", &issuer.vars()).unwrap();
        let verifier = Arc::new(Verifier::new(&auth));
        let (counts, gate) = (Counts::default(), Gate::default());
        let (schema, checker) = schemas(Open::ALL, || {
            Schema::build(Query, Mutation, Events)
                .data(counts.clone())
                .data(gate.clone())
                .data(verifier.clone())
        });
        let endpoint = Endpoint::new(schema, checker, Limits::default(), verifier.clone())
            .deadline(Duration::from_millis(400), Duration::from_secs(60))
            .live(live.clone());
        let router = equip(endpoint, &issuer).router("/graphql");
        // Small, so that a client that does not read is noticed soon.
        let listener = TcpSocket::new_v4().unwrap();
        listener.set_send_buffer_size(8 << 10).unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1024).unwrap();
        let addr = listener.local_addr().unwrap();
        let served = router.clone();
        tokio::spawn(async move {
            let served = served.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, served).await
        });
        Site {
            router,
            live,
            verifier,
            issuer,
            counts,
            gate,
            addr,
        }
    }

    /// The handshake with these headers, and what it was answered.
    async fn dial(
        &self,
        headers: &[(&str, &str)],
    ) -> Result<Client, (StatusCode, http::HeaderMap, Value)> {
        let url = format!("ws://{}/graphql", self.addr);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let connection = socket.connect(self.addr).await.unwrap();
        match tokio_tungstenite::client_async(request, connection).await {
            Ok((socket, answer)) => Ok(Client {
                socket,
                head: answer.into_parts().0.headers,
            }),
            Err(Error::Http(answer)) => {
                let (head, body) = answer.into_parts();
                let body = serde_json::from_slice(&body.unwrap_or_default());
                Err((head.status, head.headers, body.unwrap_or_default()))
            }
            Err(other) => panic!("{other}"),
        }
    }

    async fn socket(&self) -> Client {
        let protocol = (SEC_WEBSOCKET_PROTOCOL.as_str(), "graphql-transport-ws");
        self.dial(&[protocol]).await.unwrap()
    }

    /// A socket whose first message was answered.
    async fn open(&self, payload: Value) -> Client {
        let mut client = self.socket().await;
        client
            .say(json!({ "type": "connection_init", "payload": payload }))
            .await;
        assert_eq!(client.hear().await, json!({ "type": "connection_ack" }));
        client
    }

    async fn send(&self, request: Request<Body>) -> http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn until_open(&self, count: usize) {
        let what = format!("{count} to be open");
        until(&what, async || (self.live.open() == count).then_some(())).await;
    }

    fn operations(&self) -> i64 {
        self.live.operations()
    }

    async fn until_operations(&self, count: i64) {
        let what = format!("{count} operations");
        until(&what, async || (self.operations() == count).then_some(())).await;
    }
}

struct Client {
    socket: WebSocketStream<TcpStream>,
    head: http::HeaderMap,
}

impl Client {
    async fn say(&mut self, message: Value) {
        self.say_raw(Message::text(message.to_string())).await;
    }

    async fn say_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    async fn subscribe(&mut self, id: &str, query: &str) {
        let payload = json!({ "query": query });
        self.say(json!({ "id": id, "type": "subscribe", "payload": payload }))
            .await;
    }

    async fn hear(&mut self) -> Value {
        loop {
            match self.heard().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn heard(&mut self) -> Message {
        let heard = tokio::time::timeout(Duration::from_secs(20), self.socket.next());
        heard
            .await
            .expect("a message within 20 s")
            .unwrap()
            .unwrap()
    }

    /// Hears the result of an operation.
    async fn result(&mut self, id: &str) -> Value {
        let message = self.hear().await;
        assert_eq!(
            (&message["id"], &message["type"]),
            (&json!(id), &json!("next")),
            "{message}"
        );
        message["payload"].clone()
    }

    /// What the socket is closed with, whatever is said before.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.heard().await {
                let frame = frame.expect("a code");
                assert!(frame.reason.len() <= 123);
                return (frame.code.into(), frame.reason.as_str().to_owned());
            }
        }
    }
}

/// An event stream that is read.
struct Reader {
    body: Body,
    text: String,
}

impl Reader {
    fn new(response: http::Response<Body>) -> Reader {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()[CONTENT_TYPE],
            "text/event-stream; charset=utf-8"
        );
        Reader {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// The next event or comment; `None` at the end.
    async fn piece(&mut self) -> Option<String> {
        loop {
            if let Some((piece, rest)) = self.text.split_once("\n\n") {
                let piece = piece.to_owned();
                self.text = rest.to_owned();
                return Some(piece);
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame());
            let frame = frame.await.expect("something within 20 s")?.unwrap();
            self.text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
    }

    /// Name and data of the next event.
    async fn event(&mut self) -> Option<(String, Value)> {
        loop {
            let piece = self.piece().await?;
            if piece == ":" {
                continue;
            }
            let (name, data) = piece.split_once("\ndata: ").unwrap();
            let name = name.strip_prefix("event: ").unwrap().to_owned();
            let data = if data.is_empty() {
                Value::Null
            } else {
                serde_json::from_str(data).unwrap()
            };
            return Some((name, data));
        }
    }

    async fn next(&mut self) -> Value {
        let (name, data) = self.event().await.expect("an event");
        assert_eq!(name, "next", "{data}");
        data
    }

    async fn complete(&mut self) {
        assert_eq!(
            self.event().await,
            Some(("complete".to_owned(), Value::Null))
        );
        assert_eq!(self.event().await, None);
    }
}

fn post(query: &str) -> Request<Body> {
    let request = Request::post("/graphql")
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "text/event-stream");
    request
        .body(json!({ "query": query }).to_string().into())
        .unwrap()
}

async fn json_of(response: http::Response<Body>) -> (StatusCode, Value) {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status,
        serde_json::from_slice(&body).unwrap_or_default(),
    )
}

fn reason(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["reason"]
        .as_str()
        .unwrap_or("none")
}

#[tokio::test]
async fn without_live_the_endpoint_is_as_it_was() {
    let (schema, checker) = schemas(Open::ALL, || {
        Schema::build(Query, Mutation, EmptySubscription)
    });
    let issuer = Issuer::start().await;
    let auth = platform::config::parse("test", &issuer.vars()).unwrap();
    let verifier = Arc::new(Verifier::new(&auth));
    let router = Endpoint::new(schema, checker, Limits::default(), verifier).router("/graphql");
    let answer = router.oneshot(post("{ echo(text: \"a\") }")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_ACCEPTABLE);
}
