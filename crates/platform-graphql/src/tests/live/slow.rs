use super::*;

/// What is in the hands of tasks and the small buffers of this test's sockets.
const PULLED_MAX: usize = 24;

#[tokio::test]
async fn a_socket_that_does_not_read_costs_little_and_nobody_else() {
    let site = Site::with(|args| args.live_write_time = Duration::from_secs(100)).await;
    let mut slow = site.open(json!({})).await;
    for id in ["1", "2", "3"] {
        slow.subscribe(id, "subscription { flood }").await;
    }
    site.until_operations(3).await;
    let mut other = site.open(json!({})).await;
    for n in 0..200 {
        let text = n.to_string();
        other
            .subscribe("1", &format!("{{ echo(text: \"{text}\") }}"))
            .await;
        assert_eq!(other.result("1").await["data"]["echo"], text);
        assert_eq!(other.hear().await["type"], "complete");
    }
    assert_eq!(site.live.open(), 2, "the slow one is still there");
    let pulled = site.counts.pulled.load(Ordering::SeqCst);
    assert!((1..=PULLED_MAX).contains(&pulled), "{pulled}");
    drop(slow);
    site.until_operations(0).await;
}

#[tokio::test]
async fn a_socket_that_reads_too_late_learns_why_it_ended() {
    let site = Site::with(|args| args.live_write_time = Duration::from_millis(300)).await;
    let mut slow = site.open(json!({})).await;
    slow.subscribe("1", "subscription { flood }").await;
    // The operation is dropped before the close frame is tried.
    site.until_operations(1).await;
    site.until_operations(0).await;
    assert_eq!(slow.closed().await.0, 1013);
}

#[tokio::test]
async fn a_stream_that_is_not_read_costs_little() {
    let site = Site::with(|args| args.live_write_time = Duration::from_millis(300)).await;
    let mut reader = Reader::new(site.send(post("subscription { flood }")).await);
    site.until_open(0).await;
    let pulled = site.counts.pulled.load(Ordering::SeqCst);
    assert!((1..=4).contains(&pulled), "{pulled}");
    // It ends without `complete`, so its client comes back.
    while let Some((name, _)) = reader.event().await {
        assert_eq!(name, "next");
    }
}
