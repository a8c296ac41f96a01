//! Requests that are answered without being executed.

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
        }
    }

    /// The request cannot be executed as it stands: 400.
    pub fn bad(reason: RequestReason, message: impl Into<String>) -> Refusal {
        Refusal::new(reason, StatusCode::BAD_REQUEST, message)
    }

    /// Names the place in the document.
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
    /// The HTTP method does not go with the operation.
    MethodNotAllowed,
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
}

impl Reason for RequestReason {
    fn word(self) -> &'static str {
        match self {
            Self::RequestMalformed => "GRAPHQL_REQUEST_MALFORMED",
            Self::MediaTypeUnsupported => "GRAPHQL_MEDIA_TYPE_UNSUPPORTED",
            Self::MethodNotAllowed => "GRAPHQL_METHOD_NOT_ALLOWED",
            Self::SyntaxInvalid => "GRAPHQL_SYNTAX_INVALID",
            Self::DocumentInvalid => "GRAPHQL_DOCUMENT_INVALID",
            Self::DocumentTooLarge => "GRAPHQL_DOCUMENT_TOO_LARGE",
            Self::OperationUnknown => "GRAPHQL_OPERATION_UNKNOWN",
            Self::InputInvalid => "GRAPHQL_INPUT_INVALID",
        }
    }

    fn code(self) -> Code {
        Code::InvalidArgument
    }

    fn retryable(self) -> bool {
        false
    }

    fn cause(self) -> &'static str {
        match self {
            Self::RequestMalformed => "The body, or the query string, is not a GraphQL request.",
            Self::MediaTypeUnsupported => "The content type is not one that the endpoint reads.",
            Self::MethodNotAllowed => "The HTTP method does not go with the operation.",
            Self::SyntaxInvalid => "The document does not parse.",
            Self::DocumentInvalid => "The document does not fit the schema.",
            Self::DocumentTooLarge => "The document asks for more than one request may.",
            Self::OperationUnknown => "The operation name and the document do not go together.",
            Self::InputInvalid => "A variable or argument does not fit its type.",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::RequestMalformed => "Send a JSON object with `query`.",
            Self::MediaTypeUnsupported => "Send `content-type: application/json`.",
            Self::MethodNotAllowed => "Send mutations by POST.",
            Self::SyntaxInvalid => "Correct the document where the error points to.",
            Self::DocumentInvalid => "Compare the document with the schema.",
            Self::DocumentTooLarge => "Ask for less, or in several requests.",
            Self::OperationUnknown => "Name one of the operations of the document.",
            Self::InputInvalid => "Send a value of the stated type.",
        }
    }
}
