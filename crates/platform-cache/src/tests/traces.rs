//! What is told of commands.

use platform::trace::{self, TraceContext};
use platform_testkit::{NO_REDIS, collector};

use super::*;

#[tokio::test]
async fn each_command_is_a_span_without_its_keys() {
    let collector = collector();
    let table = Table::default();
    table.set(1, 1, "one");
    let [replica, _] = replicas(&table).await;
    let root = TraceContext::new();
    assert_eq!(trace::scope(root, replica.get(1)).await, some("one"));
    // Asked, marked, loaded, stored.
    let spans = collector.trace(root, &[("MGET", 1), ("EVALSHA", 2)]).await;
    assert_eq!(spans.len(), 3, "{spans:#?}");
    for span in &spans {
        assert_eq!((span.kind, span.failed), ("Client", false));
        assert_eq!(span.parent_id, root.span_id());
        assert_eq!(span.attributes["db.system.name"], "redis");
        assert_eq!(span.attributes["db.operation.name"], span.name);
        assert_eq!(span.attributes.len(), 2);
    }
}

#[tokio::test]
async fn without_redis_the_spans_say_so() {
    let collector = collector();
    let vars = Vars::from([("REDIS_URL".to_owned(), NO_REDIS.to_owned())]);
    let replica = Replica::without(&vars, &Table::default());
    let root = TraceContext::new();
    assert_eq!(trace::scope(root, replica.get(1)).await, None);
    let spans = collector.trace(root, &[("MGET", 1)]).await;
    assert_eq!(spans[0].attributes["error.type"], "away");
}
