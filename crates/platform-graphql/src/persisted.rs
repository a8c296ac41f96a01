//! Documents that clients name instead of sending them: a manifest that is trusted, and those that
//! clients leave here themselves (automatic persisted queries).

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use http::StatusCode;
use serde::Deserialize;

use crate::refusal::{Refusal, RequestReason};

/// What one kept document takes beside its text.
const OVERHEAD_BYTES: usize = 128;
/// Longest id of a document.
const ID_BYTES_MAX: usize = 256;

/// SHA-256 of a document's text.
pub(crate) type Hash = [u8; 32];

/// The documents that are known by an id.
#[derive(Debug, Default)]
pub struct Persisted {
    manifest: Manifest,
    /// Clients have been told of documents that they may name.
    announced: bool,
    only_listed: bool,
    automatic: Option<Mutex<Recent>>,
}

/// What a request says about its document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// The document itself.
    pub(crate) query: Option<String>,
    /// `documentId` of GraphQL over HTTP.
    pub(crate) document_id: Option<String>,
    /// `sha256Hash` of `extensions.persistedQuery`.
    pub(crate) hash: Option<String>,
}

impl Named {
    /// Whether it says anything.
    pub(crate) fn is_given(&self) -> bool {
        *self != Named::default()
    }
}

/// The document of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) text: Arc<str>,
    /// It was named by an id, so its answer can be kept under its address.
    pub(crate) by_id: bool,
    /// To be kept once it is known to be a document.
    pub(crate) keep: Option<Hash>,
}

impl Persisted {
    /// The documents of a manifest, known by their ids and by their hashes.
    #[must_use]
    pub fn manifest(self, manifest: Manifest) -> Persisted {
        Persisted {
            announced: !manifest.is_empty(),
            manifest: self.manifest.and(manifest),
            ..self
        }
    }

    /// Documents of pages that the program serves itself; trusted as those of a manifest are, and
    /// no business of other clients.
    #[must_use]
    pub fn own(self, manifest: Manifest) -> Persisted {
        let manifest = self.manifest.and(manifest);
        Persisted { manifest, ..self }
    }

    /// Executes nothing but the documents of the manifest, however they are sent.
    #[must_use]
    pub fn only_listed(self, only_listed: bool) -> Persisted {
        Persisted {
            only_listed,
            ..self
        }
    }

    /// Keeps what clients send together with its hash, in about so many bytes.
    #[must_use]
    pub fn automatic(self, bytes_max: usize) -> Persisted {
        let automatic = (bytes_max > 0).then(|| Mutex::new(Recent::new(bytes_max)));
        Persisted { automatic, ..self }
    }

    /// The document that a request means, or why there is none.
    pub(crate) fn find(&self, named: Named) -> Result<Found, Refusal> {
        let id = named.id()?;
        match (id, named.query) {
            (None, None) => Err(Refusal::bad(
                RequestReason::GraphqlRequestMalformed,
                "`query` is missing",
            )),
            (None, Some(text)) => self.sent(text, None),
            (Some(Id::Hash(hash)), Some(text)) => self.sent(text, Some(hash)),
            (Some(Id::Other(_)), Some(_)) => Err(Refusal::bad(
                RequestReason::GraphqlRequestMalformed,
                "`query` and `documentId` are both given",
            )),
            (Some(id), None) => self.named(id, named.hash.is_some()),
        }
    }

    /// Keeps a document that fits the schema, if documents are kept for clients.
    pub(crate) fn keep(&self, hash: Hash, text: Arc<str>) {
        if let Some(automatic) = &self.automatic {
            let mut recent = automatic.lock().unwrap_or_else(PoisonError::into_inner);
            recent.put(hash, text);
        }
    }

