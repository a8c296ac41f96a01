//! The types that have global ids.

use async_graphql::ID;
use platform::error::Refusal;
use platform_contract::PlatformReason;
use platform_graphql::{Failure, GlobalId, UserError};
use tonic::Status;
use uuid::Uuid;

/// The one table of type bytes; a byte once given is never given to another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    User = 1,
    Organisation = 2,
    Offer = 3,
}

impl platform_graphql::Kind for Kind {
    fn byte(self) -> u8 {
        self as u8
    }

    fn of(byte: u8) -> Option<Kind> {
        [Kind::User, Kind::Organisation, Kind::Offer]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }
}

/// The global id of what a service calls `id`.
pub(crate) fn encode(kind: Kind, id: &str) -> Result<ID, Status> {
    GlobalId::encode_text(kind, id)
        .map_err(|_| platform::error::internal(format!("a service answered {id:?} as an id")))
}

/// The argument `name` of a query; text that is no id at all is refused.
pub(crate) fn parse(name: &str, id: &ID) -> Result<GlobalId<Kind>, Status> {
    GlobalId::parse(id).map_err(|_| {
        let message = format!("`{name}` is not an id");
        Refusal::new(PlatformReason::FieldInvalid, &message)
            .violation(name, message)
            .into()
    })
}

/// The argument `name`, which must be the id of a `kind`.
pub(crate) fn argument(name: &str, id: &ID, kind: Kind) -> Result<Uuid, Status> {
    parse(name, id)?.only(kind).ok_or_else(|| {
        let message = not_of(kind);
        Refusal::new(PlatformReason::FieldInvalid, format!("`{name}` {message}"))
            .violation(name, message)
            .into()
    })
}

/// The field `name` of a mutation's input, which must be the id of a `kind`.
pub(crate) fn input(name: &str, id: &ID, kind: Kind) -> Result<Uuid, Failure> {
    let id = GlobalId::parse(id).ok().and_then(|id| id.only(kind));
    id.ok_or_else(|| UserError::at(&[name], not_of(kind)).into())
}

fn not_of(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "is not the id of a user",
        Kind::Organisation => "is not the id of an organisation",
        Kind::Offer => "is not the id of an offer",
    }
}

#[cfg(test)]
mod tests {
    use platform_graphql::Kind as _;

    use super::*;

    #[test]
    fn type_bytes_stay_what_they_are() {
        for (kind, byte) in [(Kind::User, 1), (Kind::Organisation, 2), (Kind::Offer, 3)] {
            assert_eq!((kind.byte(), Kind::of(byte)), (byte, Some(kind)));
        }
        assert_eq!((Kind::of(0), Kind::of(4)), (None, None));
    }
}
