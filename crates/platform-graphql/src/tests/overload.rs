//! More requests than can be done.

use std::collections::HashSet;

use http::header::RETRY_AFTER;
use platform::admission::{Admission, AdmissionLimits, Counts};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use super::*;

const RUNNING: usize = 8;
const WAITING: usize = 32;
const SENT: usize = 160;

fn list(number: usize) -> Request<Body> {
    // A hundred rows of one field: a list by what it costs.
    json_request(json!({ "query": format!("{{ gated(first: {}) }}", 100 + number) }).to_string())
}

#[tokio::test]
async fn of_160_requests_8_run_32_wait_and_120_are_refused() {
    let admission = Admission::new(AdmissionLimits {
        running: RUNNING,
        waiting: WAITING,
        age: Duration::from_secs(60),
    });
    let mut registry = Registry::default();
    let minute = Duration::from_secs(60);
    let site = Site::with(|endpoint| {
        let endpoint = endpoint.admission(admission.clone());
        endpoint.register(&mut registry);
        endpoint.deadline(minute, minute)
    });
    let send = |request: Request<Body>| {
        let router = site.router.clone();
        async move {
            let response = router.oneshot(request).await.unwrap();
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let answer: Value = serde_json::from_slice(&body).unwrap();
            (head.status, head.headers, answer)
        }
    };

    let mut hints = HashSet::new();
    let mut lists = JoinSet::new();
    for number in 0..SENT {
        lists.spawn(send(list(number)));
    }
    // Nobody leaves while the gate is shut, so exactly these end.
    for _ in 0..SENT - RUNNING - WAITING {
        let (status, headers, answer) = lists.join_next().await.unwrap().unwrap();
        assert_eq!(
            (status, reason_of(&answer)),
            (StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED")
        );
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "RESOURCE_EXHAUSTED");
        let after_ms = extensions["retryAfterMs"].as_u64().unwrap();
        assert!((500..=1500).contains(&after_ms), "{after_ms}");
        assert_eq!(
            headers[RETRY_AFTER].to_str().unwrap(),
            after_ms.div_ceil(1000).to_string()
        );
        hints.insert(after_ms);
        assert!(answer.get("data").is_none() && answer.to_string().len() < 1_000);
    }
    // At random: those who are refused together do not come back together.
    assert!(hints.len() > 60, "{hints:?}");
    site.gate.until_inside(RUNNING).await;
    let counts = |waiting, refused| Counts {
        running: RUNNING,
        waiting,
        refused,
    };
    let refused = (SENT - RUNNING - WAITING) as u64;
    assert_eq!(admission.counts(), counts(WAITING, refused));
    // What was refused or waits has not reached a resolver, and so called nobody.
    assert_eq!(site.gate.entered.load(Ordering::SeqCst), RUNNING);

    // Probes pass at once, a mutation takes the place of the last list.
    let (status, _, answer) = send(json_request(r#"{"query":"{ __typename }"}"#)).await;
    assert_eq!(
        (status, &answer),
        (
            StatusCode::OK,
            &json!({ "data": { "__typename": "Query" } })
        )
    );
    let health = Request::get("/healthz").body(Body::empty()).unwrap();
    let health = crate::health().oneshot(health).await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    let mutation = tokio::spawn(send(json_request(r#"{"query":"mutation { gatedBump }"}"#)));
    let (status, ..) = lists.join_next().await.unwrap().unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(admission.counts(), counts(WAITING, refused + 1));

    site.gate.open.send_replace(true);
    let (status, _, answer) = mutation.await.unwrap();
    assert_eq!(
        (status, &answer),
        (StatusCode::OK, &json!({ "data": { "gatedBump": 1 } }))
    );
    for _ in 0..RUNNING + WAITING - 1 {
        let (status, _, answer) = lists.join_next().await.unwrap().unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    assert!(lists.join_next().await.is_none());
    assert_eq!(
        admission.counts(),
        Counts {
            running: 0,
            waiting: 0,
            refused: refused + 1
        }
    );
    let mut metrics = String::new();
    encode(&mut metrics, &registry).unwrap();
    for line in [
        r#"admission_refused_total{class="list",reason="full"} 120"#,
        r#"admission_refused_total{class="list",reason="displaced"} 1"#,
        r#"admission_wait_seconds_count{class="list"} 31"#,
        r#"admission_wait_seconds_count{class="mutation"} 1"#,
        r#"admission_waiting{class="list"} 0"#,
        "admission_waiting_max 32",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}
