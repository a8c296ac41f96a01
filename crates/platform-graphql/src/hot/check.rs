//! Whether a table says what the contracts say, for tests of schemas.

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type as Proto};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use super::join::{NEXT_PAGE_TOKEN, ROWS};
use super::table::{Field, Kind, Null, Type};

impl Type {
    /// Where this table, and those that it leads to, differ from the messages in `descriptors`, an encoded
    /// `FileDescriptorSet`; and the messages of `answers` from answers with these objects as rows.
    pub fn mismatches(&'static self, answers: &[&str], descriptors: &[u8]) -> Vec<String> {
        let Ok(set) = FileDescriptorSet::decode(descriptors) else {
            return vec!["the descriptors cannot be read".to_owned()];
        };
        let mut check = Check {
            set,
            seen: Vec::new(),
            wrong: Vec::new(),
        };
        check.table(self);
        for answer in answers {
            check.answer(self, answer);
        }
        check.wrong
    }
}

struct Check {
    set: FileDescriptorSet,
    seen: Vec<&'static str>,
    wrong: Vec<String>,
}

impl Check {
    fn table(&mut self, ty: &'static Type) {
        if self.seen.contains(&ty.name) {
            return;
        }
        self.seen.push(ty.name);
        let Some(message) = self.message(ty.message) else {
            self.wrong
                .push(format!("{}: there is no {}", ty.name, ty.message));
            return;
        };
        for field in ty.fields {
            let proto = message
                .field
                .iter()
                .find(|proto| proto.number() as u32 == field.number);
            let wrong = match proto {
                Some(proto) => self.field(field, proto),
                None => Some("is not in the message"),
            };
            self.wrong
                .extend(wrong.map(|wrong| format!("{}.{} {wrong}", ty.name, field.name)));
            match field.kind {
                Kind::Object(inner) => self.table(inner),
                Kind::Join(join) => self.table(join.to),
                _ => {}
            }
        }
    }

    fn field(&self, field: &Field, proto: &FieldDescriptorProto) -> Option<&'static str> {
        let fits = match field.kind {
            Kind::Text(_) | Kind::Id(_) | Kind::Join(_) => proto.r#type() == Proto::String,
            Kind::Long => proto.r#type() == Proto::Int64,
            Kind::Boolean => proto.r#type() == Proto::Bool,
            Kind::Enum(_) => proto.r#type() == Proto::Enum,
            Kind::Time => proto.type_name() == ".google.protobuf.Timestamp",
            Kind::Object(inner) => proto.type_name().strip_prefix('.') == Some(inner.message),
        };
        let presence = proto.r#type() == Proto::Message || proto.oneof_index.is_some();
        match field.null {
            _ if !fits => return Some("is of another type"),
            _ if proto.label() == Label::Repeated => return Some("is repeated"),
            Null::Unset if !presence => return Some("is never unset"),
            Null::Default if presence => return Some("can be unset"),
            _ => {}
        }
        let Kind::Enum(words) = field.kind else {
            return None;
        };
        let values = self.values(proto.type_name())?.value;
        let prefix = values
            .first()?
            .name()
            .strip_suffix("UNSPECIFIED")
            .map(str::to_owned)?;
        let mut known = values.iter().skip(1);
        let fits = known.all(|value| {
            let word = value.name().strip_prefix(&prefix);
            word.is_some() && (words.word)(value.number()) == word
        });
        (!fits).then_some("has other words")
    }

    fn answer(&mut self, ty: &Type, name: &str) {
        let field = |number: u32| {
            let message = self.message(name)?;
            message
                .field
                .into_iter()
                .find(|field| field.number() as u32 == number)
        };
        let rows = field(ROWS).is_some_and(|rows| {
            rows.label() == Label::Repeated
                && rows.type_name().strip_prefix('.') == Some(ty.message)
        });
        let token = field(NEXT_PAGE_TOKEN);
        let token = token.is_none_or(|token| token.name() == "next_page_token");
        if !rows || !token {
            self.wrong
                .push(format!("{name} is no answer with rows of {}", ty.name));
        }
    }

    fn message(&self, name: &str) -> Option<DescriptorProto> {
        let (package, name) = name.rsplit_once('.')?;
        let mut files = self
            .set
            .file
            .iter()
            .filter(|file| file.package() == package);
        files.find_map(|file| {
            file.message_type
                .iter()
                .find(|message| message.name() == name)
                .cloned()
        })
    }

    fn values(&self, name: &str) -> Option<EnumDescriptorProto> {
        let (package, name) = name.trim_start_matches('.').rsplit_once('.')?;
        let mut files = self
            .set
            .file
            .iter()
            .filter(|file| file.package() == package);
        files.find_map(|file| {
            file.enum_type
                .iter()
                .find(|values| values.name() == name)
                .cloned()
        })
    }
}
