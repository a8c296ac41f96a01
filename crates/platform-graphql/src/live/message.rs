//! Messages of `graphql-transport-ws`.

use axum::extract::ws::{Message, Utf8Bytes};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::read::Parameters;
use crate::json;

/// Longest id of an operation: it comes back with each answer.
pub(super) const ID_BYTES_MAX: usize = 255;

/// What a client sends.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Received {
    ConnectionInit {
        payload: Option<Map<String, Value>>,
    },
    Ping {
        payload: Option<Map<String, Value>>,
    },
    Pong {
        #[serde(rename = "payload")]
        _payload: Option<Map<String, Value>>,
    },
    Subscribe {
        id: String,
        payload: Box<Parameters>,
    },
    Complete {
        id: String,
    },
}

impl Received {
    /// The message, or what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Received, String> {
        let received = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match &received {
            Received::Subscribe { id, .. } | Received::Complete { id } if id.is_empty() => {
                Err("the id is empty".to_owned())
            }
            Received::Subscribe { id, .. } if id.len() > ID_BYTES_MAX => {
                Err(format!("the id is longer than {ID_BYTES_MAX} bytes"))
            }
            _ => Ok(received),
        }
    }
}

pub(super) fn ack() -> Message {
    Message::Text(Utf8Bytes::from_static(r#"{"type":"connection_ack"}"#))
}

pub(super) fn pong(payload: Option<Map<String, Value>>) -> Message {
    let Some(payload) = payload else {
        return Message::Text(Utf8Bytes::from_static(r#"{"type":"pong"}"#));
    };
    let mut out = br#"{"type":"pong","payload":"#.to_vec();
    json::scalar(&payload, &mut out);
    out.push(b'}');
    text(out)
}

pub(super) fn next(id: &str, payload: &[u8]) -> Message {
    of_operation("next", id, Some(payload))
}

pub(super) fn error(id: &str, errors: &[u8]) -> Message {
    of_operation("error", id, Some(errors))
}

pub(super) fn complete(id: &str) -> Message {
    of_operation("complete", id, None)
}

fn of_operation(kind: &str, id: &str, payload: Option<&[u8]>) -> Message {
    let length = payload.map_or(0, <[u8]>::len);
    let mut out = Vec::with_capacity(48 + id.len() + length);
    out.extend_from_slice(br#"{"id":"#);
    json::string(id, &mut out);
    out.extend_from_slice(br#","type":""#);
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    if let Some(payload) = payload {
        out.extend_from_slice(br#","payload":"#);
        out.extend_from_slice(payload);
    }
    out.push(b'}');
    text(out)
}

/// What services answered is copied as it is, so the last look at it is here.
fn text(json: Vec<u8>) -> Message {
    let text = String::from_utf8(json)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Message::Text(text.into())
}
