//! W3C trace context: read strictly, made where there is none, handed on.

use std::fmt;
use std::future::Future;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use crate::telemetry;

/// The header that carries it, in HTTP, gRPC and events.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header by which an HTTP client names its request, and is told how we name it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: TraceContext;
    static NAMED: RequestId;
}

/// Which trace the work at hand belongs to, and under which span. Prints as a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    /// The span that this one is part of; 0 where the trace begins.
    pub(crate) parent_id: u64,
    /// Whether the spans of the trace are recorded, by those who record any.
    pub(crate) sampled: bool,
}

/// The context of the current call; a new one outside any scope.
pub fn current() -> TraceContext {
    try_current().unwrap_or_else(TraceContext::new)
}

/// The context of the current call, if the work runs inside a scope.
pub fn try_current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok()
}

/// Runs `work` as part of `context`.
pub async fn scope<F: Future>(context: TraceContext, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}

/// As [`scope`], for one poll of a body or a stream.
pub fn sync_scope<R>(context: TraceContext, work: impl FnOnce() -> R) -> R {
    CURRENT.sync_scope(context, work)
}

/// What an HTTP request is called in logs and in its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// What the client sent, if that is one short word; a new one otherwise.
    pub fn of(headers: &HeaderMap) -> RequestId {
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
        let mut values = headers.get_all(&REQUEST_ID).iter();
        let sent = match (values.next(), values.next()) {
            (Some(value), None) => Some(value.clone()),
            _ => None,
        };
        let sent = sent.filter(|value| (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()));
        let sent = sent.filter(|value| value.as_bytes().iter().all(word));
        RequestId(sent.unwrap_or_else(|| {
            let text = Uuid::now_v7().to_string();
            HeaderValue::try_from(text).expect("hexadecimal digits and hyphens")
        }))
    }

    /// Writes the id into headers that go out.
    pub fn inject(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.0.clone());
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// The id of the HTTP request that the work belongs to.
pub fn request_id() -> Option<RequestId> {
    NAMED.try_with(RequestId::clone).ok()
}

/// Runs `work` as part of the request called `id`.
pub async fn request_scope<F: Future>(id: RequestId, work: F) -> F::Output {
    NAMED.scope(id, work).await
}

impl TraceContext {
    /// The root of a new trace.
    #[allow(clippy::new_without_default, reason = "each one differs")]
    pub fn new() -> TraceContext {
        let trace_id = u128::from_be_bytes(random()).max(1);
        TraceContext {
            trace_id,
            span_id: u64::from_be_bytes(random()).max(1),
            parent_id: 0,
            sampled: telemetry::samples(trace_id),
        }
    }

    /// What the caller sent, continued by a span of our own; a new trace when it sent nothing
    /// or something malformed, as the specification asks.
    pub fn of(headers: &HeaderMap) -> TraceContext {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok().and_then(|text| text.parse().ok()),
            _ => None,
        }
        .map_or_else(TraceContext::new, |context: TraceContext| context.child())
    }

    /// A new span of the same trace.
    pub fn child(self) -> TraceContext {
        TraceContext {
            span_id: u64::from_be_bytes(random()).max(1),
            parent_id: self.span_id,
            ..self
        }
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// Writes the context into headers that go out.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let value =
            HeaderValue::from_str(&self.to_string()).expect("hexadecimal digits and hyphens");
        headers.insert(TRACEPARENT, value);
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(
            f,
            "00-{:032x}-{:016x}-{flags:02x}",
            self.trace_id, self.span_id
        )
    }
}

/// The text is not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct Malformed;

impl FromStr for TraceContext {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<TraceContext, Malformed> {
        let mut parts = text.splitn(5, '-');
        let mut part = |digits: usize| {
            parts
                .next()
                .filter(|part| {
                    part.len() == digits
                        && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                })
                .ok_or(Malformed)
        };
        let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // Version 00 has nothing after the flags, later ones may; ff is forbidden.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(Malformed);
        }
        let context = TraceContext {
            trace_id: u128::from_str_radix(trace_id, 16).map_err(|_| Malformed)?,
            span_id: u64::from_str_radix(span_id, 16).map_err(|_| Malformed)?,
            parent_id: 0,
            sampled: u8::from_str_radix(flags, 16).map_err(|_| Malformed)? & 1 == 1,
        };
        if context.trace_id == 0 || context.span_id == 0 {
            return Err(Malformed);
        }
        Ok(context)
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_good_traceparent_survives_unchanged() {
        assert_eq!(GOOD.parse::<TraceContext>().unwrap().to_string(), GOOD);
    }

    #[test]
    fn a_later_version_may_carry_more() {
        let later = format!("01-{}-more", &GOOD[3..]);
        assert_eq!(later.parse::<TraceContext>().unwrap().to_string(), GOOD);
    }

    #[test]
    fn malformed_traceparents_are_refused() {
        for bad in [
            "",
            "00",
            "garbage",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn the_callers_trace_is_continued_under_a_new_span() {
        let context = TraceContext::of(&headers(&[GOOD]));
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(context.span_id(), "00f067aa0ba902b7");
        assert_eq!(context.parent_id, 0x00f0_67aa_0ba9_02b7);
    }

    #[test]
    fn two_traceparents_are_none() {
        let context = TraceContext::of(&headers(&[GOOD, GOOD]));
        assert_ne!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn a_request_keeps_its_id_if_that_is_one_short_word() {
        let sent = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(REQUEST_ID, value.parse().unwrap());
            }
            RequestId::of(&headers).to_string()
        };
        assert_eq!(sent(&["abc-DEF_1.2:3+/="]), "abc-DEF_1.2:3+/=");
        let long = "x".repeat(129);
        for bad in [
            &[] as &[&str],
            &[""],
            &["a b"],
            &["a\tb"],
            &["{\"a\":1}"],
            &[long.as_str()],
            &["a", "a"],
        ] {
            assert_eq!(
                sent(bad).parse::<Uuid>().unwrap().get_version_num(),
                7,
                "{bad:?}"
            );
        }
    }

    #[tokio::test]
    async fn work_in_a_scope_sees_its_context() {
        let context = TraceContext::new();
        assert_eq!(try_current(), None);
        assert_eq!(scope(context, async { current() }).await, context);
    }
}
