//! Metadata that goes back to whoever has sent it: some in the head of the answer, some behind its end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderName, Request, Response};
use http_body_util::BodyExt;
use platform_contract::{Served, Service};
use tonic::body::Body;

use crate::contract::TEST_SERVICE;

const INITIAL: HeaderName = HeaderName::from_static("x-grpc-test-echo-initial");
const TRAILING: HeaderName = HeaderName::from_static("x-grpc-test-echo-trailing-bin");

/// Around the server, since a handler's answer has no trailers of its own.
#[derive(Clone)]
pub(crate) struct Echo<S>(pub(crate) S);

impl<S> Served for Echo<S> {
    const SERVICE: &'static Service = &TEST_SERVICE;
}

impl<S> tower::Service<Request<Body>> for Echo<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let initial = request.headers().get(INITIAL).cloned();
        let trailing = request.headers().get(TRAILING).cloned();
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            if let Some(initial) = initial {
                response.headers_mut().insert(INITIAL, initial);
            }
            let Some(trailing) = trailing else {
                return Ok(response);
            };
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        trailers.insert(TRAILING, trailing.clone());
                    }
                    frame
                }))
            }))
        })
    }
}
