//! Global ids: one byte for the type and the 16 of the UUID, as base64url.

use async_graphql::ID;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use uuid::Uuid;

/// The types of one schema that have global ids. A byte once given is never given to another.
pub trait Kind: Copy + PartialEq + 'static {
    /// The byte of the type.
    fn byte(self) -> u8;

    /// The type of the byte, if there is one.
    fn of(byte: u8) -> Option<Self>;
}

/// The id of one object, among all types of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalId<K> {
    /// `None` for a type that this schema does not know.
    pub kind: Option<K>,
    /// The id within the type.
    pub id: Uuid,
}

/// The text is no global id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<K: Kind> GlobalId<K> {
    /// The id that clients see.
    pub fn encode(kind: K, id: Uuid) -> ID {
        let mut bytes = [kind.byte(); 17];
        bytes[1..].copy_from_slice(id.as_bytes());
        ID(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// As [`encode`](Self::encode), from the text that a service answered.
    pub fn encode_text(kind: K, id: &str) -> Result<ID, Malformed> {
        Uuid::try_parse(id)
            .map(|id| Self::encode(kind, id))
            .map_err(|_| Malformed)
    }

    /// Reads what a client sent.
    pub fn parse(text: &str) -> Result<GlobalId<K>, Malformed> {
        let mut bytes = [0; 17];
        match BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(17) => {
                let [kind, id @ ..] = bytes;
                Ok(GlobalId {
                    kind: K::of(kind),
                    id: Uuid::from_bytes(id),
                })
            }
            _ => Err(Malformed),
        }
    }

    /// The UUID, if the object is of this type.
    pub fn only(self, kind: K) -> Option<Uuid> {
        (self.kind == Some(kind)).then_some(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Letter(u8);

    impl Kind for Letter {
        fn byte(self) -> u8 {
            self.0
        }

        fn of(byte: u8) -> Option<Letter> {
            (byte < 4).then_some(Letter(byte))
        }
    }

    const ID: Uuid = Uuid::from_u128(0x0197_b1c4_5c3e_7a10_8d2f_6b1c_0a9e_4f57);

    #[test]
    fn an_id_survives_its_text() {
        let text = GlobalId::encode(Letter(3), ID);
        let id = GlobalId::<Letter>::parse(&text).unwrap();
        assert_eq!(
            id,
            GlobalId {
                kind: Some(Letter(3)),
                id: ID
            }
        );
        assert_eq!((id.only(Letter(3)), id.only(Letter(1))), (Some(ID), None));
    }

    #[test]
    fn an_unknown_type_is_not_malformed() {
        let text = GlobalId::encode(Letter(9), ID);
        assert_eq!(GlobalId::<Letter>::parse(&text).unwrap().kind, None);
    }

    #[test]
    fn there_is_one_text_for_an_id() {
        let text = GlobalId::encode(Letter(3), ID).0;
        let last = format!("{}X", &text[..text.len() - 1]);
        for bad in [
            "",
            "x",
            ID.to_string().as_str(),
            &text[1..],
            &format!("{text}="),
            &format!("{text}A"),
            &last,
        ] {
            assert_eq!(GlobalId::<Letter>::parse(bad), Err(Malformed), "{bad}");
        }
    }
}
