//! Documents: parsed and checked once, kept by their text from the second time on, and prepared for each
//! request.
//!
//! | when | what runs |
//! | --- | --- |
//! | a text is not kept, as when it is first seen | brackets, tokens and names in the text; the parser; depth, aliases, weight, roots and cost of each definition; the rules of the library; literals; overlapping fields |
//! | each request | the choice of the operation, coercion of its variables, and its weight and cost where they depend on variables |
//! | each request, in the library | a copy of the operation, removal of what is skipped, and a walk for cycles and uploads; no other rule |

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType,
};
use async_graphql::{Name, Positioned, Request, ServerError, Variables};

use crate::context::Context;
use crate::guard::{self, Checker, Facts, Limits, Work};
use crate::hot::Plans;
use crate::refusal::Refusal;

/// Bytes that the kept documents may take, unless said otherwise.
const BYTES_MAX: usize = 32 << 20;

/// Texts remembered that were sent once, 8 bytes each.
const SEEN_MAX: usize = 8 << 10;

/// The documents seen lately.
pub struct Documents {
    checker: Arc<Checker>,
    limits: Limits,
    bytes_max: usize,
    kept: RwLock<Kept>,
    seen: Seen,
}

impl Documents {
    /// Nothing is kept yet.
    pub fn new(checker: Checker, limits: Limits) -> Documents {
        Documents {
            checker: Arc::new(checker),
            limits,
            bytes_max: BYTES_MAX,
            kept: RwLock::default(),
            seen: Seen::default(),
        }
    }

    /// Another bound for what is kept.
    #[must_use]
    pub fn bytes_max(self, bytes_max: usize) -> Documents {
        Documents { bytes_max, ..self }
    }

    /// The document of this text, checked now or before; kept when the text comes a second time.
    pub fn get(&self, text: &str) -> Result<Arc<Document>, Refusal> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = kept.young.get(text) {
            return Ok(document.clone());
        }
        let old = kept.old.get(text).cloned();
        drop(kept);
        let document = match old {
            Some(document) => document,
            None => {
                let document = Arc::new(self.check(text)?);
                if !self.seen.again(text) {
                    return Ok(document);
                }
                document
            }
        };
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let dropped = kept.keep(document.clone(), self.bytes_max);
        drop(kept);
        // Freed after the lock: there can be thousands.
        drop(dropped);
        Ok(document)
    }

    fn check(&self, text: &str) -> Result<Document, Refusal> {
        let mut work = Work::default();
        let (parsed, facts) = guard::check(text, &self.checker, &self.limits, &mut work)?;
        Ok(Document {
            text: text.into(),
            parsed,
            plans: Plans::default(),
            facts,
            checker: self.checker.clone(),
        })
    }
}

/// Texts that were sent once. Keeping a document costs more than it saves if nobody sends it again,
/// and many such would push out those that are known.
struct Seen {
    hasher: RandomState,
    /// By the hash of the text, the last one of each place.
    places: Box<[AtomicU64]>,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            hasher: RandomState::new(),
            places: (0..SEEN_MAX).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Seen {
    /// Whether the text was seen lately; from now on it was.
    fn again(&self, text: &str) -> bool {
        let hash = self.hasher.hash_one(text);
        let place = (hash % SEEN_MAX as u64) as usize;
        self.places[place].swap(hash, Ordering::Relaxed) == hash
    }
}

type Generation = HashMap<Arc<str>, Arc<Document>>;

/// Two generations: what is used moves into the young one; when that is full it becomes the old
/// one, and what nobody used meanwhile is dropped.
#[derive(Default)]
struct Kept {
    young: Generation,
    old: Generation,
    bytes_young: usize,
}

impl Kept {
    /// Answers what is no longer kept.
    fn keep(&mut self, document: Arc<Document>, bytes_max: usize) -> Option<Generation> {
        let bytes = document.bytes();
        self.old.remove(&document.text);
        let mut dropped = None;
        if self.bytes_young + bytes > bytes_max / 2 {
            let young = std::mem::take(&mut self.young);
            dropped = Some(std::mem::replace(&mut self.old, young));
            self.bytes_young = 0;
        }
        if bytes <= bytes_max / 2 && self.young.insert(document.text.clone(), document).is_none() {
            self.bytes_young += bytes;
        }
        dropped
    }
}

/// A document that fits the schema and the limits.
pub struct Document {
    /// As it was sent.
    pub text: Arc<str>,
    /// The tree.
    pub parsed: ExecutableDocument,
    /// How hot lists answer its fields.
    pub plans: Plans,
    facts: Facts,
    checker: Arc<Checker>,
}

impl Document {
    /// Chooses the operation, and coerces and counts its variables.
    pub fn prepare(
        self: &Arc<Self>,
        operation_name: Option<&str>,
        variables: Variables,
        limits: &Limits,
    ) -> Result<Prepared, Refusal> {
        let mut work = Work::default();
        let (facts, checker) = (&self.facts, &self.checker);
        let chosen = guard::prepare(facts, operation_name, variables, checker, limits, &mut work)?;
        Ok(Prepared {
            document: self.clone(),
            kind: chosen.kind,
            name: chosen.name,
            cost: chosen.cost,
            lists: chosen.lists,
            variables: chosen.variables,
        })
    }

