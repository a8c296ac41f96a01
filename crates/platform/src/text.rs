//! Rules for what people type, and for ids and money, with every broken rule told at once.

use std::{borrow::Cow, fmt, ops::RangeInclusive};

use platform_contract::PlatformReason;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use uuid::Uuid;

use crate::error::Refusal;

/// Largest amount of money in minor units.
pub const AMOUNT_MINOR_MAX: i64 = 1_000_000_000;

/// Collects the broken rules of a request, field by field.
///
/// A field that breaks a rule yields an empty value, which [`FieldErrors::check`] keeps from being
/// used.
///
/// ```
/// use platform::error::FieldErrors;
///
/// let mut fields = FieldErrors::default();
/// let title = fields.text("title", " Piano movers ", 1..=120);
/// assert_eq!(title, "Piano movers");
/// assert!(fields.check().is_ok());
/// ```
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<(String, String)>);

impl FieldErrors {
    /// One line of text; see [`line`].
    pub fn text(&mut self, field: &str, value: &str, chars: RangeInclusive<usize>) -> String {
        self.keep(field, line(value, chars))
    }

    /// Text that may hold line feeds; see [`lines`].
    pub fn text_multiline(
        &mut self,
        field: &str,
        value: &str,
        chars: RangeInclusive<usize>,
    ) -> String {
        self.keep(field, lines(value, chars))
    }

    /// A word for addresses; see [`slug`].
    pub fn slug(&mut self, field: &str, value: &str) -> String {
        self.keep(field, slug(value).map(str::to_owned))
    }

    /// The id of an entity; see [`id`].
    pub fn id(&mut self, field: &str, value: &str) -> Uuid {
        self.keep(field, id(value))
    }

    /// An id that may be left out, as an empty string.
    pub fn optional_id(&mut self, field: &str, value: &str) -> Option<Uuid> {
        if value.is_empty() {
            None
        } else {
            Some(self.id(field, value))
        }
    }

    /// An e-mail address; see [`email`].
    pub fn email(&mut self, field: &str, value: &str) -> Email {
        self.keep(field, email(value))
    }

    /// An amount of money; see [`money`].
    pub fn money(&mut self, field: &str, amount_minor: i64, currency_code: &str) -> Money {
        self.keep(field, money(amount_minor, currency_code))
    }

    /// A value of a proto enum other than its zero, `_UNSPECIFIED`.
    pub fn choice<E>(&mut self, field: &str, value: i32) -> E
    where
        E: TryFrom<i32> + Default,
    {
        let choice = match value {
            0 => Err(broken("is not set")),
            value => E::try_from(value).map_err(|_| broken("is not a value of its enum")),
        };
        self.keep(field, choice)
    }

    /// A message that must be there.
    pub fn required<'a, T>(&mut self, field: &str, value: Option<&'a T>) -> Option<&'a T> {
        if value.is_none() {
            self.violation(field, "is not set");
        }
        value
    }

    /// The value where it follows its rule, else an empty one and a violation.
    pub fn keep<T: Default>(&mut self, field: &str, value: Result<T, impl fmt::Display>) -> T {
        value.unwrap_or_else(|rule| {
            self.violation(field, rule.to_string());
            T::default()
        })
    }

    /// A broken rule of the service's own, for example `is before the start`.
    pub fn violation(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push((field.into(), message.into()));
    }

    /// FIELD_INVALID with all violations, if there is one.
    pub fn check(self) -> Result<(), Refusal> {
        let Some((field, message)) = self.0.first() else {
            return Ok(());
        };
        let refusal = Refusal::new(PlatformReason::FieldInvalid, format!("{field} {message}"));
        Err(self
            .0
            .into_iter()
            .fold(refusal, |refusal, (field, message)| {
                refusal.violation(field, message)
            }))
    }
}

/// A broken rule; reads on from the name of the field, and never repeats the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(Cow<'static, str>);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const fn broken(rule: &'static str) -> Broken {
    Broken(Cow::Borrowed(rule))
}

/// One line of text: trimmed, NFC, without control characters and without those that turn the
/// direction of writing. `chars` counts characters after that.
pub fn line(value: &str, chars: RangeInclusive<usize>) -> Result<String, Broken> {
    clean(value, chars, |_| false)
}

/// As [`line`], with line feeds.
pub fn lines(value: &str, chars: RangeInclusive<usize>) -> Result<String, Broken> {
    clean(value, chars, |c| c == '\n')
}

