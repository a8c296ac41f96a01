//! Just enough HTTP to ask an admin port.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// `GET path`; `None` while nobody answers.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> Option<(StatusCode, String)> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{addr}{path}").parse().ok()?;
    let answer = async {
        let response = client.get(uri).await.ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(Duration::from_secs(2), answer)
        .await
        .ok()?
}

/// Sum of the series of a metric that have all these labels, each written as `name="value"`; 0 if
/// there are none.
pub async fn metric(admin: SocketAddr, name: &str, labels: &[&str]) -> u64 {
    let answer = get(admin, "/metrics").await;
    let (_, text) = answer.expect("the admin port answers");
    let series = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (is, with) = series.split_once('{').unwrap_or((series, ""));
        let all = is == name && labels.iter().all(|label| with.contains(label));
        all.then(|| value.parse::<u64>().expect("a count"))
    });
    series.sum()
}
