use std::time::Duration;

use platform::trace::{self, TraceContext};
use platform_testkit::{collector, metric, until};

use super::{raise, service, test_db};

#[tokio::test]
async fn each_statement_is_a_span_without_its_values() {
    let collector = collector();
    let db = test_db().await;
    let service = service(db.vars()).await;
    let root = TraceContext::new();
    let work = async {
        let mut tx = service.db.begin().await.unwrap();
        raise(&mut tx, "apples", 1).await.unwrap();
        tx.commit().await.unwrap();
    };
    trace::scope(
        root,
        platform::deadline::scope(Duration::from_secs(60), work),
    )
    .await;
    let spans = collector.trace(root, &[("COMMIT", 1)]).await;
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["BEGIN", "INSERT counters", "COMMIT"]);
    for span in &spans {
        assert_eq!((span.kind, span.failed), ("Client", false));
        assert_eq!(span.parent_id, root.span_id());
        assert_eq!(span.attributes["db.system.name"], "postgresql");
        let operation = span.name.split(' ').next().unwrap();
        assert_eq!(span.attributes["db.operation.name"], operation);
        assert!(!format!("{span:?}").contains("apples"), "{span:?}");
    }
    assert_eq!(spans[1].attributes["db.collection.name"], "counters");
}

#[tokio::test]
async fn a_transaction_that_does_not_begin_is_a_failed_span() {
    let collector = collector();
    let db = test_db().await;
    let service = service(db.vars()).await;
    service.db.pool().close().await;
    let root = TraceContext::new();
    trace::scope(root, service.db.begin()).await.unwrap_err();
    let spans = collector.trace(root, &[("BEGIN", 1)]).await;
    assert!(spans[0].failed);
    assert_eq!(spans[0].attributes["error.type"], "unavailable");
}

#[tokio::test]
async fn the_connections_of_the_pool_and_those_who_wait_are_measured() {
    let db = test_db().await;
    let mut vars = db.vars();
    vars.insert("DATABASE_POOL_MAX".to_owned(), "2".to_owned());
    let service = service(vars).await;
    let admin = service.running.admin;
    let shows = async |name: &str, labels: &[&str], value: u64| {
        until(&format!("{name} {labels:?} {value}"), async || {
            (metric(admin, name, labels).await == value).then_some(())
        })
        .await;
    };
    let (count, pool) = ("db_client_connection_count", r#"pool="writer""#);
    let (used, idle) = (r#"state="used""#, r#"state="idle""#);
    let one = service.db.begin().await.unwrap();
    let two = service.db.begin().await.unwrap();
    shows("db_client_connection_max", &[pool], 2).await;
    shows(count, &[pool, used], 2).await;
    shows(count, &[pool, idle], 0).await;
    let waiting = tokio::spawn({
        let db = service.db.clone();
        async move { db.begin().await.map(drop) }
    });
    let pending = "db_client_connection_pending_requests";
    shows(pending, &[pool], 1).await;
    drop((one, two));
    waiting.await.unwrap().unwrap();
    shows(pending, &[pool], 0).await;
    shows(count, &[pool, used], 0).await;
    shows(count, &[pool, idle], 2).await;
    shows("db_client_connection_wait_time_seconds_count", &[pool], 3).await;
}
