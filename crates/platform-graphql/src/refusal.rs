//! Requests that are answered without being executed.

use std::time::Duration;

use async_graphql::Pos;
use http::StatusCode;
use platform_contract::{Code, Reason};

/// Why a request was not executed, or not to its end.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status of the HTTP answer.
    pub http: StatusCode,
    /// The gRPC code, the word and whether a repeat can help.
    pub code: Code,
    /// The word of the case.
    pub word: &'static str,
    /// A repeat of the same request can succeed.
    pub retryable: bool,
    /// What is wrong, for the client's developer.
    pub message: String,
    /// Where in the document, if that can be said.
    pub locations: Vec<Pos>,
    /// When a repeat makes sense: `retry-after` of the answer, `retryAfterMs` of its error.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with the HTTP status that goes with its reason.
    pub fn new(reason: impl Reason, http: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal {
            http,
            code: reason.code(),
            word: reason.word(),
            retryable: reason.retryable(),
            message: message.into(),
            locations: Vec::new(),
            retry_after: None,
        }
    }

    /// The request cannot be executed as it stands: 400.
    pub fn bad(reason: RequestReason, message: impl Into<String>) -> Refusal {
        Refusal::new(reason, StatusCode::BAD_REQUEST, message)
    }

    /// Says when a repeat makes sense.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Refusal {
        self.retry_after = Some(delay);
        self
    }

    /// Names the place in the document.
    #[must_use]
    pub fn at(mut self, position: Pos) -> Refusal {
        self.locations.push(position);
        self
    }
}

/// What can be wrong with a GraphQL request before any field of it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestReason {
    /// The body, or the query string, is not a GraphQL request.
    RequestMalformed,
    /// The content type is not one that the endpoint reads.
    MediaTypeUnsupported,
    /// The client reads none of the media types that the endpoint writes.
    NotAcceptable,
    /// The HTTP method does not go with the operation.
    MethodNotAllowed,
    /// The request carries a session cookie, and was made by a page that may not use it.
    OriginRefused,
    /// A session cookie and a bearer token come together.
    CredentialsAmbiguous,
    /// The key of the application is not known, or is missing where one must be sent.
    ApiKeyInvalid,
    /// The caller has used up what it may ask for in a while.
    RateExceeded,
    /// No document is known under the id.
    PersistedUnknown,
    /// The document is not the one that its hash says.
    PersistedMismatch,
    /// Documents are not kept for clients here.
    PersistedUnsupported,
    /// Only documents of the manifest are executed, and this is none.
    PersistedRequired,
    /// The document does not parse.
    SyntaxInvalid,
    /// The document does not fit the schema.
    DocumentInvalid,
    /// The document asks for more than one request may.
    DocumentTooLarge,
    /// `operationName` and the document do not go together.
    OperationUnknown,
    /// A variable or argument does not fit its type.
    InputInvalid,
    /// A subscription was sent where one answer is all that can be given.
    StreamRequired,
    /// The caller, the address or the process has as many sockets and streams as it may.
    StreamsExceeded,
    /// No stream is reserved here under the token.
    StreamUnknown,
    /// The stream is open already, or has an operation of that id.
    StreamTaken,
}

