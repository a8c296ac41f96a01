//! The wire format of protocol buffers, read strictly: whatever is not well formed is an error, never a
//! panic and never a guess.

use std::fmt;

/// Bytes that are no message, or not the one of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The message ends within a field.
    Truncated,
    /// A varint of more than 64 bits.
    Varint,
    /// A tag without a field number, or of more than 32 bits.
    Tag,
    /// A group: no message of ours has one.
    Group,
    /// A wire type that does not exist, or is not that of the field.
    WireType,
    /// A string that is not UTF-8.
    Text,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Truncated => "the message is truncated",
            Malformed::Varint => "a varint has more than 64 bits",
            Malformed::Tag => "a tag is out of range",
            Malformed::Group => "the message has a group",
            Malformed::WireType => "a field has the wrong wire type",
            Malformed::Text => "a string is not UTF-8",
        })
    }
}

/// A field as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw<'m> {
    Varint(u64),
    Bytes(&'m [u8]),
    /// Fixed width; no table has such a field.
    Fixed,
}

/// The fields of a message, one after the other.
pub(super) struct Wire<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Wire<'m> {
    pub(super) fn new(message: &'m [u8]) -> Wire<'m> {
        Wire { message, at: 0 }
    }

    /// Where the next field begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next field with its number; `None` after the last one.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u32, Raw<'m>)>, Malformed> {
        if self.at == self.message.len() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed::Tag)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Malformed::Tag);
        }
        let raw = match tag & 7 {
            0 => Raw::Varint(self.varint()?),
            1 => self.take(8).map(|_| Raw::Fixed)?,
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
                Raw::Bytes(self.take(length)?)
            }
            3 | 4 => return Err(Malformed::Group),
            5 => self.take(4).map(|_| Raw::Fixed)?,
            _ => return Err(Malformed::WireType),
        };
        Ok(Some((number, raw)))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'m [u8], Malformed> {
        let rest = &self.message[self.at..];
        let taken = rest.get(..length).ok_or(Malformed::Truncated)?;
        self.at += length;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let rest = &self.message[self.at..];
        match rest.first() {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = *self.message.get(self.at).ok_or(Malformed::Truncated)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(Malformed::Varint);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
    }
}

/// The message with all occurrences of one nested message put together as the last of them: what is
/// repeated although it is singular is merged, field by field.
pub(super) fn merged(message: &[u8], number: u32) -> Result<Vec<u8>, Malformed> {
    let mut rest = Vec::with_capacity(message.len());
    let mut inner = Vec::new();
    let mut wire = Wire::new(message);
    loop {
        let start = wire.at();
        match wire.next()? {
            None => break,
            Some((found, Raw::Bytes(bytes))) if found == number => inner.extend_from_slice(bytes),
            Some(_) => rest.extend_from_slice(&message[start..wire.at()]),
        }
    }
    prost::encoding::encode_key(
        number,
        prost::encoding::WireType::LengthDelimited,
        &mut rest,
    );
    prost::encoding::encode_varint(inner.len() as u64, &mut rest);
    rest.extend_from_slice(&inner);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Result<Vec<(u32, Raw<'_>)>, Malformed> {
        let mut wire = Wire::new(message);
        let mut fields = Vec::new();
        while let Some(field) = wire.next()? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn fields_are_read_in_order() {
        let message = [
            0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0, 0, 0x08, 0,
        ];
        let fields = read(&message).unwrap();
        let expected = [
            (1, Raw::Varint(150)),
            (2, Raw::Bytes(b"hi")),
            (3, Raw::Fixed),
            (1, Raw::Varint(0)),
        ];
        assert_eq!(fields, expected);
        let largest = [
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
        ];
        assert_eq!(read(&largest).unwrap(), [(1, Raw::Varint(u64::MAX))]);
    }

    #[test]
    fn what_is_no_message_is_told() {
        let wide = [0x80, 0x80, 0x80, 0x80, 0x10, 0];
        let long = [
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
        ];
        let endless = [
            0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0,
        ];
        for (message, malformed) in [
            (&[0x08][..], Malformed::Truncated),
            (&[0x08, 0x80], Malformed::Truncated),
            (&[0x12, 3, b'h', b'i'], Malformed::Truncated),
            (
                &[
                    0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
                ],
                Malformed::Truncated,
            ),
            (&[0x09, 0, 0, 0], Malformed::Truncated),
            (&[0x0d, 0, 0, 0], Malformed::Truncated),
            (&[0x00, 0x00], Malformed::Tag),
            (&wide, Malformed::Tag),
            (&long, Malformed::Varint),
            (&endless, Malformed::Varint),
            (&[0x0b, 0x0c], Malformed::Group),
            (&[0x0c], Malformed::Group),
            (&[0x0e], Malformed::WireType),
            (&[0x0f], Malformed::WireType),
        ] {
            assert_eq!(read(message), Err(malformed), "{message:02x?}");
        }
    }

    #[test]
    fn a_nested_message_given_twice_is_one() {
        let message = [0x12, 2, 0x08, 1, 0x18, 5, 0x12, 2, 0x10, 2];
        let merged = merged(&message, 2).unwrap();
        assert_eq!(
            read(&merged).unwrap(),
            [(3, Raw::Varint(5)), (2, Raw::Bytes(&[0x08, 1, 0x10, 2]))]
        );
    }
}
