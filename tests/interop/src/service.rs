//! What each method answers.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use platform::error::Refusal;
use platform_contract::{Code, PlatformReason, Reason};
use tonic::{Request, Response, Status, Streaming};

use crate::contract::{
    EchoStatus, Empty, Payload, PayloadType, SimpleRequest, SimpleResponse,
    StreamingInputCallRequest, StreamingInputCallResponse, StreamingOutputCallRequest,
    StreamingOutputCallResponse, TestService,
};

pub(crate) struct Testing;

type Answers = Pin<Box<dyn Stream<Item = Result<StreamingOutputCallResponse, Status>> + Send>>;

#[tonic::async_trait]
impl TestService for Testing {
    async fn empty_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn unary_call(
        &self,
        request: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        let request = request.into_inner();
        refuse_if_asked(request.response_status)?;
        Ok(Response::new(SimpleResponse {
            payload: Some(payload(request.response_size)?),
        }))
    }

    type StreamingOutputCallStream = Answers;

    async fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Result<Response<Answers>, Status> {
        let answers = answers(request.into_inner())?;
        Ok(Response::new(Box::pin(answers)))
    }

    async fn streaming_input_call(
        &self,
        requests: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        let mut requests = requests.into_inner();
        let mut aggregated_payload_size = 0;
        while let Some(request) = requests.try_next().await? {
            aggregated_payload_size += request
                .payload
                .map_or(0, |payload| payload.body.len() as i32);
        }
        Ok(Response::new(StreamingInputCallResponse {
            aggregated_payload_size,
        }))
    }

    type FullDuplexCallStream = Answers;

    async fn full_duplex_call(
        &self,
        requests: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let answers = requests.into_inner().map(|request| answers(request?));
        Ok(Response::new(Box::pin(answers.try_flatten())))
    }
}

fn answers(
    request: StreamingOutputCallRequest,
) -> Result<impl Stream<Item = Result<StreamingOutputCallResponse, Status>> + Send, Status> {
    refuse_if_asked(request.response_status)?;
    let parameters = stream::iter(request.response_parameters);
    Ok(parameters.then(async |parameters| {
        let pause = u64::try_from(parameters.interval_us).unwrap_or_default();
        tokio::time::sleep(Duration::from_micros(pause)).await;
        Ok(StreamingOutputCallResponse {
            payload: Some(payload(parameters.size)?),
        })
    }))
}

fn payload(size: i32) -> Result<Payload, Status> {
    let size = usize::try_from(size).map_err(|_| {
        Refusal::new(PlatformReason::FieldInvalid, "the size is negative")
            .violation("response_size", "must not be negative")
    })?;
    Ok(Payload {
        r#type: PayloadType::Compressable.into(),
        body: vec![0; size],
    })
}

fn refuse_if_asked(status: Option<EchoStatus>) -> Result<(), Status> {
    match status {
        Some(status) if status.code == Code::Unknown as i32 => {
            Err(Refusal::new(AskedFor, status.message).into())
        }
        Some(status) if status.code != 0 => Err(Refusal::new(
            PlatformReason::FieldInvalid,
            "the client's cases ask for no other code",
        )
        .violation("response_status.code", "must be 0 or 2")
        .into()),
        _ => Ok(()),
    }
}

/// The one refusal that a case asks for: a status without a reason would be taken for a fault of the service.
#[derive(Clone, Copy)]
struct AskedFor;

impl Reason for AskedFor {
    fn word(self) -> &'static str {
        "ASKED_FOR"
    }

    fn code(self) -> Code {
        Code::Unknown
    }

    fn retryable(self) -> bool {
        false
    }

    fn cause(self) -> &'static str {
        "The request asks for it."
    }

    fn remedy(self) -> &'static str {
        "Ask for something else."
    }
}
