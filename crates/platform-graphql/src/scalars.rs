//! Scalars that say more than a string.

use async_graphql::{
    ContextSelectionSet, InputValueError, InputValueResult, Number, OutputType, Positioned, Scalar,
    ScalarType, ServerResult, Value, parser::types::Field,
};
use chrono::{SecondsFormat, TimeZone, Utc};
use uuid::Uuid;

/// Version, count or amount: an integer that every JSON reader keeps exactly, within ±(2^53 - 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Long(pub i64);

impl Long {
    /// 2^53 - 1.
    pub const MAX: i64 = (1 << 53) - 1;

    fn of(value: &Value) -> Option<i64> {
        match value {
            Value::Number(number) => number
                .as_i64()
                .filter(|value| value.unsigned_abs() <= Self::MAX as u64),
            _ => None,
        }
    }
}

// Written out, since the derived output of a scalar cannot fail and this one can.
mod long {
    use std::borrow::Cow;

    use async_graphql::registry::{MetaType, MetaTypeId, Registry};
    use async_graphql::{InputType, ServerError};

    use super::*;

    const NAME: &str = "Long";
    const DESCRIPTION: &str = "A JSON number without a fraction, within ±(2^53 - 1).";

    fn meta() -> MetaType {
        MetaType::Scalar {
            name: NAME.to_owned(),
            description: Some(DESCRIPTION.to_owned()),
            is_valid: Some(std::sync::Arc::new(|value| Long::of(value).is_some())),
            visible: None,
            inaccessible: false,
            tags: Vec::new(),
            specified_by_url: None,
            directive_invocations: Vec::new(),
            requires_scopes: Vec::new(),
        }
    }

    impl InputType for Long {
        type RawValueType = Self;

        fn type_name() -> Cow<'static, str> {
            Cow::Borrowed(NAME)
        }

        fn create_type_info(registry: &mut Registry) -> String {
            registry.create_input_type::<Long, _>(MetaTypeId::Scalar, |_| meta())
        }

        fn parse(value: Option<Value>) -> InputValueResult<Self> {
            let value = value.unwrap_or_default();
            Long::of(&value)
                .map(Long)
                .ok_or_else(|| InputValueError::expected_type(value))
        }

        fn to_value(&self) -> Value {
            Value::Number(Number::from(self.0))
        }

        fn as_raw_value(&self) -> Option<&Self> {
            Some(self)
        }
    }

    impl OutputType for Long {
        fn type_name() -> Cow<'static, str> {
            Cow::Borrowed(NAME)
        }

        fn create_type_info(registry: &mut Registry) -> String {
            registry.create_output_type::<Long, _>(MetaTypeId::Scalar, |_| meta())
        }

        async fn resolve(
            &self,
            ctx: &ContextSelectionSet<'_>,
            field: &Positioned<Field>,
        ) -> ServerResult<Value> {
            if self.0.unsigned_abs() > Long::MAX as u64 {
                let status = platform::error::internal("a value does not fit a Long");
                let mut error = ServerError::new("", Some(field.pos));
                error.source = Some(std::sync::Arc::new(status));
                return Err(ctx.set_error_path(error));
            }
            Ok(Value::Number(Number::from(self.0)))
        }
    }
}

/// Three upper-case letters of ISO 4217.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Currency(pub String);

/// Three upper-case letters of ISO 4217: `EUR`.
#[Scalar]
impl ScalarType for Currency {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(code) if is_currency(&code) => Ok(Currency(code)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(code) if is_currency(code))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

fn is_currency(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateTime(pub chrono::DateTime<Utc>);

impl DateTime {
    /// The moment of a `google.protobuf.Timestamp`; `None` out of range.
    pub fn from_parts(seconds: i64, nanos: i32) -> Option<DateTime> {
        Utc.timestamp_opt(seconds, u32::try_from(nanos).ok()?)
            .single()
            .map(DateTime)
    }

    fn of(value: &Value) -> Option<DateTime> {
        match value {
            Value::String(text) => chrono::DateTime::parse_from_rfc3339(text)
                .ok()
                .map(|time| DateTime(time.to_utc())),
            _ => None,
        }
    }
}

/// A moment as RFC 3339 has it, in UTC: `2026-01-31T12:00:00.123456Z`.
#[Scalar(specified_by_url = "https://scalars.graphql.org/andimarek/date-time")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        DateTime::of(&value).ok_or_else(|| InputValueError::expected_type(value))
    }

    fn is_valid(value: &Value) -> bool {
        DateTime::of(value).is_some()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// A UUID that a client chose for one request, so that a repeat is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// The client's, or a new one: then the repeats of this process are recognised at least.
    pub fn or_new(given: Option<RequestId>) -> String {
        given.map_or_else(Uuid::now_v7, |id| id.0).to_string()
    }
}

/// A UUID: `0197b1c4-5c3e-7a10-8d2f-6b1c0a9e4f57`.
#[Scalar(
    name = "UUID",
    specified_by_url = "https://www.rfc-editor.org/rfc/rfc9562"
)]
impl ScalarType for RequestId {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => Uuid::try_parse(text)
                .map(RequestId)
                .map_err(|_| InputValueError::expected_type(value)),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(text) if Uuid::try_parse(text).is_ok())
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_keeps_to_what_json_readers_can_hold() {
        for good in [0, -1, Long::MAX, -Long::MAX] {
            assert_eq!(Long::of(&Value::from(good)), Some(good));
        }
        for bad in [Long::MAX + 1, -Long::MAX - 1, i64::MAX, i64::MIN] {
            assert_eq!(Long::of(&Value::from(bad)), None, "{bad}");
        }
        for bad in [
            Value::from(1.5),
            Value::from(u64::MAX),
            Value::from("1"),
            Value::Null,
        ] {
            assert_eq!(Long::of(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_currency_is_three_capitals() {
        assert!(Currency::is_valid(&Value::from("EUR")));
        for bad in ["eur", "EURO", "", "E1R"] {
            assert!(!Currency::is_valid(&Value::from(bad)), "{bad}");
        }
    }

    #[test]
    fn a_moment_is_written_in_utc() {
        let time = DateTime::from_parts(0, 1_000).unwrap();
        assert_eq!(time.to_value(), Value::from("1970-01-01T00:00:00.000001Z"));
        assert_eq!(
            DateTime::of(&Value::from("1970-01-01T01:00:00.000001+01:00")),
            Some(time)
        );
        assert_eq!(DateTime::of(&Value::from("yesterday")), None);
        assert_eq!(DateTime::from_parts(i64::MAX, 0), None);
        assert_eq!(DateTime::from_parts(0, -1), None);
    }
}
