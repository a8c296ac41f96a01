//! Events as JSON, by their descriptors.

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat};
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, ReflectMessage, Value as Field};
use serde_json::{Map, Value, json};

pub(super) struct Decoder(DescriptorPool);

impl Decoder {
    pub(super) fn new(descriptors: &[u8]) -> anyhow::Result<Decoder> {
        DescriptorPool::decode(descriptors)
            .map(Decoder)
            .context("the descriptors are broken")
    }

    /// Adds the content as `event`, or as hexadecimal `payload` if it cannot be read.
    pub(super) fn add(&self, to: &mut Value, headers: &BTreeMap<String, String>, payload: &[u8]) {
        let schema = headers.get("ce_dataschema").map(String::as_str);
        match self.decode(schema.unwrap_or_default(), payload) {
            Some(event) => to["event"] = event,
            None => {
                let digits: Vec<String> =
                    payload.iter().map(|byte| format!("{byte:02x}")).collect();
                to["payload"] = json!(digits.concat());
            }
        }
    }

    fn decode(&self, schema: &str, payload: &[u8]) -> Option<Value> {
        let descriptor = self.0.get_message_by_name(schema)?;
        let decoded = DynamicMessage::decode(descriptor, payload).ok()?;
        Some(message(&decoded))
    }
}

/// As JSON of protobuf, but names are those of the proto, and 64-bit numbers are numbers: versions
/// are for comparing.
fn message(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    if descriptor.full_name() == "google.protobuf.Timestamp" {
        let number = |name| {
            message
                .get_field_by_name(name)
                .and_then(|field| field.as_i64())
        };
        let nanos = message
            .get_field_by_name("nanos")
            .and_then(|field| field.as_i32());
        let time = DateTime::from_timestamp(
            number("seconds").unwrap_or_default(),
            u32::try_from(nanos.unwrap_or_default()).unwrap_or_default(),
        );
        return json!(time.map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true)));
    }
    let fields = descriptor
        .fields()
        .filter(|field| !field.supports_presence() || message.has_field(field));
    let object: Map<String, Value> = fields
        .map(|field| {
            let value = value(&message.get_field(&field), &field.kind());
            (field.name().to_owned(), value)
        })
        .collect();
    Value::Object(object)
}

fn value(field: &Field, kind: &Kind) -> Value {
    match field {
        Field::Bool(value) => json!(value),
        Field::I32(value) => json!(value),
        Field::I64(value) => json!(value),
        Field::U32(value) => json!(value),
        Field::U64(value) => json!(value),
        Field::F32(value) => json!(value),
        Field::F64(value) => json!(value),
        Field::String(value) => json!(value),
        Field::Bytes(value) => json!(value.to_vec()),
        Field::EnumNumber(number) => {
            let name = kind.as_enum().and_then(|kind| kind.get_value(*number));
            name.map_or(json!(number), |value| json!(value.name()))
        }
        Field::Message(value) => message(value),
        Field::List(values) => values.iter().map(|each| value(each, kind)).collect(),
        Field::Map(values) => {
            let kind = kind
                .as_message()
                .map(|entry| entry.map_entry_value_field().kind());
            let kind = kind.unwrap_or(Kind::String);
            let entries = values
                .iter()
                .map(|(key, each)| (text(key), value(each, &kind)));
            Value::Object(entries.collect())
        }
    }
}

fn text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Descriptors describe themselves: an enum of theirs, a list, numbers and texts.
    #[test]
    fn a_message_is_read_with_the_names_of_its_proto() {
        let pool = DescriptorPool::global();
        let decoder = Decoder(pool);
        let descriptor = decoder
            .0
            .get_message_by_name("google.protobuf.FieldDescriptorProto")
            .unwrap();
        let mut field = DynamicMessage::new(descriptor);
        field.set_field_by_name("name", Field::String("offer_id".to_owned()));
        field.set_field_by_name("number", Field::I32(7));
        field.set_field_by_name("type", Field::EnumNumber(9));
        let bytes = prost::Message::encode_to_vec(&field);
        assert_eq!(
            decoder.decode("google.protobuf.FieldDescriptorProto", &bytes),
            Some(json!({ "name": "offer_id", "number": 7, "type": "TYPE_STRING" }))
        );
    }

    #[test]
    fn a_point_in_time_is_text() {
        let decoder = Decoder(DescriptorPool::global());
        // seconds = 1, nanos = 500,000,000
        let bytes = [8, 1, 16, 0x80, 0xca, 0xb5, 0xee, 0x01];
        assert_eq!(
            decoder.decode("google.protobuf.Timestamp", &bytes),
            Some(json!("1970-01-01T00:00:01.500000Z"))
        );
    }

    #[test]
    fn what_cannot_be_read_is_shown_as_it_is() {
        let decoder = Decoder(DescriptorPool::global());
        let mut shown = json!({});
        decoder.add(&mut shown, &BTreeMap::new(), &[0xff, 0x01]);
        assert_eq!(shown, json!({ "payload": "ff01" }));
    }
}
