use super::*;

const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "graphql-transport-ws");

#[tokio::test]
async fn more_operations_than_a_socket_may_have_are_refused() {
    let site = Site::with(|args| args.live_operations_max = 2).await;
    let mut client = site.open(json!({})).await;
    for id in ["1", "2"] {
        client.subscribe(id, "subscription { quiet }").await;
        client.result(id).await;
    }
    client.subscribe("3", "mutation { bump }").await;
    let message = client.hear().await;
    assert_eq!(message["type"], "error");
    assert_eq!(
        message["payload"][0]["extensions"]["reason"],
        "STREAMS_EXCEEDED"
    );
    assert_eq!(site.counts.bumps.load(Ordering::SeqCst), 0);
    client.say(json!({ "id": "1", "type": "complete" })).await;
    client.subscribe("3", "mutation { bump }").await;
    client.result("3").await;
}

#[tokio::test]
async fn more_than_fit_are_told_when_to_come_back() {
    let site = Site::with(|args| args.live_max = 1).await;
    let held = site.open(json!({})).await;
    let (status, headers, answer) = site.dial(&[PROTOCOL]).await.err().unwrap();
    assert_eq!(
        (status, reason(&answer)),
        (StatusCode::SERVICE_UNAVAILABLE, "STREAMS_EXCEEDED")
    );
    assert!(headers.contains_key("retry-after"));
    let (status, _) = json_of(site.send(post("subscription { quiet }")).await).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    drop(held);
    site.until_open(0).await;
    site.open(json!({})).await;
}

#[tokio::test]
async fn one_address_has_a_share() {
    let site = Site::with(|args| args.live_address_max = 2).await;
    let _held = (site.open(json!({})).await, site.open(json!({})).await);
    let (status, headers, answer) = site.dial(&[PROTOCOL]).await.err().unwrap();
    assert_eq!(
        (status, reason(&answer)),
        (StatusCode::TOO_MANY_REQUESTS, "STREAMS_EXCEEDED")
    );
    assert!(headers.contains_key("retry-after"));
    // One that comes without an address, as in this process.
    Reader::new(site.send(post("subscription { quiet }")).await);
}

#[tokio::test]
async fn one_user_has_a_share_whichever_way_the_token_comes() {
    let site = Site::with(|args| args.live_user_max = 1).await;
    let user = site.issuer.user("user-mover");
    let bearer = format!("Bearer {}", user.sign());
    let held = site.open(json!({ "authorization": bearer })).await;

    let mut second = site.socket().await;
    let payload = json!({ "Authorization": bearer });
    second
        .say(json!({ "type": "connection_init", "payload": payload }))
        .await;
    assert_eq!(second.closed().await, (1013, "STREAMS_EXCEEDED".to_owned()));
    let (status, _, _) = site
        .dial(&[PROTOCOL, ("authorization", &bearer)])
        .await
        .err()
        .unwrap();
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let mut request = post("subscription { quiet }");
    request
        .headers_mut()
        .insert("authorization", bearer.parse().unwrap());
    assert_eq!(
        site.send(request).await.status(),
        StatusCode::TOO_MANY_REQUESTS
    );

    let another = format!("Bearer {}", site.issuer.user("user-mover").sign());
    site.open(json!({ "authorization": another })).await;
    drop(held);
    until("the place to be free", async || {
        let mut client = site.socket().await;
        client
            .say(json!({ "type": "connection_init", "payload": payload }))
            .await;
        client.heard().await.is_text().then_some(())
    })
    .await;
}

#[tokio::test]
async fn operations_of_a_socket_are_charged_like_requests() {
    use crate::rate::{Limiter, RateArgs};
    let args: RateArgs = platform::config::parse(
        "test",
        &[
            ("RATE_ADDRESS".to_owned(), "3/1h".to_owned()),
            (
                "API_KEYS".to_owned(),
                "web 0123456789abcdef 100/1h".to_owned(),
            ),
            ("API_KEY_REQUIRED".to_owned(), "true".to_owned()),
        ]
        .into(),
    )
    .unwrap();
    let limiter = Arc::new(Limiter::new(args, None).unwrap());
    let site = Site::serving(|_| {}, |endpoint, _| endpoint.limiter(limiter)).await;
    // The key comes with the first message.
    for (payload, word) in [
        (json!({}), "API_KEY_INVALID"),
        (
            json!({ "x-api-key": "another key that is long" }),
            "API_KEY_INVALID",
        ),
    ] {
        let mut client = site.socket().await;
        client
            .say(json!({ "type": "connection_init", "payload": payload }))
            .await;
        assert_eq!(client.closed().await, (4403, word.to_owned()));
    }
    let mut client = site.open(json!({ "x-api-key": "0123456789abcdef" })).await;
    // Three handshakes were all that this address had.
    client.subscribe("1", "mutation { bump }").await;
    let message = client.hear().await;
    let error = &message["payload"][0]["extensions"];
    assert_eq!(
        (&message["type"], &error["reason"]),
        (&json!("error"), &json!("RATE_EXCEEDED"))
    );
    assert!(error["retryAfterMs"].as_u64().unwrap() > 0);
    assert_eq!(
        site.dial(&[PROTOCOL]).await.err().unwrap().0,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(site.counts.bumps.load(Ordering::SeqCst), 0);
}
