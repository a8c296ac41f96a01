//! A service as a process: this binary starts itself again as one, and sends it signals.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    pin::Pin,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use platform::{
    App, Runtime,
    auth::Verifier,
    config::{self, AuthArgs, GrpcArgs, HttpArgs},
    error::Details,
};
use platform_contract::{Access, Class, Idempotency, Method, Served, Service};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request, Response, Status, body::Body, transport::Channel};
use tonic_prost::ProstCodec;

const SLEEP: &str = "/test.v1.SlowService/Sleep";
const WAIT_MAX: Duration = Duration::from_secs(20);

// The service: one method that sleeps for as long as it is told, over gRPC and HTTP.

#[derive(clap::Args)]
struct Config {
    #[command(flatten)]
    grpc: GrpcArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    auth: AuthArgs,
    /// A task that fails after this time.
    #[arg(env = "TASK_FAILS_AFTER", value_parser = config::duration)]
    task_fails_after: Option<Duration>,
}

#[derive(Clone)]
struct Slow;

static SERVICE: Service = Service {
    name: "slow",
    full_name: "test.v1.SlowService",
    domain: "slow.test",
    roles: &[],
    methods: &[Method {
        name: "Sleep",
        path: SLEEP,
        input: "google.protobuf.Duration",
        output: "google.protobuf.Duration",
        access: Access::Public,
        idempotency: Idempotency::Natural,
        class: Class::Mutation,
    }],
    descriptors: &[],
};

impl Served for Slow {
    const SERVICE: &'static Service = &SERVICE;
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tonic::server::UnaryService<prost_types::Duration> for Slow {
    type Response = prost_types::Duration;
    type Future = Answer<Result<Response<prost_types::Duration>, Status>>;

    fn call(&mut self, request: Request<prost_types::Duration>) -> Self::Future {
        Box::pin(async move {
            tracing::info!("call began");
            let time = *request.get_ref();
            tokio::time::sleep(Duration::try_from(time).unwrap()).await;
            Ok(Response::new(time))
        })
    }
}

impl tower::Service<http::Request<Body>> for Slow {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let codec = ProstCodec::<prost_types::Duration, prost_types::Duration>::default();
        Box::pin(async move { Ok(tonic::server::Grpc::new(codec).unary(Slow, request).await) })
    }
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    rt.grpc(&config.grpc, Arc::new(Verifier::new(&config.auth)), Slow);
    let sleep = axum::routing::get(async || {
        tracing::info!("call began");
        tokio::time::sleep(Duration::from_secs(2)).await;
        "slept"
    });
    rt.http(&config.http, axum::Router::new().route("/sleep", sleep));
    if let Some(time) = config.task_fails_after {
        rt.spawn("frail", async move |_stop| {
            tokio::time::sleep(time).await;
            anyhow::bail!("out of luck")
        });
    }
    Ok(())
}

/// Not a test: what the tests start.
#[test]
#[ignore = "runs as a service"]
fn service() {
    let variables = config::process_variables();
    let code = App::new("slow").run(["slow".into()], &variables, start);
    std::process::exit(code.into());
}

// The process around it.

struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    grpc: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
}

fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "service",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .envs([
            ("LISTEN_GRPC", "127.0.0.1:0"),
            ("LISTEN_HTTP", "127.0.0.1:0"),
            ("LISTEN_ADMIN", "127.0.0.1:0"),
            ("ISSUER_URL", "http://127.0.0.1:9"),
            ("DEADLINE_MAX", "120s"),
            ("DEADLINE_DEFAULT", "60s"),
        ])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Process {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut child = command(variables).stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self {
            child,
            lines,
            grpc: any,
            http: any,
            admin: any,
        };
        let serves = process.wait_for("slow serves");
        let addr = |name: &str| serves["fields"][name].as_str().unwrap().parse().unwrap();
        (process.grpc, process.http, process.admin) = (addr("grpc"), addr("http"), addr("admin"));
        process
    }

    /// The next log line with this message.
    fn wait_for(&self, message: &str) -> Value {
        let until = Instant::now() + WAIT_MAX;
        loop {
            let line = self
                .lines
                .recv_timeout(until - Instant::now())
                .expect(message);
            // The harness writes the name of its test in front of the first line.
            let json = line.find('{').map_or("", |start| &line[start..]);
            let line: Value = serde_json::from_str(json).unwrap_or_default();
            if line["message"]
                .as_str()
                .is_some_and(|said| said.contains(message))
            {
                return line;
            }
        }
    }

    fn terminate(&self) -> Instant {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        Instant::now()
    }

    async fn exit(&mut self) -> ExitStatus {
        let until = Instant::now() + WAIT_MAX;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the process does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.grpc)).unwrap();
        endpoint.connect().await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn sleep(channel: Channel, seconds: i64) -> Result<(), Status> {
    let codec = ProstCodec::<prost_types::Duration, prost_types::Duration>::default();
    let mut client = tonic::client::Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let time = Request::new(prost_types::Duration { seconds, nanos: 0 });
    client
        .unary(time, http::uri::PathAndQuery::from_static(SLEEP), codec)
        .await
        .map(drop)
}

async fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Opens an HTTP/2 connection by hand and reads frames until GOAWAY (type 7).
async fn goaway(addr: SocketAddr) {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    loop {
        let mut head = [0; 9];
        stream
            .read_exact(&mut head)
            .await
            .expect("GOAWAY before the end");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 7 {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_in_flight_are_answered_after_sigterm_and_new_ones_are_refused() {
    let mut process = Process::start(&[("SHUTDOWN_GRACE", "5s")]);
    assert!(get(process.admin, "/ready").await.contains("200 OK"));
    let channel = process.channel().await;
    let calls: Vec<_> = (0..100)
        .map(|_| tokio::spawn(sleep(channel.clone(), 2)))
        .collect();
    let by_http = tokio::spawn(get(process.http, "/sleep"));
    let goaway = tokio::spawn(goaway(process.grpc));
    for _ in 0..101 {
        process.wait_for("call began");
    }
    let idle = process.channel().await;

    let signalled = process.terminate();
    process.wait_for("finishing what is in flight");
    goaway.await.unwrap();
    let ready = get(process.admin, "/ready").await;
    assert!(
        ready.contains("503") && ready.contains("draining"),
        "{ready}"
    );
    assert!(tokio::net::TcpStream::connect(process.grpc).await.is_err());
    assert!(tokio::net::TcpStream::connect(process.http).await.is_err());
    assert_eq!(sleep(idle, 0).await.unwrap_err().code(), Code::Unavailable);

    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(by_http.await.unwrap().ends_with("slept"));
    assert_eq!(process.exit().await.code(), Some(0));
    // It does not wait for the end of the grace period when there is nothing left to do.
    assert!(
        signalled.elapsed() < Duration::from_secs(4),
        "{:?}",
        signalled.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_longer_than_the_grace_period_ends_unavailable() {
    let mut process = Process::start(&[("SHUTDOWN_GRACE", "1s")]);
    let call = tokio::spawn(sleep(process.channel().await, 60));
    process.wait_for("call began");
    let signalled = process.terminate();
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let reason = Details::of(&status).reason;
    assert_eq!(
        reason.as_deref(),
        Some("DEPENDENCY_UNAVAILABLE"),
        "{status:?}"
    );
    assert_eq!(process.exit().await.code(), Some(0));
    assert!(
        signalled.elapsed() < Duration::from_secs(2),
        "{:?}",
        signalled.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_exits_at_once() {
    let mut process = Process::start(&[("SHUTDOWN_GRACE", "60s")]);
    let call = tokio::spawn(sleep(process.channel().await, 60));
    process.wait_for("call began");
    process.terminate();
    process.wait_for("finishing what is in flight");
    let signalled = process.terminate();
    assert_eq!(process.exit().await.code(), Some(130));
    assert!(
        signalled.elapsed() < Duration::from_secs(1),
        "{:?}",
        signalled.elapsed()
    );
    call.await.unwrap().unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_ends_the_process() {
    let mut process = Process::start(&[("TASK_FAILS_AFTER", "50ms")]);
    process.wait_for("task frail failed: out of luck");
    assert_eq!(process.exit().await.code(), Some(1));
}

#[test]
fn a_configuration_with_five_mistakes_ends_with_all_five() {
    let bad = BTreeMap::from([
        ("LISTEN_GRPC", "nowhere"),
        ("ISSUER_URL", "ftp://x"),
        ("LOG_FORMAT", "xml"),
        ("SHUTDOWN_GRACE", "soon"),
        ("CALLS_MAX", "-1"),
    ]);
    let mut process = command(&Vec::from_iter(bad.clone())).spawn().unwrap();
    let mut said = String::new();
    process
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(2));
    assert!(
        said.contains("slow: 5 mistakes in the configuration"),
        "{said}"
    );
    for variable in bad.keys() {
        assert!(
            said.contains(&format!("\n  {variable}: ")),
            "{variable} in {said}"
        );
    }
}
