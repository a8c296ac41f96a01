//! One measurement and one span per operation that is executed.

use std::borrow::Cow;
use std::time::Instant;

use async_graphql::parser::types::OperationType;
use async_graphql::{Executor, Request, Response};
use platform::telemetry::{Durations, Kind, Span};
use platform::trace;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::Registry;

/// What is measured; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Operations(Durations<Labels>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    graphql_operation_type: &'static str,
    outcome: &'static str,
}

impl Operations {
    pub(super) fn register(&self, registry: &mut Registry) {
        self.0.register(
            registry,
            "graphql_server_operation_duration",
            "Time to execute a query or a mutation, by whether its answer has errors",
        );
    }

    /// Executes what is answered once. Neither document nor name is told: the client has written them.
    pub(super) async fn execute(
        &self,
        schema: &impl Executor,
        kind: OperationType,
        request: Request,
    ) -> Response {
        let began = Instant::now();
        let word = match kind {
            OperationType::Query => "query",
            OperationType::Mutation => "mutation",
            OperationType::Subscription => "subscription",
        };
        let span = Span::within(Kind::Internal, |span| {
            span.name(word);
            span.set("graphql.operation.type", word);
        });
        let work = schema.execute(request);
        let executed = match span.context() {
            Some(context) => trace::scope(context, work).await,
            None => work.await,
        };
        let reason = reason(&executed);
        let labels = Labels {
            graphql_operation_type: word,
            outcome: reason.as_ref().map_or("ok", |_| "errors"),
        };
        let seconds = began.elapsed().as_secs_f64();
        self.0.observe(&labels, seconds, &span);
        match reason {
            Some(reason) => span.fail(reason),
            None => span.end(),
        }
        executed
    }
}

/// Of the first error, as [`crate::error`] will tell it to the client.
fn reason(executed: &Response) -> Option<Cow<'static, str>> {
    let error = executed.errors.first()?;
    let status = error.source.as_ref().map(|source| source.downcast_ref());
    Some(match status {
        Some(Some(status)) => Cow::Owned(crate::error::word(status)),
        Some(None) => Cow::Borrowed("INTERNAL_FAULT"),
        None => Cow::Borrowed("GRAPHQL_INPUT_INVALID"),
    })
}
