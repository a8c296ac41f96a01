//! One pass over a message, for the fields that a plan needs.

use super::plan::{Known, On, Plan};
use super::table::FIELDS_MAX;
use super::wire::{Malformed, Raw, Wire};

/// The selected fields of one message.
pub(super) struct Slots<'m> {
    message: &'m [u8],
    slots: [Slot; FIELDS_MAX],
}

/// Small, since there is an array of them for each message.
#[derive(Clone, Copy)]
enum Slot {
    Unset,
    Varint(u64),
    /// A part of the message.
    Bytes {
        at: u32,
        length: u32,
    },
}

/// Why a message was not read.
pub(super) enum Unread {
    Malformed(Malformed),
    /// This nested message comes more than once, and is to be merged first.
    Repeated(u32),
}

impl From<Malformed> for Unread {
    fn from(malformed: Malformed) -> Unread {
        Unread::Malformed(malformed)
    }
}

impl<'m> Slots<'m> {
    /// Nothing of it is read yet.
    pub(super) fn new(message: &'m [u8]) -> Slots<'m> {
        Slots {
            message,
            slots: [Slot::Unset; FIELDS_MAX],
        }
    }

    /// Reads what the plan needs; of a plain field that comes twice the last one counts. The types of
    /// fields that are not selected are checked as well.
    pub(super) fn read(&mut self, plan: &Plan) -> Result<(), Unread> {
        let Some(known) = &plan.known else {
            return Ok(());
        };
        // Places in the message are kept in 32 bits; no answer is as long.
        u32::try_from(self.message.len()).map_err(|_| Malformed::Truncated)?;
        let mut wire = Wire::new(self.message);
        while let Some((number, raw)) = wire.next()? {
            let Some(&Known {
                wire: Some(on),
                slot,
            }) = known.get(number as usize)
            else {
                continue;
            };
            let value = match (on, raw) {
                (On::Varint, Raw::Varint(value)) => Slot::Varint(value),
                (On::Bytes | On::Message, Raw::Bytes(bytes)) => Slot::Bytes {
                    at: (wire.at() - bytes.len()) as u32,
                    length: bytes.len() as u32,
                },
                _ => return Err(Malformed::WireType.into()),
            };
            if let Some(slot) = slot {
                let slot = &mut self.slots[usize::from(slot)];
                if on == On::Message && matches!(slot, Slot::Bytes { .. }) {
                    return Err(Unread::Repeated(number));
                }
                *slot = value;
            }
        }
        Ok(())
    }

    pub(super) fn bytes(&self, slot: usize) -> Option<&'m [u8]> {
        match self.slots[slot] {
            Slot::Bytes { at, length } => Some(&self.message[at as usize..][..length as usize]),
            _ => None,
        }
    }

    pub(super) fn varint(&self, slot: usize) -> Option<u64> {
        match self.slots[slot] {
            Slot::Varint(value) => Some(value),
            _ => None,
        }
    }
}
