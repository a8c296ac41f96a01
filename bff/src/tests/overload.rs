//! A service that has too much to do, as clients of the BFF see it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::homeward::catalog::v1::CATALOG_SERVICE;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use platform::auth::Verifier;
use platform::config::{AuthArgs, GrpcArgs};
use platform::{Running, Runtime};
use platform_contract::{Served, Service};
use platform_testkit::{Vars, metric, start, until};
use serde_json::{Value, json};
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;

#[derive(clap::Args)]
struct Config {
    #[command(flatten)]
    grpc: GrpcArgs,
    #[command(flatten)]
    auth: AuthArgs,
}

/// A catalog that says nothing until it is opened, and then that it has nothing.
#[derive(Clone)]
struct Catalog(watch::Sender<bool>);

impl Served for Catalog {
    const SERVICE: &'static Service = &CATALOG_SERVICE;
}

impl tower::Service<Request<Body>> for Catalog {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut open = self.0.subscribe();
        Box::pin(async move {
            let _ = open.wait_for(|open| *open).await;
            Ok(Status::not_found("nothing").into_http())
        })
    }
}

async fn offers(bff: &Running) -> (StatusCode, Value) {
    let body = json!({ "query": "{ offers { edges { node { id } } } }" }).to_string();
    let request = Request::post(format!("http://{}/graphql", bff.http.unwrap()))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::<bytes::Bytes>::from(body))
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_service_with_too_much_to_do_costs_its_field_and_says_when_to_come_back() {
    let nowhere = "http://127.0.0.1:1".to_owned();
    let open = watch::Sender::new(false);
    let catalog = Catalog(open.clone());
    let catalog = start(
        "catalog",
        async |rt: &mut Runtime, config: Config| {
            let verifier = Arc::new(Verifier::new(&config.auth));
            rt.grpc(&config.grpc, verifier, catalog);
            Ok(())
        },
        Vars::from([
            ("ISSUER_URL".to_owned(), nowhere.clone()),
            ("CALLS_MAX".to_owned(), "1".to_owned()),
            ("CALL_QUEUE_MAX".to_owned(), "0".to_owned()),
        ]),
    )
    .await;
    let vars = Vars::from([
        ("ISSUER_URL".to_owned(), nowhere.clone()),
        ("GRPC_IDENTITY".to_owned(), nowhere.clone()),
        ("GRPC_RECOMMENDATIONS".to_owned(), nowhere),
        (
            "GRPC_CATALOG".to_owned(),
            format!("http://{}", catalog.grpc.unwrap()),
        ),
    ]);
    let bffs = Arc::new([
        start("bff", crate::start, vars.clone()).await,
        start("bff", crate::start, vars).await,
    ]);

    let first = tokio::spawn({
        let bffs = bffs.clone();
        async move { offers(&bffs[0]).await }
    });
    until("the only place to be taken", async || {
        let running = metric(catalog.admin, "admission_running", &["class=\"list\""]).await;
        (running == 1).then_some(())
    })
    .await;
    for bff in bffs.iter() {
        let (status, answer) = offers(bff).await;
        assert_eq!(
            (status, &answer["data"]["offers"]),
            (StatusCode::OK, &Value::Null)
        );
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "RESOURCE_EXHAUSTED");
        assert_eq!(extensions["reason"], "OVERLOADED");
        assert_eq!(extensions["retryable"], true);
        let after_ms = extensions["retryAfterMs"].as_u64().unwrap();
        assert!((500..=1500).contains(&after_ms), "{after_ms}");
    }
    let refused = metric(
        catalog.admin,
        "admission_refused_total",
        &["reason=\"full\""],
    );
    assert_eq!(refused.await, 2);
    // The BFF's own door is not where it was short.
    for bff in bffs.iter() {
        assert_eq!(metric(bff.admin, "admission_refused_total", &[]).await, 0);
        let most = metric(bff.admin, "admission_running_max", &[]).await;
        assert_eq!(most, 256);
    }
    open.send_replace(true);
    first.await.unwrap();
}