    fn sent(&self, text: String, hash: Option<Hash>) -> Result<Found, Refusal> {
        let mut keep = None;
        if hash.is_some() || self.only_listed {
            let actual = sha256(&text);
            if hash.is_some_and(|hash| hash != actual) {
                return Err(Refusal::bad(
                    RequestReason::PersistedQueryMismatch,
                    "the hash is not that of the document",
                ));
            }
            let listed = self.manifest.by_hash.contains_key(&actual);
            if self.only_listed && !listed {
                return Err(Refusal::bad(
                    RequestReason::PersistedQueryRequired,
                    "only documents of the manifest are executed",
                ));
            }
            keep = hash.filter(|_| !listed && self.automatic.is_some());
        }
        Ok(Found {
            text: text.into(),
            by_id: hash.is_some(),
            keep,
        })
    }

    fn named(&self, id: Id, automatic: bool) -> Result<Found, Refusal> {
        let text = match &id {
            Id::Hash(hash) => self.manifest.by_hash.get(hash).cloned(),
            Id::Other(id) => self.manifest.by_id.get(id.as_str()).cloned(),
        };
        let text = text.or_else(|| self.recent(&id));
        if let Some(text) = text {
            return Ok(Found {
                text,
                by_id: true,
                keep: None,
            });
        }
        let off = self.automatic.is_none() && !self.announced;
        // These two texts are what clients look for, and they are no errors of theirs.
        Err(match (automatic, off) {
            (true, true) => Refusal::new(
                RequestReason::PersistedQueryNotSupported,
                StatusCode::OK,
                "PersistedQueryNotSupported",
            ),
            (true, false) => Refusal::new(
                RequestReason::PersistedQueryNotFound,
                StatusCode::OK,
                "PersistedQueryNotFound",
            ),
            (false, _) => Refusal::bad(
                RequestReason::PersistedQueryNotFound,
                "no document is known under the id",
            ),
        })
    }

    fn recent(&self, id: &Id) -> Option<Arc<str>> {
        let (Id::Hash(hash), false) = (id, self.only_listed) else {
            return None;
        };
        let automatic = self.automatic.as_ref()?;
        let mut recent = automatic.lock().unwrap_or_else(PoisonError::into_inner);
        recent.get(hash)
    }
}

enum Id {
    Hash(Hash),
    Other(String),
}

impl Named {
    /// Both doors name the same thing.
    fn id(&self) -> Result<Option<Id>, Refusal> {
        let malformed = |message| Refusal::bad(RequestReason::GraphqlRequestMalformed, message);
        let hash = match &self.hash {
            Some(text) => {
                Some(parse_hash(text).ok_or_else(|| malformed("`sha256Hash` is no SHA-256 hash"))?)
            }
            None => None,
        };
        let id = match &self.document_id {
            Some(text) if text.is_empty() || text.len() > ID_BYTES_MAX => {
                return Err(malformed("`documentId` is empty or too long"));
            }
            Some(text) => match text.split_once(':') {
                Some(("sha256", hex)) => {
                    Some(Id::Hash(parse_hash(hex).ok_or_else(|| {
                        malformed("`documentId` is no SHA-256 hash")
                    })?))
                }
                Some((prefix, _)) if !prefix.starts_with("x-") => {
                    return Err(malformed("the prefix of `documentId` is unknown"));
                }
                _ => Some(Id::Other(text.clone())),
            },
            None => None,
        };
        match (id, hash) {
            (Some(Id::Hash(id)), Some(hash)) if id != hash => {
                Err(malformed("`documentId` and `sha256Hash` differ"))
            }
            (Some(Id::Other(_)), Some(_)) => {
                Err(malformed("`documentId` and `sha256Hash` are both given"))
            }
            (id, hash) => Ok(id.or(hash.map(Id::Hash))),
        }
    }
}

/// A list of documents, in the form of Apollo's tools
/// (`{"format":"apollo-persisted-query-manifest","operations":[{"id","body"}]}`) or of Relay's and
/// The Guild's (`{"id":"document"}`).
#[derive(Debug, Default)]
pub struct Manifest {
    by_id: HashMap<String, Arc<str>>,
    by_hash: HashMap<Hash, Arc<str>>,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError(String);

impl std::fmt::Display for ManifestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ManifestError {}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Apollo {
        format: String,
        operations: Vec<Operation>,
    },
    Map(HashMap<String, String>),
}

