//! The one writer of response values, for every transport.

use async_graphql_value::ConstValue;
use serde::Serialize;

/// Writes `value` as JSON. [`ConstValue::Binary`] is JSON that a projected list wrote already, and is
/// copied as it is: serde would make an array of numbers of it.
pub(crate) fn write(value: &ConstValue, out: &mut Vec<u8>) {
    match value {
        ConstValue::Null => out.extend_from_slice(b"null"),
        ConstValue::Boolean(true) => out.extend_from_slice(b"true"),
        ConstValue::Boolean(false) => out.extend_from_slice(b"false"),
        ConstValue::Number(number) => scalar(number, out),
        ConstValue::String(text) => string(text, out),
        ConstValue::Enum(name) => string(name, out),
        ConstValue::Binary(json) => out.extend_from_slice(json),
        ConstValue::List(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        ConstValue::Object(fields) => {
            out.push(b'{');
            for (at, (key, value)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                string(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

/// A string with its quotes.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    scalar(text, out);
}

/// A number, or anything else that cannot fail to be JSON.
pub(crate) fn scalar(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a vector takes everything");
}