fn clean(
    value: &str,
    chars: RangeInclusive<usize>,
    allowed: fn(char) -> bool,
) -> Result<String, Broken> {
    let (min, max) = (*chars.start(), *chars.end());
    let too_long = || Broken(format!("is longer than {max} characters").into());
    let value = value.trim();
    // No text of `max` characters is longer than this before normalisation either: a composed
    // character takes at most 12 bytes apart. It spares the work on a megabyte.
    if value.len() > max.saturating_mul(16) {
        return Err(too_long());
    }
    if value.chars().any(|c| c.is_control() && !allowed(c)) {
        return Err(broken("holds control characters"));
    }
    if value.chars().any(turns_direction) {
        return Err(broken(
            "holds characters that turn the direction of writing",
        ));
    }
    let value = match is_nfc_quick(value.chars()) {
        IsNormalized::Yes => value.to_owned(),
        _ => value.nfc().collect(),
    };
    match value.chars().count() {
        0 if min > 0 => Err(broken("is empty")),
        count if count < min => Err(Broken(format!("is shorter than {min} characters").into())),
        count if count > max => Err(too_long()),
        _ => Ok(value),
    }
}

/// Embeddings, overrides and isolates of the bidirectional algorithm: they can make a text look
/// like another one.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// 2 to 64 of `a` to `z`, `0` to `9` and `-`.
pub fn slug(value: &str) -> Result<&str, Broken> {
    let fits = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (2..=64).contains(&value.len()) && value.bytes().all(fits) {
        Ok(value)
    } else {
        Err(broken("is not 2 to 64 of a-z, 0-9 and -"))
    }
}

/// A UUID as ids are written: 36 characters, not nil.
pub fn id(value: &str) -> Result<Uuid, Broken> {
    match Uuid::try_parse(value) {
        Ok(id) if value.len() == 36 && !id.is_nil() => Ok(id),
        _ if value.is_empty() => Err(broken("is not set")),
        _ => Err(broken("is not an id")),
    }
}

/// An e-mail address and what makes it unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Email {
    /// As it was typed: mail goes there.
    pub typed: String,
    /// NFKC, lower case: two addresses with one key are the same.
    pub key: String,
}

/// An e-mail address, checked for its shape only: whether it works, a mail will show.
pub fn email(value: &str) -> Result<Email, Broken> {
    let typed = clean(value, 3..=254, |_| false)?;
    let key: String = typed.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    // The key as well: compatibility forms can unfold into spaces and another @.
    if looks_like_email(&typed) && looks_like_email(&key) {
        Ok(Email { typed, key })
    } else {
        Err(broken("is not an e-mail address"))
    }
}

fn looks_like_email(address: &str) -> bool {
    let Some((local, domain)) = address.split_once('@') else {
        return false;
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    address.len() <= 254
        && (1..=64).contains(&local.len())
        && local.chars().all(|c| !unwanted_in_email(c))
        && domain.contains('.')
        && domain.split('.').all(label)
}

/// What would need quotes, and what cannot be seen: two addresses that look the same should be.
fn unwanted_in_email(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '@' | '"' | '(' | ')' | ',' | ':' | ';' | '<' | '>' | '[' | '\\' | ']'
        )
        || matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}')
}

/// An amount of money.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Money {
    /// In the smallest unit of the currency: cents.
    pub amount_minor: i64,
    /// ISO 4217, in capitals.
    pub currency: String,
}

/// Money from nothing to [`AMOUNT_MINOR_MAX`], in a currency in use.
pub fn money(amount_minor: i64, currency_code: &str) -> Result<Money, Broken> {
    if amount_minor < 0 {
        return Err(broken("is negative"));
    }
    if amount_minor > AMOUNT_MINOR_MAX {
        return Err(broken("is more than 1000000000 minor units"));
    }
    if currency_code.len() != 3
        || !CURRENCIES
            .split_ascii_whitespace()
            .any(|c| c == currency_code)
    {
        return Err(broken("has no currency code of ISO 4217"));
    }
    Ok(Money {
        amount_minor,
        currency: currency_code.to_owned(),
    })
}

