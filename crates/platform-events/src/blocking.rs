//! What librdkafka does not do without blocking.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Runs a question to the broker on a thread of its own; `None` if it panicked.
///
/// Not on one of tokio's, for whose end everything waits that ends: a broker that is away takes
/// its time not to answer.
pub(crate) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::spawn(move || {
        // Some clients spawn a task as they begin.
        let _entered = runtime.enter();
        answer.send(ask())
    });
    answered.await.ok()
}
