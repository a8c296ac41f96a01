//! Ids and moments, written without a detour over their types.

use async_graphql::{ScalarType, Value};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::wire::{Malformed, Raw, Wire};
use crate::{DateTime, json};

/// The global id of the type with the byte `kind`, from the text of a UUID.
pub(super) fn id(kind: u8, text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let Ok(id) = Uuid::try_parse_ascii(text) else {
        return Err(format!(
            "a service answered {:?} as an id",
            String::from_utf8_lossy(text)
        ));
    };
    let mut bytes = [kind; 17];
    bytes[1..].copy_from_slice(id.as_bytes());
    let mut encoded = [0; 23];
    let length = BASE64_URL_SAFE_NO_PAD.encode_slice(bytes, &mut encoded);
    let length = length.expect("17 bytes are 23 characters");
    out.push(b'"');
    out.extend_from_slice(&encoded[..length]);
    out.push(b'"');
    Ok(())
}

/// The moment of a `google.protobuf.Timestamp`.
pub(super) fn time(message: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let (seconds, nanos) =
        timestamp(message).map_err(|malformed| format!("no time: {malformed}"))?;
    if common_time(seconds, nanos, out).is_some() {
        return Ok(());
    }
    match DateTime::from_parts(seconds, nanos).map(|time| time.to_value()) {
        Some(Value::String(text)) => {
            json::string(&text, out);
            Ok(())
        }
        _ => Err("a service answered no time that is known here".to_owned()),
    }
}

fn timestamp(message: &[u8]) -> Result<(i64, i32), Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut wire = Wire::new(message);
    while let Some((number, raw)) = wire.next()? {
        match (number, raw) {
            (1, Raw::Varint(value)) => seconds = value as i64,
            (2, Raw::Varint(value)) => nanos = value as i32,
            (1 | 2, _) => return Err(Malformed::WireType),
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

/// Writes a moment of the years 1 to 9999, which has a fixed form: `2026-01-31T12:00:00.123456Z`, with as
/// many groups of digits after the point as are needed.
fn common_time(seconds: i64, nanos: i32, out: &mut Vec<u8>) -> Option<()> {
    const DAY: i64 = 86_400;
    const FIRST: i64 = -62_135_596_800;
    const AFTER: i64 = 253_402_300_800;
    let nanos = u32::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    if !(FIRST..AFTER).contains(&seconds) {
        return None;
    }
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // Days since the first of March of year 0, so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);

    let mut text = *b"\"0000-00-00T00:00:00";
    digits(year, &mut text[1..5]);
    digits(month, &mut text[6..8]);
    digits(day, &mut text[9..11]);
    digits(second / 3_600, &mut text[12..14]);
    digits(second / 60 % 60, &mut text[15..17]);
    digits(second % 60, &mut text[18..20]);
    out.extend_from_slice(&text);
    let mut fraction = *b".000000000";
    digits(i64::from(nanos), &mut fraction[1..]);
    let length = match nanos {
        0 => 0,
        _ if nanos % 1_000_000 == 0 => 4,
        _ if nanos % 1_000 == 0 => 7,
        _ => 10,
    };
    out.extend_from_slice(&fraction[..length]);
    out.extend_from_slice(b"Z\"");
    Some(())
}

fn digits(mut value: i64, into: &mut [u8]) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_the_scalar_writes_it() {
        let fractions = [
            0,
            1,
            999,
            1_000,
            123_456_000,
            1_000_000,
            999_000_000,
            999_999_999,
        ];
        // Every few days of some centuries, the days around leap days, and both ends.
        let days = (-719_162..2_932_896)
            .step_by(97)
            .map(|day| day * 86_400 + 86_399);
        let leaps = (1_582_900..1_583_100).map(|day| (day - 1_500_000) * 86_400);
        let ends = [
            -62_135_596_800,
            -62_135_596_801,
            253_402_300_799,
            253_402_300_800,
            0,
            -1,
        ];
        for (at, seconds) in days.chain(leaps).chain(ends).enumerate() {
            let nanos = fractions[at % fractions.len()];
            let mut message = Vec::new();
            prost::encoding::int64::encode(1, &seconds, &mut message);
            prost::encoding::int32::encode(2, &nanos, &mut message);
            let mut written = Vec::new();
            time(&message, &mut written).unwrap();
            let expected = DateTime::from_parts(seconds, nanos)
                .unwrap()
                .to_value()
                .to_string();
            assert_eq!(String::from_utf8(written).unwrap(), expected, "{seconds}");
        }
    }

    #[test]
    fn what_is_no_moment_is_told() {
        for (seconds, nanos) in [(i64::MAX, 0), (0, -1), (0, 1_000_000_000)] {
            let mut message = Vec::new();
            prost::encoding::int64::encode(1, &seconds, &mut message);
            prost::encoding::int32::encode(2, &nanos, &mut message);
            assert!(
                time(&message, &mut Vec::new()).is_err(),
                "{seconds} {nanos}"
            );
        }
        assert!(time(&[0x0a, 0], &mut Vec::new()).is_err());
    }
}
