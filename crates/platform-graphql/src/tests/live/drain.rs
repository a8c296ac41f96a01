use tokio_util::sync::CancellationToken;

use super::*;

const GRACE: Duration = Duration::from_millis(900);

#[tokio::test]
async fn a_drain_closes_all_so_that_they_come_back() {
    let site = Site::new().await;
    let stop = CancellationToken::new();
    let drained = tokio::spawn(site.live.clone().run(stop.clone(), GRACE));
    let mut sockets = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut client = site.open(json!({})).await;
        client.subscribe("1", "subscription { quiet }").await;
        client.result("1").await;
        sockets.push(client);
        let mut reader = Reader::new(site.send(post("subscription { quiet }")).await);
        reader.next().await;
        streams.push(reader);
    }
    sockets.push(site.socket().await);
    let put = Request::put("/graphql").body(Body::empty()).unwrap();
    assert_eq!(site.send(put).await.status(), StatusCode::CREATED);
    assert_eq!(site.live.open(), 12);

    stop.cancel();
    until("the drain to begin", async || {
        site.live.is_draining().then_some(())
    })
    .await;
    let protocol = (SEC_WEBSOCKET_PROTOCOL.as_str(), "graphql-transport-ws");
    let (status, headers, _) = site.dial(&[protocol]).await.err().unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key("retry-after"));
    for mut client in sockets {
        assert_eq!(client.closed().await.0, 1012);
    }
    for mut reader in streams {
        assert_eq!(reader.event().await, None);
    }
    drained.await.unwrap().unwrap();
    assert_eq!(site.live.open(), 0);
}

#[tokio::test]
async fn a_feed_that_stops_with_the_process_is_not_complete() {
    let site = Site::new().await;
    let mut client = site.open(json!({})).await;
    client.subscribe("1", "subscription { quiet }").await;
    client.result("1").await;
    let mut reader = Reader::new(site.send(post("subscription { quiet }")).await);
    reader.next().await;
    let stop = CancellationToken::new();
    stop.cancel();
    let hour = Duration::from_secs(3_600);
    let drained = tokio::spawn(site.live.clone().run(stop, hour));
    until("the drain to begin", async || {
        site.live.is_draining().then_some(())
    })
    .await;
    site.gate.open.send_replace(true);
    assert_eq!(client.result("1").await["data"]["quiet"], 1);
    assert_eq!(client.closed().await.0, 1012);
    assert_eq!(reader.next().await["data"]["quiet"], 1);
    assert_eq!(reader.event().await, None);
    drained.await.unwrap().unwrap();
}
