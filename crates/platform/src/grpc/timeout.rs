//! The time a call may take: what the caller gives, with a default and a cap.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use platform_contract::PlatformReason;
use tonic::Status;

use crate::error::Refusal;

/// The header with which a caller says how long it will wait.
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// How long the call may take.
pub(super) fn limit(
    headers: &HeaderMap,
    default: Duration,
    cap: Duration,
) -> Result<Duration, Status> {
    let mut values = headers.get_all(GRPC_TIMEOUT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(default.min(cap)),
        (Some(value), None) => parse(value)
            .map(|limit| limit.min(cap))
            .ok_or_else(malformed),
        _ => Err(malformed()),
    }
}

/// At most 8 digits and a unit; nothing else, as the specification has it.
pub(crate) fn parse(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The header for a call that goes out: microseconds, rounded down, in at most 8 digits.
pub(crate) fn header(limit: Duration) -> HeaderValue {
    const DIGITS_MAX: u128 = 99_999_999;
    let (number, unit) = [
        (limit.as_micros(), 'u'),
        (limit.as_millis(), 'm'),
        (limit.as_secs().into(), 'S'),
    ]
    .into_iter()
    .find(|(number, _)| *number <= DIGITS_MAX)
    .unwrap_or((DIGITS_MAX, 'S'));
    HeaderValue::from_str(&format!("{number}{unit}")).expect("digits and a letter")
}

/// The answer when the time is over.
pub(crate) fn passed() -> Status {
    Refusal::new(PlatformReason::DeadlinePassed, "the deadline has passed").into()
}

fn malformed() -> Status {
    Refusal::new(PlatformReason::FieldInvalid, "the deadline is malformed")
        .violation(
            GRPC_TIMEOUT,
            "must be 1 to 8 digits and one of the units H, M, S, m, u, n",
        )
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("00000004m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(
                parse(&HeaderValue::from_static(text)),
                Some(expected),
                "{text}"
            );
        }
        for bad in [
            "",
            "S",
            "1",
            "1s",
            "1 S",
            "+1S",
            "-1S",
            "1.5S",
            "100000000S",
            "1SS",
            "1h",
        ] {
            assert_eq!(parse(&HeaderValue::from_static(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn a_written_timeout_reads_back_and_is_never_longer() {
        for limit in [
            Duration::ZERO,
            Duration::from_nanos(1500),
            Duration::from_millis(1234),
            Duration::from_secs(99),
            Duration::from_secs(100),
            Duration::from_secs(3600 * 24 * 365 * 10),
        ] {
            let back = parse(&header(limit)).unwrap();
            assert!(
                back <= limit && limit - back <= Duration::from_secs(1)
                    || limit > Duration::from_secs(99_999_999)
            );
        }
    }
}
