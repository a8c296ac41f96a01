//! The tables of hot types: one line per field says where it stands in the message and what it is in the
//! schema, and both the schema and the projection are made from it.

use async_graphql::OutputType;
use async_graphql::indexmap::{IndexMap, IndexSet};
use async_graphql::registry::{MetaField, MetaType, ObjectBuilder, Registry};

use super::join::Join;

/// Most fields of one type: what a message is read into has a fixed size.
pub(super) const FIELDS_MAX: usize = 24;
/// Field numbers below this are found by index.
const NUMBERS_MAX: u32 = 256;
/// Told in the place of a Rust type's name if another type has the same name.
const REGISTERED_AS: &str = "platform_graphql::hot::Type";

/// An object type of the schema, and the message that it is made from.
#[derive(Debug)]
pub struct Type {
    /// In the schema: `Offer`.
    pub name: &'static str,
    /// In the contracts: `homeward.catalog.v1.Offer`.
    pub message: &'static str,
    /// The description in the schema.
    pub about: &'static str,
    /// The interfaces that it implements.
    pub interfaces: &'static [&'static str],
    /// In the order of the schema.
    pub fields: &'static [Field],
}

/// A field of a [`Type`].
#[derive(Debug)]
pub struct Field {
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) null: Null,
    about: &'static str,
}

/// What a field is in the schema, and with it how it is read.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A string, as the scalar that this registers.
    Text(fn(&mut Registry) -> String),
    /// A string with a UUID, as the global id of the type with this byte.
    Id(u8),
    /// An `int64`.
    Long,
    /// A `bool`.
    Boolean,
    /// An enum.
    Enum(&'static Words),
    /// A `google.protobuf.Timestamp`.
    Time,
    /// A nested message.
    Object(&'static Type),
    /// A string with the id of what another service knows; always nullable, since that can be away.
    Join(&'static Join),
}

/// An enum.
#[derive(Debug)]
pub struct Words {
    /// Registers the type in the schema.
    pub register: fn(&mut Registry) -> String,
    /// The word for a number; `None` for one that is not known here. Not asked for zero, which is no word.
    pub word: fn(i32) -> Option<&'static str>,
}

/// When a field is null. What is null in the schema is not what is unset in a message: a field without
/// presence has a value always, and a message is set or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Null {
    /// Unset is the default, and an error where there is none: for a message, an id and an enum.
    Never,
    /// If it is unset: for a message, or a field with presence.
    Unset,
    /// If it is the default: for a field without presence, and an enum.
    Default,
}

impl Kind {
    /// A plain string.
    pub const TEXT: Kind = Kind::Text(<String as OutputType>::create_type_info);

    /// The wire type is that of a varint; else it has a length.
    pub(super) fn is_varint(self) -> bool {
        matches!(self, Kind::Long | Kind::Boolean | Kind::Enum(_))
    }

    /// A message on the wire, which is merged if it comes twice.
    pub(super) fn is_message(self) -> bool {
        matches!(self, Kind::Time | Kind::Object(_))
    }

    /// The type in the schema, non-null.
    fn register(self, registry: &mut Registry) -> String {
        match self {
            Kind::Text(register) => register(registry),
            Kind::Id(_) => <async_graphql::ID as OutputType>::create_type_info(registry),
            Kind::Long => <crate::Long as OutputType>::create_type_info(registry),
            Kind::Boolean => <bool as OutputType>::create_type_info(registry),
            Kind::Enum(words) => (words.register)(registry),
            Kind::Time => <crate::DateTime as OutputType>::create_type_info(registry),
            Kind::Object(inner) => inner.register(registry),
            Kind::Join(join) => join.to.register(registry),
        }
    }
}

impl Field {
    /// The field `number` of the message, called `name` in the schema.
    pub const fn new(name: &'static str, number: u32, kind: Kind) -> Field {
        let null = match kind {
            Kind::Join(_) => Null::Default,
            _ => Null::Never,
        };
        Field {
            name,
            number,
            kind,
            null,
            about: "",
        }
    }

    /// The description in the schema.
    #[must_use]
    pub const fn about(self, about: &'static str) -> Field {
        Field { about, ..self }
    }

    /// When it is null.
    #[must_use]
    pub const fn null(self, null: Null) -> Field {
        Field { null, ..self }
    }
}

/// An interface, some of whose objects are hot.
#[derive(Debug)]
pub struct Interface {
    /// In the schema: `Node`.
    pub name: &'static str,
    /// The description in the schema.
    pub about: &'static str,
    /// Name, type and description of each field.
    pub fields: &'static [(&'static str, &'static str, &'static str)],
}

