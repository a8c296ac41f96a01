//! One message of the log, whether or not it is an event of ours.

use platform_contract::EventType;
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use uuid::Uuid;

use super::keys::Key;
use crate::envelope::{Envelope, Meta, Refused, Texts, texts};
use crate::parked::{Cause, Parked};

/// Why a message is no event for us.
pub(crate) struct NotLetIn {
    /// Its place in the order of its key, if that can be believed.
    pub(crate) version: Option<i64>,
    pub(crate) cause: Cause,
    pub(crate) detail: String,
}

impl NotLetIn {
    fn new(version: Option<i64>, refused: Refused) -> NotLetIn {
        let (version, cause, detail) = match refused {
            Refused::Malformed(detail) => (None, Cause::Malformed, detail),
            // What somebody else says has no place in the order of the owner's events.
            Refused::WrongSource(detail) => (None, Cause::WrongSource, detail),
            Refused::UnknownType(detail) => (version, Cause::UnknownType, detail),
        };
        NotLetIn {
            version,
            cause,
            detail,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Message {
    /// In the contract, without the prefix.
    pub(crate) topic: &'static str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    key: Option<Vec<u8>>,
    pub(crate) payload: Vec<u8>,
    headers: Texts,
    /// What is wrong with the headers as a whole.
    flaw: Option<String>,
}

impl Message {
    pub(crate) fn new(topic: &'static str, message: &BorrowedMessage<'_>) -> Message {
        let (headers, flaw) = match texts(message.headers()) {
            Ok(headers) => (headers, None),
            Err((flaw, headers)) => (headers, Some(flaw)),
        };
        Message {
            topic,
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().unwrap_or_default().to_vec(),
            headers,
            flaw,
        }
    }

    /// A parked event as it came.
    pub(crate) fn parked(topic: &'static str, parked: &Parked) -> Message {
        Message {
            topic,
            partition: parked.partition,
            offset: parked.offset,
            key: Some(parked.key.clone().into_bytes()),
            payload: parked.payload.clone(),
            headers: parked.headers.clone(),
            flaw: None,
        }
    }

    /// What is known of the event, or why it is not let in.
    pub(crate) fn judge(&self, contract: &'static [EventType]) -> Result<Meta, NotLetIn> {
        let envelope = match &self.flaw {
            Some(flaw) => Err(Refused::Malformed(flaw.clone())),
            None => Envelope::read(&self.headers, self.key.as_deref()),
        };
        let envelope = envelope.map_err(|refused| NotLetIn::new(None, refused))?;
        match envelope.judge(contract, self.topic) {
            Ok(event) => Ok(envelope.into_meta(event, self.partition, self.offset)),
            Err(refused) => Err(NotLetIn::new(Some(envelope.version), refused)),
        }
    }

    pub(crate) fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// What it is handled in the order of.
    pub(super) fn order(&self) -> Key {
        (self.topic, self.key.clone().unwrap_or_default())
    }

    pub(super) fn bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len());
        self.key.as_ref().map_or(0, Vec::len) + self.payload.len() + headers.sum::<usize>()
    }

    /// As it is parked; `version` is its place in the order of its key, if it has one.
    pub(super) fn park(
        &self,
        consumer: &str,
        version: Option<i64>,
        cause: Cause,
        detail: String,
    ) -> Parked {
        let key = String::from_utf8_lossy(self.key.as_deref().unwrap_or_default());
        // Postgres has no text with a zero in it.
        let clean = |text: &str| text.replace('\0', "\u{fffd}");
        Parked {
            id: Uuid::now_v7(),
            consumer: consumer.to_owned(),
            topic: self.topic.to_owned(),
            key: clean(&key),
            version,
            name: self.headers.get("ce_type").map(|name| clean(name)),
            partition: self.partition,
            offset: self.offset,
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (clean(name), clean(value)))
                .collect(),
            payload: self.payload.clone(),
            cause,
            detail: clean(&detail),
            dropped: false,
            parked_at: platform::time::now(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::consumer) fn message(key: &str, offset: i64) -> Message {
        Message {
            topic: "events.offer",
            partition: 0,
            offset,
            key: Some(key.as_bytes().to_vec()),
            payload: vec![0; 10],
            headers: Texts::new(),
            flaw: None,
        }
    }
}
