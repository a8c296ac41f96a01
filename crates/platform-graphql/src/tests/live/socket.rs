use tokio::io::AsyncWriteExt;

use super::*;

fn text(text: &str) -> Message {
    Message::text(text)
}

#[tokio::test]
async fn queries_mutations_and_subscriptions_run_on_one_socket() {
    let site = Site::new().await;
    let mut client = site.open(json!(null)).await;
    for (query, data) in [
        ("{ echo(text: \"é\\n\") }", json!({ "echo": "é\n" })),
        ("mutation { bump }", json!({ "bump": 1 })),
    ] {
        client.subscribe("1", query).await;
        assert_eq!(client.result("1").await, json!({ "data": data }));
        assert_eq!(
            client.hear().await,
            json!({ "id": "1", "type": "complete" })
        );
    }
    client
        .subscribe("1", "subscription { n: numbers(to: 2) }")
        .await;
    for n in 0..2 {
        assert_eq!(client.result("1").await, json!({ "data": { "n": n } }));
    }
    assert_eq!(
        client.hear().await,
        json!({ "id": "1", "type": "complete" })
    );
    assert_eq!(site.operations(), 0);
}

#[tokio::test]
async fn what_is_not_executed_is_an_error_and_the_socket_lives() {
    let site = Site::new().await;
    let mut client = site.open(json!({})).await;
    for (query, word) in [
        ("{ echo", "GRAPHQL_SYNTAX_INVALID"),
        ("subscription { nothing }", "GRAPHQL_DOCUMENT_INVALID"),
        ("subscription { panics }", "INTERNAL_FAULT"),
    ] {
        client.subscribe("a", query).await;
        let message = client.hear().await;
        assert_eq!(
            (&message["id"], &message["type"]),
            (&json!("a"), &json!("error")),
            "{message}"
        );
        let error = &message["payload"][0];
        assert_eq!(error["extensions"]["reason"], word, "{query}");
    }
    client.subscribe("a", "subscription { refused }").await;
    let result = client.result("a").await;
    assert_eq!(reason(&result), "TOKEN_INVALID", "{result}");
    assert_eq!(client.hear().await["type"], "complete");
    client.subscribe("a", "{ echo(text: \"on\") }").await;
    assert_eq!(client.result("a").await["data"]["echo"], "on");
}

