//! Smaller answers for those who can read them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// What fits one packet is not worth the work.
const BYTES_MIN: usize = 1_400;

/// The body as gzip; `None` where that does not help.
pub(super) fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < BYTES_MIN {
        return None;
    }
    let out = Vec::with_capacity(body.len() / 4);
    let mut encoder = GzEncoder::new(out, Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().filter(|gzip| gzip.len() < body.len())
}
