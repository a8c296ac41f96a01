//! One pass over a message, for the fields that a plan needs.

use super::plan::{Known, On, Plan};
use super::table::FIELDS_MAX;
use super::wire::{Malformed, Raw, Wire};

/// The selected fields of one message.
pub(super) struct Slots<'m>([Slot<'m>; FIELDS_MAX]);

#[derive(Clone, Copy)]
enum Slot<'m> {
    Unset,
    Varint(u64),
    Bytes(&'m [u8]),
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
    /// Reads what the plan needs; of a plain field that comes twice the last one counts. The types of
    /// fields that are not selected are checked as well.
    pub(super) fn read(plan: &Plan, message: &'m [u8]) -> Result<Slots<'m>, Unread> {
        let mut slots = [Slot::Unset; FIELDS_MAX];
        let Some(known) = &plan.known else {
            return Ok(Slots(slots));
        };
        let mut wire = Wire::new(message);
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
                (On::Bytes | On::Message, Raw::Bytes(bytes)) => Slot::Bytes(bytes),
                _ => return Err(Malformed::WireType.into()),
            };
            if let Some(slot) = slot {
                let slot = &mut slots[usize::from(slot)];
                if on == On::Message && matches!(slot, Slot::Bytes(_)) {
                    return Err(Unread::Repeated(number));
                }
                *slot = value;
            }
        }
        Ok(Slots(slots))
    }

    pub(super) fn bytes(&self, slot: usize) -> Option<&'m [u8]> {
        match self.0[slot] {
            Slot::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn varint(&self, slot: usize) -> Option<u64> {
        match self.0[slot] {
            Slot::Varint(value) => Some(value),
            _ => None,
        }
    }
}
