//! Limits as clients meet them: over HTTP, at two replicas, with no service behind.

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use platform::Running;
use platform_testkit::{RedisProcess, Vars, metric, start, until};
use serde_json::{Value, json};

use crate::targets::{names, variable};

const WEB: &str = "0123456789abcdef-web";
const LATE: &str = "0123456789abcdef-late";
const PROBE: &str = "0123456789abcdef-probe";

async fn replica(vars: &Vars) -> Running {
    let nowhere = "http://127.0.0.1:1".to_owned();
    let mut all = Vars::from([("ISSUER_URL".to_owned(), nowhere.clone())]);
    all.extend(names().map(|service| (variable(service), nowhere.clone())));
    all.extend(vars.clone());
    start("bff", crate::start, all).await
}

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    body: Value,
}

async fn ask(bff: &Running, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::post(format!("http://{}/graphql", bff.http.unwrap()))
        .header(CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = json!({ "query": "{ __schema { queryType { name } } }" }).to_string();
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let answer = client.request(request.body(body.into()).unwrap()).await;
    let (head, body) = answer.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let after = head.headers.get(RETRY_AFTER);
    Answer {
        status: head.status,
        retry_after: after.map(|value| value.to_str().unwrap().to_owned()),
        body: serde_json::from_slice(&body).unwrap(),
    }
}

/// How many of so many requests are let in.
async fn let_in(bff: &Running, headers: &[(&str, &str)], count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        passed += usize::from(ask(bff, headers).await.status == StatusCode::OK);
    }
    passed
}

/// Waits until a request is judged without a command that fails.
async fn until_redis_is_asked(bff: &Running) {
    let failed = async || metric(bff.admin, "redis_commands_failed_total", &[]).await;
    until("redis to be asked", async || {
        let before = failed().await;
        assert_eq!(
            ask(bff, &[("x-api-key", PROBE)]).await.status,
            StatusCode::OK
        );
        (failed().await == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_replicas_share_a_quota_and_without_redis_each_still_has_it() {
    let redis = RedisProcess::start();
    let keys = format!("web {WEB} 7/1h,late {LATE} 3/1h,probe {PROBE} 1000000/1h");
    let mut vars = Vars::from([("API_KEYS".to_owned(), keys)]);
    vars.extend(redis.vars());
    let bffs = [replica(&vars).await, replica(&vars).await];
    for bff in &bffs {
        until_redis_is_asked(bff).await;
    }

    let web = [("x-api-key", WEB)];
    let mut passed = 0;
    for _ in 0..10 {
        passed += let_in(&bffs[0], &web, 1).await + let_in(&bffs[1], &web, 1).await;
    }
    assert_eq!(passed, 7);
    let refused = ask(&bffs[0], &web).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = refused.retry_after.unwrap().parse().unwrap();
    let extensions = &refused.body["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "RESOURCE_EXHAUSTED");
    assert_eq!(extensions["reason"], "RATE_EXCEEDED");
    assert_eq!(extensions["retryable"], true);
    assert_eq!(
        extensions["retryAfterMs"].as_u64().unwrap().div_ceil(1000),
        seconds
    );

    redis.kill();
    for bff in &bffs {
        assert_eq!(let_in(bff, &[("x-api-key", LATE)], 20).await, 3);
    }
    let unknown = ask(&bffs[0], &[("x-api-key", "0123456789abcdef")]).await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_address_is_that_of_the_socket_whatever_a_client_says() {
    let vars = Vars::from([("RATE_ADDRESS".to_owned(), "5/1h".to_owned())]);
    let bff = replica(&vars).await;
    let mut passed = 0;
    for n in 0..10 {
        let forged = format!("9.9.9.{n}");
        let headers = [
            ("x-forwarded-for", forged.as_str()),
            ("forwarded", "for=9.9.9.9"),
        ];
        passed += let_in(&bff, &headers, 1).await;
    }
    assert_eq!(passed, 5);
}
