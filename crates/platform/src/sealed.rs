//! Values that leave the service and must come back as they were: page tokens, cursors, cookies.
//!
//! A sealed value is base64url of `version, nonce, ciphertext, tag` under AES-256-GCM-SIV, with a key
//! derived for its purpose; purpose and version are authenticated with it, so that a value sealed for one
//! purpose never opens for another. New values use the current key, the previous one still opens.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{constant_time, hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::config::SealArgs;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
/// Nobody needs to be sent more than this, and opening costs memory.
const SEALED_BYTES_MAX: usize = 16 * 1024;

/// Seals, opens and authenticates with the key that the replicas of one service share.
#[derive(Clone)]
pub struct Sealer(Arc<Inner>);

struct Inner {
    /// Where the keys come from, to see when they change; `None` for fixed ones.
    args: Option<SealArgs>,
    keys: Mutex<Keys>,
}

#[derive(Clone)]
struct Keys {
    texts: Texts,
    current: hkdf::Prk,
    previous: Option<hkdf::Prk>,
}

/// The settings as they were read.
type Texts = (String, Option<String>);

/// The value was not sealed by us for this purpose, or was changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is damaged or was not sealed here")]
pub struct Broken;

/// The setting does not hold a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a seal key is 32 bytes, as base64 or hexadecimal digits")]
pub struct KeyMalformed;

impl Sealer {
    /// Takes the keys from the configuration, and follows it when they are replaced.
    pub fn new(args: &SealArgs) -> Result<Sealer, KeyMalformed> {
        let keys = Keys::parse(texts(args))?;
        Ok(Sealer(Arc::new(Inner {
            args: Some(args.clone()),
            keys: Mutex::new(keys),
        })))
    }

    /// Takes the keys themselves.
    pub fn from_keys(current: [u8; 32], previous: Option<[u8; 32]>) -> Sealer {
        let keys = Keys::of(Texts::default(), current, previous);
        Sealer(Arc::new(Inner {
            args: None,
            keys: Mutex::new(keys),
        }))
    }

    /// Seals `plain` for `purpose`, for example `page`.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> String {
        let mut sealed = plain.to_vec();
        let nonce = cipher(&self.keys().current, purpose)
            .seal_in_place_append_tag(associated(purpose), &mut sealed)
            .expect("the cipher has no other failure than a value of many gigabytes");
        let mut out = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        out.push(VERSION);
        out.extend_from_slice(nonce.as_ref());
        out.extend_from_slice(&sealed);
        URL_SAFE_NO_PAD.encode(out)
    }

    /// What was sealed for `purpose`, by any replica, with the current or the previous key.
    pub fn open(&self, purpose: &str, sealed: &str) -> Result<Vec<u8>, Broken> {
        if sealed.len() > SEALED_BYTES_MAX {
            return Err(Broken);
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Broken)?;
        let (version, rest) = bytes.split_first().ok_or(Broken)?;
        if *version != VERSION {
            return Err(Broken);
        }
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_BYTES).ok_or(Broken)?;
        self.keys()
            .all()
            .find_map(|key| {
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let mut buffer = ciphertext.to_vec();
                let length = cipher(key, purpose)
                    .open_in_place(nonce, associated(purpose), &mut buffer)
                    .ok()?
                    .len();
                buffer.truncate(length);
                Some(buffer)
            })
            .ok_or(Broken)
    }

    /// A keyed fingerprint of `bytes` for `purpose`: unlike a bare hash, of no use without the key.
    pub fn mac(&self, purpose: &str, bytes: &[u8]) -> [u8; 32] {
        mac(&self.keys().current, purpose, bytes)
    }

    /// Whether `mac` was made from `bytes`, with the current or the previous key.
    pub fn mac_matches(&self, purpose: &str, bytes: &[u8], expected: &[u8]) -> bool {
        self.keys().all().any(|key| {
            constant_time::verify_slices_are_equal(&mac(key, purpose, bytes), expected).is_ok()
        })
    }

    fn keys(&self) -> Keys {
        let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(texts) = self.0.args.as_ref().map(texts)
            && texts != keys.texts
        {
            match Keys::parse(texts.clone()) {
                Ok(new) => *keys = new,
                Err(error) => {
                    tracing::error!(%error, "kept the seal keys, since the new ones cannot be used: {error}");
                    keys.texts = texts;
                }
            }
        }
        keys.clone()
    }
}

impl Keys {
    fn parse(texts: Texts) -> Result<Keys, KeyMalformed> {
        let current = parse_key(&texts.0)?;
        let previous = texts.1.as_deref().map(parse_key).transpose()?;
        Ok(Keys::of(texts, current, previous))
    }

    fn of(texts: Texts, current: [u8; 32], previous: Option<[u8; 32]>) -> Keys {
        let extract = |key: [u8; 32]| hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&key);
        Keys {
            texts,
            current: extract(current),
            previous: previous.map(extract),
        }
    }

    fn all(&self) -> impl Iterator<Item = &hkdf::Prk> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

fn texts(args: &SealArgs) -> Texts {
    (
        args.seal_key.expose(),
        args.seal_key_previous.as_ref().map(|key| key.expose()),
    )
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

fn cipher(key: &hkdf::Prk, purpose: &str) -> RandomizedNonceKey {
    RandomizedNonceKey::new(&AES_256_GCM_SIV, &derive(key, "seal", purpose))
        .expect("32 bytes are a key of AES-256")
}

fn associated(purpose: &str) -> Aad<Vec<u8>> {
    let mut associated = vec![VERSION];
    associated.extend_from_slice(purpose.as_bytes());
    Aad::from(associated)
}

fn mac(key: &hkdf::Prk, purpose: &str, bytes: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &derive(key, "mac", purpose));
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, bytes).as_ref());
    out
}

