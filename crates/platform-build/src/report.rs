//! What is wrong with a contract, and where.

use std::fmt;
use std::path::PathBuf;

use prost_reflect::{
    EnumDescriptor, EnumValueDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor,
};

use crate::load::CARRIED;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The proto file, absolute.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: i32,
    /// Counted from 1.
    pub column: i32,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Every broken rule of a set of contracts, in the order of the files.
#[derive(Debug)]
pub(crate) struct Violations(pub(crate) Vec<Violation>);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file.display(),
            self.line,
            self.column,
            self.message
        )
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "the contracts break a rule")?,
            count => write!(f, "the contracts break rules in {count} places")?,
        };
        self.0
            .iter()
            .try_for_each(|violation| write!(f, "\n{violation}"))
    }
}

impl std::error::Error for Violations {}

/// Collects violations while the rules are checked.
pub(crate) struct Report {
    root: PathBuf,
    violations: Vec<Violation>,
}

impl Report {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            violations: Vec::new(),
        }
    }

    /// Notes what is wrong at an element of a file.
    pub(crate) fn refuse(&mut self, at: &impl Place, message: impl Into<String>) {
        let file = at.file();
        let (line, column) = position(&file, at.path());
        self.violations.push(Violation {
            file: self.root.join(file.name()),
            line,
            column,
            message: message.into(),
        });
    }

    /// Where an element stands, for messages about two places: `.../shop.proto:12`.
    pub(crate) fn place(&self, at: &impl Place) -> String {
        let file = at.file();
        let line = position(&file, at.path()).0;
        match CARRIED.iter().any(|(name, _)| *name == file.name()) {
            true => format!("{}:{line}", file.name()),
            false => format!("{}:{line}", self.root.join(file.name()).display()),
        }
    }

    pub(crate) fn finish(mut self) -> Result<(), Violations> {
        if self.violations.is_empty() {
            return Ok(());
        }
        self.violations.sort();
        Err(Violations(self.violations))
    }
}

/// Something that stands in a file.
pub(crate) trait Place {
    fn file(&self) -> FileDescriptor;
    /// As in `SourceCodeInfo.Location.path`.
    fn path(&self) -> &[i32];
}

impl Place for FileDescriptor {
    fn file(&self) -> FileDescriptor {
        self.clone()
    }

    /// The package statement.
    fn path(&self) -> &[i32] {
        &[2]
    }
}

macro_rules! places {
    ($($descriptor:ty),*) => {$(
        impl Place for $descriptor {
            fn file(&self) -> FileDescriptor {
                self.parent_file()
            }

            fn path(&self) -> &[i32] {
                self.path()
            }
        }
    )*};
}

places!(
    EnumDescriptor,
    EnumValueDescriptor,
    FieldDescriptor,
    MessageDescriptor,
    MethodDescriptor,
    ServiceDescriptor
);

/// Line and column, from 1.
fn position(file: &FileDescriptor, path: &[i32]) -> (i32, i32) {
    location(file, path).map_or((1, 1), |location| match location.span[..] {
        [line, column, ..] => (line + 1, column + 1),
        _ => (1, 1),
    })
}

/// The comment in front of an element, as one line.
pub(crate) fn comment(at: &impl Place) -> String {
    let file = at.file();
    let location = location(&file, at.path());
    let comment = location
        .map(|location| location.leading_comments())
        .unwrap_or_default();
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn location<'a>(
    file: &'a FileDescriptor,
    path: &[i32],
) -> Option<&'a prost_types::source_code_info::Location> {
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    info.location.iter().find(|location| location.path == path)
}