#[tokio::test]
async fn a_message_that_is_none_is_4400() {
    let site = Site::new().await;
    for bad in [
        text(""),
        text("{"),
        text("[]"),
        text("null"),
        text("{}"),
        text(r#"{"type":"start"}"#),
        text(r#"{"type":7}"#),
        text(r#"{"type":"next","id":"1"}"#),
        text(r#"{"type":"ping","payload":1}"#),
        text(r#"{"type":"connection_init","payload":[]}"#),
        text(r#"{"type":"complete"}"#),
        text(r#"{"type":"complete","id":""}"#),
        text(r#"{"type":"complete","id":1}"#),
        text(r#"{"type":"subscribe","payload":{"query":"{ a }"}}"#),
        text(r#"{"type":"subscribe","id":"","payload":{"query":"{ a }"}}"#),
        text(r#"{"type":"subscribe","id":"1"}"#),
        text(r#"{"type":"subscribe","id":"1","payload":null}"#),
        text(r#"{"type":"subscribe","id":"1","payload":{}}"#),
        text(r#"{"type":"subscribe","id":"1","payload":{"query":7}}"#),
        text(r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":[]}}"#),
        text(&format!(
            r#"{{"type":"subscribe","id":"{}","payload":{{"query":"{{a}}"}}}}"#,
            "i".repeat(256)
        )),
        text(&format!(r#"{{"type":"{}"}}"#, "é".repeat(500))),
        Message::binary(&b"{\"type\":\"ping\"}"[..]),
    ] {
        let mut client = site.open(json!({})).await;
        client.say_raw(bad.clone()).await;
        assert_eq!(client.closed().await.0, 4400, "{bad}");
    }
    site.until_open(0).await;
}

#[tokio::test]
async fn every_other_violation_has_its_code() {
    let site = Site::with(|args| args.live_init_time = Duration::from_millis(300)).await;
    let mut client = site.socket().await;
    client.subscribe("1", "mutation { bump }").await;
    assert_eq!(client.closed().await.0, 4401);

    let mut client = site.open(json!({})).await;
    client.say(json!({ "type": "connection_init" })).await;
    assert_eq!(client.closed().await.0, 4429);

    let mut client = site.open(json!({})).await;
    let id = "ü".repeat(100);
    client.subscribe(&id, "subscription { quiet }").await;
    client.result(&id).await;
    client.subscribe(&id, "mutation { bump }").await;
    let (code, reason) = client.closed().await;
    assert_eq!(code, 4409);
    assert!(reason.starts_with("subscriber for üüü"), "{reason}");

    let mut client = site.socket().await;
    assert_eq!(client.closed().await.0, 4408);

    for protocol in [None, Some("graphql-ws"), Some("x, y")] {
        let headers = protocol.map(|name| (SEC_WEBSOCKET_PROTOCOL.as_str(), name));
        let mut client = site.dial(headers.as_slice()).await.unwrap();
        assert_eq!(client.closed().await.0, 4406, "{protocol:?}");
    }
    assert_eq!(site.counts.bumps.load(Ordering::SeqCst), 0);
    site.until_open(0).await;
    site.until_operations(0).await;
}

#[tokio::test]
async fn what_is_too_large_or_no_text_has_its_code() {
    let site = Site::with(|args| args.live_message_bytes_max = 1_000).await;
    for bytes in [1_001, 3_000_000] {
        let mut client = site.open(json!({})).await;
        let large = json!({ "type": "ping", "payload": { "x": "x".repeat(bytes) } });
        // It may be closed before all of it is out.
        let _ = tokio::time::timeout(
            Duration::from_millis(200),
            client.socket.send(Message::text(large.to_string())),
        )
        .await;
        assert_eq!(client.closed().await.0, 1009, "{bytes}");
    }
    let mut client = site.open(json!({})).await;
    let frame = [0x81, 0x82, 0, 0, 0, 0, 0xff, 0xff];
    client.socket.get_mut().write_all(&frame).await.unwrap();
    assert_eq!(client.closed().await.0, 1007);
}

#[tokio::test]
async fn an_operation_that_the_client_ends_is_dropped_and_its_id_free() {
    let site = Site::new().await;
    let mut client = site.open(json!({})).await;
    for _ in 0..3 {
        client.subscribe("1", "subscription { quiet }").await;
        client.result("1").await;
        site.gate.until_inside(1).await;
        client.say(json!({ "id": "1", "type": "complete" })).await;
        site.gate.until_inside(0).await;
    }
    client
        .say(json!({ "id": "unknown", "type": "complete" }))
        .await;
    client.subscribe("1", "{ gated }").await;
    site.gate.until_inside(1).await;
    client.say(json!({ "id": "1", "type": "complete" })).await;
    site.gate.until_inside(0).await;
    client.subscribe("1", "{ echo(text: \"on\") }").await;
    assert_eq!(client.result("1").await["data"]["echo"], "on");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_operations_along() {
    let site = Site::new().await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = site.open(json!({})).await;
        for id in ["a", "b", "c"] {
            client.subscribe(id, "subscription { quiet }").await;
            client.result(id).await;
        }
        clients.push(client);
    }
    site.gate.until_inside(6).await;
    assert_eq!(site.operations(), 6);
    let mut polite = clients.pop().unwrap();
    polite.socket.close(None).await.unwrap();
    site.gate.until_inside(3).await;
    drop(clients);
    site.gate.until_inside(0).await;
    site.until_operations(0).await;
    site.until_open(0).await;
}

#[tokio::test]
async fn pings_are_answered_before_and_after_the_ack() {
    let site = Site::new().await;
    let mut client = site.socket().await;
    client.say(json!({ "type": "ping" })).await;
    assert_eq!(client.hear().await, json!({ "type": "pong" }));
    client.say(json!({ "type": "pong", "payload": {} })).await;
    client
        .say(json!({ "type": "connection_init", "payload": null }))
        .await;
    assert_eq!(client.hear().await["type"], "connection_ack");
    let payload = json!({ "a": [1, null] });
    client
        .say(json!({ "type": "ping", "payload": payload }))
        .await;
    assert_eq!(
        client.hear().await,
        json!({ "type": "pong", "payload": payload })
    );
}

#[tokio::test]
async fn who_is_silent_is_dropped_and_who_answers_stays() {
    let site = Site::with(|args| args.live_ping_interval = Duration::from_millis(200)).await;
    let silent = site.open(json!({})).await;
    let mut alive = site.open(json!({})).await;
    let mut pings = 0;
    // Reading answers them.
    while pings < 8 {
        pings += usize::from(alive.heard().await.is_ping());
    }
    site.until_open(1).await;
    alive.subscribe("1", "{ echo(text: \"on\") }").await;
    assert_eq!(alive.result("1").await["data"]["echo"], "on");
    drop(silent);
}

#[tokio::test]
async fn a_socket_without_an_operation_is_closed_and_one_with_stays() {
    let site = Site::with(|args| args.live_idle_time = Duration::from_millis(200)).await;
    let mut busy = site.open(json!({})).await;
    busy.subscribe("1", "subscription { quiet }").await;
    busy.result("1").await;
    let mut idle = site.open(json!({})).await;
    assert_eq!(idle.closed().await.0, 1000);
    let mut idle = site.open(json!({})).await;
    assert_eq!(idle.closed().await.0, 1000);
    busy.say(json!({ "type": "ping" })).await;
    assert_eq!(busy.hear().await["type"], "pong");
    busy.say(json!({ "id": "1", "type": "complete" })).await;
    assert_eq!(busy.closed().await.0, 1000);
}

#[tokio::test]
async fn each_event_has_its_own_time_and_trace() {
    let site = Site::new().await;
    let mut client = site.open(json!({})).await;
    client
        .subscribe(
            "1",
            "subscription { ticks(everyMs: 250) { remainingMs trace } }",
        )
        .await;
    let mut traces = std::collections::HashSet::new();
    for _ in 0..4 {
        let tick = client.result("1").await["data"]["ticks"].clone();
        let remaining = tick["remainingMs"].as_u64().expect("a deadline");
        assert!((200..=400).contains(&remaining), "{tick}");
        traces.insert(tick["trace"].to_string());
    }
    assert_eq!(traces.len(), 4);
}