/// ISO 4217, currencies in use, without metals, funds and test codes.
const CURRENCIES: &str = "\
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD \
    CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS \
    GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW \
    KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR \
    MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR \
    SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX \
    USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;
    use crate::error::Details;

    fn refused(value: &str) -> String {
        line(value, 1..=120).unwrap_err().to_string()
    }

    #[test]
    fn a_line_is_trimmed_and_composed() {
        assert_eq!(line("  Cafe\u{301} move ", 1..=120).unwrap(), "Café move");
        assert_eq!(line("e\u{301}", 1..=1).unwrap(), "é");
        assert_eq!(
            line("家".repeat(120).as_str(), 1..=120)
                .unwrap()
                .chars()
                .count(),
            120
        );
        assert_eq!(line("", 0..=5).unwrap(), "");
    }

    #[test]
    fn control_and_direction_characters_are_refused() {
        for bad in ["a\0b", "a\nb", "a\tb", "a\u{7f}b", "a\u{85}b", "a\u{1b}[0m"] {
            assert_eq!(refused(bad), "holds control characters", "{bad:?}");
        }
        for bad in ["\u{202a}", "\u{202e}x", "x\u{2066}y", "x\u{2069}y"] {
            assert_eq!(
                refused(bad),
                "holds characters that turn the direction of writing"
            );
        }
        assert_eq!(lines("a\nb", 1..=10).unwrap(), "a\nb");
        assert!(lines("a\r\nb", 1..=10).is_err());
        // A mark of direction is part of ordinary Hebrew and Arabic.
        assert!(line("שלום\u{200f}", 1..=10).is_ok());
    }

    #[test]
    fn length_is_counted_in_characters_and_a_megabyte_is_refused() {
        assert_eq!(
            refused(&"x".repeat(1 << 20)),
            "is longer than 120 characters"
        );
        assert_eq!(refused(&"x".repeat(121)), "is longer than 120 characters");
        assert_eq!(refused(" \u{3000} "), "is empty");
        assert_eq!(
            line("ab", 3..=9).unwrap_err().to_string(),
            "is shorter than 3 characters"
        );
    }

    #[test]
    fn a_slug_is_small_letters_digits_and_hyphens() {
        assert!(slug("north-7").is_ok());
        for bad in ["", "a", "North", "nörd", "a b", &"a".repeat(65)] {
            assert!(slug(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_id_is_a_uuid_in_its_usual_form() {
        let uuid = Uuid::now_v7();
        assert_eq!(id(&uuid.to_string()), Ok(uuid));
        let urn = format!("urn:uuid:{uuid}");
        let simple = uuid.simple().to_string();
        let nil = Uuid::nil().to_string();
        for bad in [
            "",
            "7",
            "x".repeat(36).as_str(),
            &urn,
            &simple,
            &nil,
            &format!("{{{uuid}}}"),
        ] {
            assert!(id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_email_in_other_case_has_the_same_key() {
        let one = email(" Ann.Lee@Example.org ").unwrap();
        let two = email("ann.lee@EXAMPLE.ORG").unwrap();
        let wide = email("ａnn.lee@example.org").unwrap();
        assert_eq!(one.typed, "Ann.Lee@Example.org");
        assert_eq!(one.key, "ann.lee@example.org");
        assert_eq!(one.key, two.key);
        assert_eq!(one.key, wide.key);
        assert!(email("jürgen@müller.example").is_ok());
    }

    #[test]
    fn what_is_no_email_is_refused() {
        let long = format!("{}@example.org", "a".repeat(65));
        let longer = format!("a@{}org", "abc.".repeat(70));
        for bad in [
            "",
            "a",
            "a@",
            "@b.c",
            "a@b",
            "a b@c.de",
            "a@b@c.de",
            "a@b..de",
            "a@-b.de",
            "a@b.de-",
            "a\0@b.de",
            "a@b.de\n",
            "a＠b@c.de",
            "a@b_c.de",
            "a\u{202e}@b.de",
            "a\u{200b}@b.de",
            "a@b\u{200b}.de",
            "<a@b.de>",
            &long,
            &longer,
        ] {
            // A line feed at the end is trimmed away.
            assert_eq!(email(bad).is_err(), bad != "a@b.de\n", "{bad:?}");
        }
    }

    #[test]
    fn money_has_a_bound_and_a_currency() {
        assert!(money(0, "EUR").is_ok());
        assert!(money(AMOUNT_MINOR_MAX, "JPY").is_ok());
        for (amount, currency) in [
            (-1, "EUR"),
            (i64::MIN, "EUR"),
            (AMOUNT_MINOR_MAX + 1, "EUR"),
            (i64::MAX, "EUR"),
            (1, ""),
            (1, "eur"),
            (1, "EURO"),
            (1, "XXX"),
            (1, "E R"),
            (1, "R A"),
        ] {
            assert!(money(amount, currency).is_err(), "{amount} {currency:?}");
        }
    }

    #[test]
    fn all_broken_rules_are_told_at_once() {
        #[derive(Debug, Default, PartialEq)]
        enum Kind {
            #[default]
            Unspecified,
            Cleaning,
        }
        impl TryFrom<i32> for Kind {
            type Error = ();
            fn try_from(value: i32) -> Result<Self, ()> {
                match value {
                    0 => Ok(Kind::Unspecified),
                    1 => Ok(Kind::Cleaning),
                    _ => Err(()),
                }
            }
        }
        let mut fields = FieldErrors::default();
        fields.text("title", "", 1..=120);
        fields.id("offer_id", "seven");
        fields.money("price", -1, "EUR");
        assert_eq!(fields.choice::<Kind>("kind", 1), Kind::Cleaning);
        fields.choice::<Kind>("kind", 0);
        fields.choice::<Kind>("other", 9);
        assert_eq!(fields.required::<u8>("at", None), None);
        let status: Status = fields.check().unwrap_err().into();
        assert_eq!(status.message(), "title is empty");
        let details = Details::of(&status);
        assert_eq!(details.reason.as_deref(), Some("FIELD_INVALID"));
        let named: Vec<_> = details
            .violations
            .iter()
            .map(|(field, _)| field.as_str())
            .collect();
        assert_eq!(named, ["title", "offer_id", "price", "kind", "other", "at"]);
        assert!(FieldErrors::default().check().is_ok());
    }
}
