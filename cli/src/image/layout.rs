//! OCI images with one layer, as an archive of an OCI image layout.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::archive::Tree;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What an image says of itself.
pub(crate) struct About {
    /// What is run, and the name of the image in its archive.
    pub(crate) service: String,
    /// `amd64` or `arm64`.
    pub(crate) architecture: &'static str,
    pub(crate) user: &'static str,
    pub(crate) environment: Vec<String>,
    pub(crate) ports: Vec<u16>,
    pub(crate) labels: BTreeMap<&'static str, String>,
}

pub(crate) struct Image {
    /// Of the manifest: what a registry and a pod call the image.
    pub(crate) digest: String,
    /// Bytes that a registry keeps and a node fetches.
    pub(crate) compressed: usize,
    /// Bytes of the layer on a node.
    pub(crate) unpacked: usize,
    pub(crate) archive: Vec<u8>,
}

/// The same bytes for the same input. Objects are written in the order of their keys.
///
/// When it was made, and from which commit, is not in it: what has not changed keeps its digest,
/// and its pods keep running. The provenance that is published beside it says both.
pub(crate) fn image(about: &About, layer: &[u8]) -> io::Result<Image> {
    let mut tree = Tree::default();
    let mut compressed = 0;
    let mut blob = |kind, bytes: Vec<u8>| {
        let digest = digest(&bytes);
        let descriptor = json!({"digest": digest, "mediaType": kind, "size": bytes.len()});
        compressed += bytes.len();
        tree.file(&format!("blobs/{}", digest.replace(':', "/")), 0o644, bytes);
        descriptor
    };
    let config = blob(CONFIG, text(&config(about, &digest(layer))));
    let layers = [blob(LAYER, gzip(layer)?)];
    let manifest = json!({
        "config": config, "layers": layers, "mediaType": MANIFEST, "schemaVersion": 2
    });
    let manifest = blob(MANIFEST, text(&manifest));
    let index = json!({
        "manifests": [{
            "annotations": {"org.opencontainers.image.ref.name": about.service},
            "digest": manifest["digest"], "mediaType": MANIFEST,
            "platform": {"architecture": about.architecture, "os": "linux"},
            "size": manifest["size"]
        }],
        "mediaType": INDEX, "schemaVersion": 2
    });
    tree.file("index.json", 0o644, text(&index));
    let version = json!({"imageLayoutVersion": "1.0.0"});
    tree.file("oci-layout", 0o644, text(&version));
    Ok(Image {
        digest: manifest["digest"].as_str().unwrap_or_default().to_owned(),
        compressed,
        unpacked: layer.len(),
        archive: tree.tar()?,
    })
}

fn config(about: &About, diff_id: &str) -> Value {
    let ports = about
        .ports
        .iter()
        .map(|port| (format!("{port}/tcp"), json!({})));
    let ports: BTreeMap<String, Value> = ports.collect();
    json!({
        "architecture": about.architecture,
        "config": {
            "Entrypoint": [format!("/{}", about.service)],
            "Env": about.environment,
            "ExposedPorts": ports,
            "Labels": about.labels,
            "User": about.user,
            "WorkingDir": "/"
        },
        "history": [{"created_by": "homeward image"}],
        "os": "linux",
        "rootfs": {"diff_ids": [diff_id], "type": "layers"}
    })
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Without a time and a name.
pub(crate) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn about() -> About {
        About {
            service: "catalog".to_owned(),
            architecture: "amd64",
            user: "65532:65532",
            environment: vec!["A=b".to_owned()],
            ports: vec![8081, 9090],
            labels: BTreeMap::from([("title", "catalog".to_owned())]),
        }
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let files = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        files.collect()
    }

    /// The content that a descriptor names.
    fn named(files: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = &files[&format!("blobs/{}", digest.replace(':', "/"))];
        assert_eq!(self::digest(bytes), digest);
        assert_eq!(bytes.len(), descriptor["size"]);
        bytes.clone()
    }

    #[test]
    fn every_part_is_found_by_the_digest_that_names_it() {
        let image = image(&about(), b"layer").unwrap();
        let files = files(&image.archive);
        let json = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap();
        let index = json(files["index.json"].clone());
        assert_eq!(index["manifests"][0]["digest"], image.digest);
        let manifest = json(named(&files, &index["manifests"][0]));
        let config = json(named(&files, &manifest["config"]));
        let mut layer = Vec::new();
        let compressed = named(&files, &manifest["layers"][0]);
        GzDecoder::new(compressed.as_slice())
            .read_to_end(&mut layer)
            .unwrap();
        assert_eq!(layer, b"layer");
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        assert_eq!(
            json(files["oci-layout"].clone())["imageLayoutVersion"],
            "1.0.0"
        );
        // Two folders, three blobs, the index and the version.
        assert_eq!(files.len(), 7);
    }

    #[test]
    fn the_config_is_written_as_it_always_was() {
        let text = config(&about(), "sha256:00").to_string();
        assert_eq!(
            text,
            "{\"architecture\":\"amd64\",\"config\":{\"Entrypoint\":[\"/catalog\"],\"Env\":[\"A=b\"],\
             \"ExposedPorts\":{\"8081/tcp\":{},\"9090/tcp\":{}},\"Labels\":{\"title\":\"catalog\"},\
             \"User\":\"65532:65532\",\"WorkingDir\":\"/\"},\
             \"history\":[{\"created_by\":\"homeward image\"}],\
             \"os\":\"linux\",\"rootfs\":{\"diff_ids\":[\"sha256:00\"],\"type\":\"layers\"}}"
        );
    }

    #[test]
    fn the_same_input_is_the_same_image_and_another_is_another() {
        let bytes = |about: &About, layer: &[u8]| digest(&image(about, layer).unwrap().archive);
        assert_eq!(bytes(&about(), b"layer"), bytes(&about(), b"layer"));
        assert_ne!(bytes(&about(), b"layer"), bytes(&about(), b"layers"));
        let other = About {
            ports: vec![8081],
            ..about()
        };
        assert_ne!(bytes(&about(), b"layer"), bytes(&other, b"layer"));
    }

    #[test]
    fn a_digest_is_that_of_everybody_else() {
        let of_abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(b"abc"), of_abc);
    }
}