    /// Takes out of errors of the library what names parts of the schema that the client did not
    /// send, unless that may be told.
    pub fn redact(&self, errors: &mut [ServerError]) {
        for error in errors {
            // Those with a source are not the library's.
            if error.source.is_none() {
                error.message = guard::told(&error.message, &self.text, &self.checker);
            }
        }
    }

    /// About what it takes: a field in the tree is some 200 bytes, and plans come to as much.
    fn bytes(&self) -> usize {
        1_000 + 2 * self.text.len() + 400 * self.facts.tokens
    }

    fn operation(&self, name: Option<&Name>) -> Option<&Positioned<OperationDefinition>> {
        let mut operations = self.parsed.operations.iter();
        operations
            .find(|(of, _)| *of == name)
            .map(|(_, operation)| operation)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Document").field(&self.text).finish()
    }
}

/// An operation that can be executed.
pub struct Prepared {
    /// The document of the operation.
    pub document: Arc<Document>,
    /// Query, mutation or subscription.
    pub kind: OperationType,
    /// Its name, if it has one.
    pub name: Option<Name>,
    /// Selections, rows of lists multiplied.
    pub cost: u64,
    /// Asks for pages, or for as many things as are named.
    pub lists: bool,
    /// Coerced, with defaults, and nothing that the operation does not define.
    pub variables: Variables,
}

impl Prepared {
    /// For the schema that executes; the context learns of the document.
    pub fn request(self, context: Context) -> Request {
        let mut request = Request::new(String::new());
        if let Some(operation) = self.document.operation(self.name.as_ref()) {
            // The library takes the tree apart, so it gets a copy of what it needs.
            let mut copy = ExecutableDocument {
                operations: DocumentOperations::Single(operation.clone()),
                fragments: self.document.parsed.fragments.clone(),
            };
            guard::leave_out(&mut copy, &self.variables);
            request.set_parsed_query(copy);
        }
        let request = request.variables(self.variables);
        request.data(context.with_document(self.document))
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Schema};

    use super::*;
    use crate::guard::{Open, schemas};

    struct Query;

    #[Object]
    impl Query {
        async fn number(&self) -> i32 {
            1
        }
    }

    fn documents(bytes_max: usize) -> Documents {
        let build = || Schema::build(Query, EmptyMutation, EmptySubscription);
        let (_, checker) = schemas(Open::ALL, build);
        Documents::new(checker, Limits::default()).bytes_max(bytes_max)
    }

    fn kept(documents: &Documents) -> (usize, usize) {
        let kept = documents.kept.read().unwrap();
        let all: Vec<_> = kept.young.values().chain(kept.old.values()).collect();
        (all.len(), all.iter().map(|document| document.bytes()).sum())
    }

    fn twice(documents: &Documents, text: &str) -> Arc<Document> {
        documents.get(text).unwrap();
        documents.get(text).unwrap()
    }

    #[test]
    fn a_text_that_came_twice_is_not_checked_again() {
        let documents = documents(1 << 20);
        documents.get("{ number }").unwrap();
        assert_eq!(kept(&documents).0, 0);
        let second = documents.get("{ number }").unwrap();
        assert!(Arc::ptr_eq(&second, &documents.get("{ number }").unwrap()));
        assert!(!Arc::ptr_eq(&second, &documents.get("{number}").unwrap()));
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let bytes_max = 100_000;
        let documents = documents(bytes_max);
        for index in 0..1_000 {
            twice(&documents, &format!("{{ a{index}: number }}"));
            assert!(kept(&documents).1 <= bytes_max);
        }
        let (number, bytes) = kept(&documents);
        assert!(number > 10 && bytes > bytes_max / 2, "{number} {bytes}");
    }

    #[test]
    fn what_is_used_stays() {
        let documents = documents(100_000);
        let used = twice(&documents, "{ number }");
        let unused = twice(&documents, "{ unused: number }");
        for index in 0..1_000 {
            twice(&documents, &format!("{{ a{index}: number }}"));
            assert!(Arc::ptr_eq(&used, &documents.get("{ number }").unwrap()));
        }
        let again = twice(&documents, "{ unused: number }");
        assert!(!Arc::ptr_eq(&unused, &again));
    }

    #[test]
    fn what_is_larger_than_the_room_is_answered_and_not_kept() {
        let documents = documents(10);
        twice(&documents, "{ number }");
        assert_eq!(kept(&documents), (0, 0));
    }

    #[test]
    fn refused_documents_are_not_kept() {
        let documents = documents(1 << 20);
        for _ in 0..3 {
            assert!(documents.get("{ nothing }").is_err());
        }
        assert_eq!(kept(&documents).0, 0);
    }
}
