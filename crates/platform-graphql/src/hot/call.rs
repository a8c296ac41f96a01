//! Calls whose answer stays as it came.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use platform_contract::{PlatformReason, Service};
use prost::Message;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic::codegen::{Body as HttpBody, StdError, http::uri::PathAndQuery};
use tonic::{GrpcMethod, Request, Status};
use tonic_prost::ProstEncoder;

/// Calls `method` of `service` over `channel`, and answers the message's bytes.
pub async fn unary<C, M>(
    channel: C,
    service: &'static Service,
    method: &str,
    request: M,
) -> Result<Bytes, Status>
where
    C: GrpcService<Body>,
    C::Error: Into<StdError>,
    C::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <C::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
    M: Message + Send + Sync + 'static,
{
    let found = service.methods.iter().find(|found| found.name == method);
    let method = found.ok_or_else(|| {
        let message = format!("{} has no method {method}", service.name);
        Status::from(platform::error::Refusal::new(
            PlatformReason::MethodUnknown,
            message,
        ))
    })?;
    let mut client = Grpc::new(channel);
    let ready = client.ready().await;
    ready
        .map_err(|error| Status::unknown(format!("the channel is not ready: {}", error.into())))?;
    let mut request = Request::new(request);
    let name = GrpcMethod::new(service.full_name, method.name);
    request.extensions_mut().insert(name);
    let path = PathAndQuery::from_static(method.path);
    Ok(client
        .unary(request, path, Raw(PhantomData::<M>))
        .await?
        .into_inner())
}

/// Encodes requests, and leaves answers alone.
struct Raw<M>(PhantomData<M>);

impl<M: Message + Send + 'static> Codec for Raw<M> {
    type Encode = M;
    type Decode = Bytes;
    type Encoder = ProstEncoder<M>;
    type Decoder = Whole;

    fn encoder(&mut self) -> ProstEncoder<M> {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> Whole {
        Whole
    }
}

struct Whole;

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