impl Interface {
    /// Enters the interface and the types that implement it, each by its own function, into the schema,
    /// and answers its non-null name.
    pub fn register(
        &self,
        registry: &mut Registry,
        types: &[fn(&mut Registry) -> String],
    ) -> String {
        let qualified = format!("{}!", self.name);
        if registry.types.contains_key(self.name) {
            return qualified;
        }
        let fields = self.fields.iter().map(|(name, ty, about)| {
            let mut meta = MetaField::new(*name, *ty);
            meta.description = described(about);
            ((*name).to_owned(), meta)
        });
        let mut interface = MetaType::Interface {
            name: self.name.to_owned(),
            description: described(self.about),
            fields: fields.collect(),
            possible_types: IndexSet::new(),
            extends: false,
            keys: None,
            visible: None,
            inaccessible: false,
            tags: Vec::new(),
            rust_typename: Some(REGISTERED_AS),
            directive_invocations: Vec::new(),
            requires_scopes: Vec::new(),
        };
        // Entered before its types, which may lead back to it.
        registry
            .types
            .insert(self.name.to_owned(), interface.clone());
        for register in types {
            let name = register(registry).trim_end_matches('!').to_owned();
            registry.add_implements(&name, self.name);
            if let MetaType::Interface { possible_types, .. } = &mut interface {
                possible_types.insert(name);
            }
        }
        registry.types.insert(self.name.to_owned(), interface);
        qualified
    }
}

impl Type {
    /// Enters the type and all that it is made of into the schema, and answers its non-null name.
    pub(super) fn register(&'static self, registry: &mut Registry) -> String {
        let qualified = format!("{}!", self.name);
        if let Some(there) = registry.types.get(self.name) {
            let by = there.rust_typename();
            assert_eq!(
                by,
                Some(REGISTERED_AS),
                "two types are called {}",
                self.name
            );
            return qualified;
        }
        assert!(
            self.fields.len() <= FIELDS_MAX,
            "{} has too many fields",
            self.name
        );
        // Entered empty first: its fields may lead back to it.
        let name = self.name.to_owned();
        let empty = self.meta(IndexMap::new());
        registry.types.insert(name.clone(), empty);
        for interface in self.interfaces {
            registry.add_implements(self.name, interface);
        }
        let fields = self.fields.iter().map(|field| {
            assert!(
                field.number < NUMBERS_MAX,
                "the number of {} is too high",
                field.name
            );
            let mut ty = field.kind.register(registry);
            if field.null != Null::Never {
                ty.truncate(ty.len() - 1);
            }
            let mut meta = MetaField::new(field.name, ty);
            meta.description = described(field.about);
            (field.name.to_owned(), meta)
        });
        let fields = fields.collect();
        registry.types.insert(name, self.meta(fields));
        qualified
    }

    fn meta(&self, fields: IndexMap<String, MetaField>) -> MetaType {
        ObjectBuilder::new(self.name, fields)
            .description(described(self.about))
            .rust_typename(REGISTERED_AS)
            .build()
    }
}

fn described(about: &str) -> Option<String> {
    (!about.is_empty()).then(|| about.to_owned())
}
