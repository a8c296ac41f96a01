//! What the build of a platform's own contracts writes, here by hand.

use platform_contract::{Access, Class, Idempotency, Method, Service};

#[allow(unreachable_pub, reason = "it is written for a crate that others use")]
mod generated {
    tonic::include_proto!("grpc.testing");
}

pub(crate) use generated::test_service_server::{TestService, TestServiceServer};
pub(crate) use generated::*;

/// `grpc.testing.TestService`, for everybody. The client also calls a method that it expects not to be there.
pub(crate) static TEST_SERVICE: Service = Service {
    name: "testing",
    full_name: "grpc.testing.TestService",
    domain: "testing.grpc",
    roles: &[],
    methods: &[
        method(
            "EmptyCall",
            "/grpc.testing.TestService/EmptyCall",
            ["grpc.testing.Empty", "grpc.testing.Empty"],
        ),
        method(
            "UnaryCall",
            "/grpc.testing.TestService/UnaryCall",
            ["grpc.testing.SimpleRequest", "grpc.testing.SimpleResponse"],
        ),
        method(
            "StreamingOutputCall",
            "/grpc.testing.TestService/StreamingOutputCall",
            [
                "grpc.testing.StreamingOutputCallRequest",
                "grpc.testing.StreamingOutputCallResponse",
            ],
        ),
        method(
            "StreamingInputCall",
            "/grpc.testing.TestService/StreamingInputCall",
            [
                "grpc.testing.StreamingInputCallRequest",
                "grpc.testing.StreamingInputCallResponse",
            ],
        ),
        method(
            "FullDuplexCall",
            "/grpc.testing.TestService/FullDuplexCall",
            [
                "grpc.testing.StreamingOutputCallRequest",
                "grpc.testing.StreamingOutputCallResponse",
            ],
        ),
    ],
    descriptors: include_bytes!(concat!(env!("OUT_DIR"), "/grpc.testing.bin")),
};

const fn method(
    name: &'static str,
    path: &'static str,
    [input, output]: [&'static str; 2],
) -> Method {
    Method {
        name,
        path,
        input,
        output,
        access: Access::Public,
        idempotency: Idempotency::Natural,
        class: Class::Read,
    }
}
