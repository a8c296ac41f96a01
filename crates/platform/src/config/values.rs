use std::time::Duration;

use tracing_subscriber::EnvFilter;
use url::Url;

/// `1500ms`, `10s`, `5m` or `24h`; use it as `value_parser`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit_ms: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("not a number with one of the units ms, s, m, h".to_owned()),
    };
    let number = if digits.bytes().all(|b| b.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    };
    number
        .and_then(|number: u64| number.checked_mul(unit_ms))
        .map(Duration::from_millis)
        .ok_or_else(|| "not a whole number, or too large".to_owned())
}

/// An address that begins with `http://` or `https://`, kept as it is written but for slashes at
/// its end: an issuer is compared letter by letter.
pub fn http_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "the scheme is `{}`, not http or https",
            url.scheme()
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name or password".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A whole number above zero, for limits where none at all makes no sense.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it is zero".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for bad in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "+1s",
            "1 s",
            "10S",
            "99999999999999999999s",
            "18446744073709551615h",
            "é",
            "1é",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_issuer_keeps_its_letters_and_loses_its_last_slash() {
        assert_eq!(
            http_url("http://127.0.0.1:4610/"),
            Ok("http://127.0.0.1:4610".to_owned())
        );
        assert_eq!(
            http_url("https://id.example/a"),
            Ok("https://id.example/a".to_owned())
        );
        for bad in [
            "",
            "id.example",
            "ftp://id.example",
            "http://",
            "http://u:p@id.example",
        ] {
            assert!(http_url(bad).is_err(), "{bad:?}");
        }
    }
}
