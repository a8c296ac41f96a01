//! Scripts that run inside Redis, each as one step that nothing comes between.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// A Lua script; sent whole only to a Redis that does not know it yet. Make it a `static`.
pub struct Script {
    pub(crate) source: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    /// A script that uses no keys but those in `KEYS`.
    pub const fn new(source: &'static str) -> Script {
        Script {
            source,
            hash: OnceLock::new(),
        }
    }

    /// Its name in Redis.
    pub(crate) fn hash(&self) -> &str {
        self.hash.get_or_init(|| {
            let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, self.source.as_bytes());
            hash.as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        })
    }
}