fn derive(key: &hkdf::Prk, usage: &str, purpose: &str) -> [u8; 32] {
    let mut out = [0; 32];
    key.expand(
        &[usage.as_bytes(), b":", purpose.as_bytes()],
        hkdf::HKDF_SHA256,
    )
    .and_then(|okm| okm.fill(&mut out))
    .expect("32 bytes are one block of HKDF-SHA-256");
    out
}

/// Reads a key of 32 bytes: 64 hexadecimal digits, or base64 in either alphabet, padded or not.
pub fn parse_key(text: &str) -> Result<[u8; 32], KeyMalformed> {
    let text = text.trim();
    let bytes = if text.len() == 64 {
        (0..64)
            .step_by(2)
            .map(|at| {
                let digits = text
                    .get(at..at + 2)
                    .filter(|digits| !digits.starts_with('+'))?;
                u8::from_str_radix(digits, 16).ok()
            })
            .collect::<Option<Vec<u8>>>()
    } else {
        URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .or_else(|_| STANDARD.decode(text))
            .ok()
    };
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(KeyMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn sealer(current: u8, previous: Option<u8>) -> Sealer {
        Sealer::from_keys([current; 32], previous.map(|byte| [byte; 32]))
    }

    #[test]
    fn what_was_sealed_opens_again_on_any_replica() {
        let sealed = sealer(1, None).seal("page", b"after 17");
        assert_eq!(sealer(1, None).open("page", &sealed).unwrap(), b"after 17");
    }

    #[test]
    fn sealing_twice_differs() {
        let sealer = sealer(1, None);
        assert_ne!(sealer.seal("page", b"same"), sealer.seal("page", b"same"));
    }

    #[test]
    fn another_purpose_does_not_open() {
        let sealer = sealer(1, None);
        let sealed = sealer.seal("page", b"after 17");
        assert_eq!(sealer.open("cookie", &sealed), Err(Broken));
    }

    #[test]
    fn any_flipped_bit_breaks_it() {
        let sealer = sealer(1, None);
        let bytes = URL_SAFE_NO_PAD
            .decode(sealer.seal("page", b"after 17"))
            .unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                sealer.open("page", &URL_SAFE_NO_PAD.encode(damaged)),
                Err(Broken),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn text_that_was_never_sealed_is_broken() {
        let sealer = sealer(1, None);
        let huge = "A".repeat(SEALED_BYTES_MAX + 1);
        for text in ["", "A", "AQ", "!!!", "\u{0}", &"A".repeat(38), &huge] {
            assert_eq!(sealer.open("page", text), Err(Broken));
        }
    }

    #[test]
    fn the_previous_key_opens_and_the_one_before_does_not() {
        let sealed = sealer(1, None).seal("page", b"after 17");
        assert_eq!(
            sealer(2, Some(1)).open("page", &sealed).unwrap(),
            b"after 17"
        );
        assert_eq!(sealer(3, Some(2)).open("page", &sealed), Err(Broken));
    }

    #[test]
    fn a_mac_depends_on_key_purpose_and_bytes() {
        let mac = sealer(1, None).mac("request", b"body");
        assert_eq!(mac, sealer(1, None).mac("request", b"body"));
        assert_ne!(mac, sealer(1, None).mac("request", b"other"));
        assert_ne!(mac, sealer(1, None).mac("other", b"body"));
        assert_ne!(mac, sealer(2, None).mac("request", b"body"));
        assert!(sealer(2, Some(1)).mac_matches("request", b"body", &mac));
        assert!(!sealer(2, None).mac_matches("request", b"body", &mac));
        assert!(!sealer(1, None).mac_matches("request", b"body", &mac[..31]));
    }

    #[test]
    fn a_replaced_key_is_followed_and_a_malformed_one_is_not() {
        let path = std::env::temp_dir().join(format!("seal-key-{}", uuid::Uuid::now_v7()));
        let write = |text: &str, age: u64| {
            std::fs::write(&path, text).unwrap();
            // The clock of a file system can be coarse; the test must not depend on its step.
            let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age);
            std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(at)
                .unwrap();
        };
        write(&"01".repeat(32), 1);
        let args = SealArgs {
            seal_key: Secret::from_file(&path).unwrap(),
            seal_key_previous: None,
        };
        let following = Sealer::new(&args).unwrap();
        let sealed = following.seal("page", b"after 17");
        assert_eq!(sealer(1, None).open("page", &sealed).unwrap(), b"after 17");
        write("nonsense", 2);
        assert_eq!(following.open("page", &sealed).unwrap(), b"after 17");
        write(&"02".repeat(32), 3);
        assert_eq!(following.open("page", &sealed), Err(Broken));
        assert_eq!(
            sealer(2, None)
                .open("page", &following.seal("page", b"x"))
                .unwrap(),
            b"x"
        );
        std::fs::remove_file(&path).unwrap();
        let malformed = SealArgs {
            seal_key: Secret::new("short"),
            seal_key_previous: None,
        };
        assert_eq!(Sealer::new(&malformed).err(), Some(KeyMalformed));
    }

    #[test]
    fn a_key_is_32_bytes_in_hexadecimal_or_base64() {
        let key = [0xfb; 32];
        for text in [
            "fb".repeat(32),
            "FB".repeat(32),
            STANDARD.encode(key),
            URL_SAFE_NO_PAD.encode(key),
            format!("{}\n", STANDARD.encode(key)),
        ] {
            assert_eq!(parse_key(&text), Ok(key), "{text}");
        }
        for text in [
            "",
            "fb",
            &"+f".repeat(32),
            &"zz".repeat(32),
            &STANDARD.encode([1; 31]),
            "not a key",
        ] {
            assert_eq!(parse_key(text), Err(KeyMalformed), "{text}");
        }
    }
}