#[derive(Deserialize)]
struct Operation {
    id: String,
    body: String,
}

impl Manifest {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Manifest, ManifestError> {
        let bytes = std::fs::read(path)
            .map_err(|error| ManifestError(format!("cannot read {}: {error}", path.display())))?;
        Manifest::parse(&bytes)
            .map_err(|error| ManifestError(format!("{}: {error}", path.display())))
    }

    /// Reads the text of a manifest. An id that is a SHA-256 hash must be that of its document.
    pub fn parse(json: &[u8]) -> Result<Manifest, ManifestError> {
        let form = serde_json::from_slice(json)
            .map_err(|_| ManifestError("not a manifest of persisted documents".to_owned()))?;
        let documents: Vec<(String, String)> = match form {
            Form::Apollo { format, operations } => {
                if format != "apollo-persisted-query-manifest" {
                    return Err(ManifestError(format!("the format {format:?} is unknown")));
                }
                let operations = operations.into_iter();
                operations.map(|one| (one.id, one.body)).collect()
            }
            Form::Map(documents) => documents.into_iter().collect(),
        };
        let mut manifest = Manifest::default();
        for (id, text) in documents {
            let said = parse_hash(id.strip_prefix("sha256:").unwrap_or(&id));
            if said.is_some_and(|said| said != sha256(&text)) {
                return Err(ManifestError(format!(
                    "the document {id} is not the one that its id says"
                )));
            }
            manifest.insert(id, text);
        }
        Ok(manifest)
    }

    /// Documents without a list, known by the hashes of their texts.
    pub fn of(documents: impl IntoIterator<Item = String>) -> Manifest {
        let mut manifest = Manifest::default();
        for text in documents {
            manifest.insert(document_id(&text), text);
        }
        manifest
    }

    /// Those of both.
    #[must_use]
    pub fn and(mut self, other: Manifest) -> Manifest {
        self.by_id.extend(other.by_id);
        self.by_hash.extend(other.by_hash);
        self
    }

    fn insert(&mut self, id: String, text: String) {
        let hash = sha256(&text);
        let text: Arc<str> = text.into();
        self.by_hash.insert(hash, text.clone());
        self.by_id.insert(id, text);
    }

    /// Documents listed.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The documents, each once.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        self.by_hash.values().map(|text| &**text)
    }
}

/// What was used lately. Two halves: when the young one is full, it becomes the old one, and what
/// nobody has asked for since is gone.
#[derive(Debug)]
struct Recent {
    bytes_max: usize,
    young: HashMap<Hash, Arc<str>>,
    young_bytes: usize,
    old: HashMap<Hash, Arc<str>>,
}

impl Recent {
    fn new(bytes_max: usize) -> Recent {
        Recent {
            bytes_max,
            young: HashMap::new(),
            young_bytes: 0,
            old: HashMap::new(),
        }
    }

    fn get(&mut self, hash: &Hash) -> Option<Arc<str>> {
        if let Some(text) = self.young.get(hash) {
            return Some(text.clone());
        }
        let text = self.old.remove(hash)?;
        self.put(*hash, text.clone());
        Some(text)
    }

    fn put(&mut self, hash: Hash, text: Arc<str>) {
        let bytes = text.len() + OVERHEAD_BYTES;
        let half = self.bytes_max / 2;
        if bytes > half || self.young.contains_key(&hash) {
            return;
        }
        if self.young_bytes + bytes > half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.old.remove(&hash);
        self.young_bytes += bytes;
        self.young.insert(hash, text);
    }
}

/// The id by which everybody can name a document: `sha256:` and the hash of its text.
pub fn document_id(text: &str) -> String {
    let mut id = "sha256:".to_owned();
    for byte in sha256(text) {
        // Two digits of lower case.
        id.extend(
            [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
        );
    }
    id
}

pub(crate) fn sha256(text: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

/// 64 hexadecimal digits in lower case.
fn parse_hash(text: &str) -> Option<Hash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}