impl Reason for RequestReason {
    fn word(self) -> &'static str {
        match self {
            Self::RequestMalformed => "GRAPHQL_REQUEST_MALFORMED",
            Self::MediaTypeUnsupported => "GRAPHQL_MEDIA_TYPE_UNSUPPORTED",
            Self::NotAcceptable => "GRAPHQL_NOT_ACCEPTABLE",
            Self::MethodNotAllowed => "GRAPHQL_METHOD_NOT_ALLOWED",
            Self::OriginRefused => "ORIGIN_REFUSED",
            Self::CredentialsAmbiguous => "CREDENTIALS_AMBIGUOUS",
            Self::ApiKeyInvalid => "API_KEY_INVALID",
            Self::RateExceeded => "RATE_EXCEEDED",
            Self::PersistedUnknown => "PERSISTED_QUERY_NOT_FOUND",
            Self::PersistedMismatch => "PERSISTED_QUERY_MISMATCH",
            Self::PersistedUnsupported => "PERSISTED_QUERY_NOT_SUPPORTED",
            Self::PersistedRequired => "PERSISTED_QUERY_REQUIRED",
            Self::SyntaxInvalid => "GRAPHQL_SYNTAX_INVALID",
            Self::DocumentInvalid => "GRAPHQL_DOCUMENT_INVALID",
            Self::DocumentTooLarge => "GRAPHQL_DOCUMENT_TOO_LARGE",
            Self::OperationUnknown => "GRAPHQL_OPERATION_UNKNOWN",
            Self::InputInvalid => "GRAPHQL_INPUT_INVALID",
            Self::StreamRequired => "GRAPHQL_STREAM_REQUIRED",
            Self::StreamsExceeded => "STREAMS_EXCEEDED",
            Self::StreamUnknown => "STREAM_UNKNOWN",
            Self::StreamTaken => "STREAM_TAKEN",
        }
    }

    fn code(self) -> Code {
        match self {
            Self::OriginRefused => Code::PermissionDenied,
            Self::ApiKeyInvalid => Code::Unauthenticated,
            Self::RateExceeded | Self::StreamsExceeded => Code::ResourceExhausted,
            Self::PersistedUnknown | Self::StreamUnknown => Code::NotFound,
            Self::StreamTaken => Code::AlreadyExists,
            Self::PersistedUnsupported => Code::Unimplemented,
            Self::PersistedRequired => Code::FailedPrecondition,
            _ => Code::InvalidArgument,
        }
    }

    fn retryable(self) -> bool {
        matches!(self, Self::RateExceeded | Self::StreamsExceeded)
    }

    fn cause(self) -> &'static str {
        match self {
            Self::RequestMalformed => "The body, or the query string, is not a GraphQL request.",
            Self::MediaTypeUnsupported => "The content type is not one that the endpoint reads.",
            Self::NotAcceptable => {
                "The client reads none of the media types that the endpoint writes."
            }
            Self::MethodNotAllowed => "The HTTP method does not go with the operation.",
            Self::OriginRefused => {
                "The request carries a session cookie, and was made by a page that may not use it."
            }
            Self::CredentialsAmbiguous => "A session cookie and a bearer token come together.",
            Self::ApiKeyInvalid => {
                "The key of the application is not known, or is missing where one must be sent."
            }
            Self::RateExceeded => "The caller has used up what it may ask for in a while.",
            Self::PersistedUnknown => "No document is known under the id.",
            Self::PersistedMismatch => "The document is not the one that its hash says.",
            Self::PersistedUnsupported => "Documents are not kept for clients here.",
            Self::PersistedRequired => {
                "Only documents of the manifest are executed, and this is none."
            }
            Self::SyntaxInvalid => "The document does not parse.",
            Self::DocumentInvalid => "The document does not fit the schema.",
            Self::DocumentTooLarge => "The document asks for more than one request may.",
            Self::OperationUnknown => "The operation name and the document do not go together.",
            Self::InputInvalid => "A variable or argument does not fit its type.",
            Self::StreamRequired => {
                "A subscription was sent where one answer is all that can be given."
            }
            Self::StreamsExceeded => {
                "The caller, the address or the process has as many sockets and streams as it may."
            }
            Self::StreamUnknown => "No stream is reserved here under the token.",
            Self::StreamTaken => "The stream is open already, or has an operation of that id.",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::RequestMalformed => "Send a JSON object with `query`.",
            Self::MediaTypeUnsupported => "Send `content-type: application/json`.",
            Self::NotAcceptable => {
                "Accept `application/graphql-response+json` or `application/json`."
            }
            Self::MethodNotAllowed => "Send mutations by POST.",
            Self::OriginRefused => "Ask from a page of this site, or of a listed origin.",
            Self::CredentialsAmbiguous => "Send one of them.",
            Self::ApiKeyInvalid => "Send the key of the application as `x-api-key`.",
            Self::RateExceeded => "Repeat after the time that the answer names.",
            Self::PersistedUnknown => "Send the document together with its hash.",
            Self::PersistedMismatch => "Hash the document as it is sent, with SHA-256.",
            Self::PersistedUnsupported => "Send the document itself.",
            Self::PersistedRequired => "Add the document to the manifest and deploy that.",
            Self::SyntaxInvalid => "Correct the document where the error points to.",
            Self::DocumentInvalid => "Compare the document with the schema.",
            Self::DocumentTooLarge => "Ask for less, or in several requests.",
            Self::OperationUnknown => "Name one of the operations of the document.",
            Self::InputInvalid => "Send a value of the stated type.",
            Self::StreamRequired => {
                "Use a WebSocket (`graphql-transport-ws`) or accept `text/event-stream`."
            }
            Self::StreamsExceeded => "Close some, or come back later.",
            Self::StreamUnknown => "Reserve a stream; it is known to one replica only.",
            Self::StreamTaken => "Reserve another stream, or use another id.",
        }
    }
}
