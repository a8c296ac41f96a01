//! Images of services, without a container engine: a program, and whom it trusts.

pub(crate) mod archive;
pub(crate) mod build;
pub(crate) mod layout;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::stack::describe;
use archive::Tree;
use layout::{About, Image};

/// What a registry keeps and a node fetches.
const BYTES_MAX: usize = 15_000_000;
/// Nobody's: Kubernetes wants a number to know that it is not root.
const USER: &str = "65532:65532";
/// Where most programs look by themselves.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Ports in a cluster, by the names that `describe` has for them.
const PORTS: [(&str, u16); 3] = [("admin", 9090), ("grpc", 8081), ("http", 8080)];

/// The files of a service's image, as a tar archive.
pub(crate) fn files(programs: &Path, service: &str) -> anyhow::Result<Vec<u8>> {
    let program = programs.join(service);
    let bytes = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    let mut tree = Tree::default();
    tree.file(service, 0o755, bytes);
    // A Containerfile cannot put an argument into its entry point.
    tree.link("service", service);
    tree.file(CERTIFICATES, 0o644, certificates().into_bytes());
    Ok(tree.tar()?)
}

/// The image of a service that is built.
pub(crate) fn of(programs: &Path, service: &str) -> anyhow::Result<Image> {
    let descriptions = describe::all(programs, &[service.to_owned()])?;
    let has = |port: &str| descriptions.iter().any(|one| one.has_port(port));
    let ports = PORTS.iter().filter(|(name, _)| has(name));
    let (_, architecture) = build::platform()?;
    let about = About {
        service: service.to_owned(),
        architecture,
        user: USER,
        // OpenSSL's own place is another.
        environment: vec![format!("SSL_CERT_FILE=/{CERTIFICATES}")],
        ports: ports.map(|(_, port)| *port).collect(),
        labels: BTreeMap::from([
            ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
            ("org.opencontainers.image.title", service.to_owned()),
        ]),
    };
    Ok(layout::image(&about, &files(programs, service)?)?)
}

/// Fails for an image that has become too large.
pub(crate) fn judge(service: &str, image: &Image) -> anyhow::Result<()> {
    if image.compressed > BYTES_MAX {
        let (has, may) = (mb(image.compressed), mb(BYTES_MAX));
        bail!("the image of {service} has {has} MB compressed; {may} are allowed");
    }
    Ok(())
}

pub(crate) fn mb(bytes: usize) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// The certificate authorities of the web, as PEM.
fn certificates() -> String {
    let mut text = String::new();
    for certificate in TLS_SERVER_ROOT_CERTS {
        let base64 = STANDARD.encode(certificate);
        text += "-----BEGIN CERTIFICATE-----\n";
        for line in base64.as_bytes().chunks(64) {
            text += &String::from_utf8_lossy(line);
            text += "\n";
        }
        text += "-----END CERTIFICATE-----\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_may_be_as_large_as_the_limit_and_no_larger() {
        let image = |compressed| Image {
            digest: String::new(),
            compressed,
            unpacked: 0,
            archive: Vec::new(),
        };
        assert!(judge("catalog", &image(BYTES_MAX)).is_ok());
        let error = judge("catalog", &image(BYTES_MAX + 100_000)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image of catalog has 15.1 MB compressed; 15.0 are allowed"
        );
    }

    #[test]
    fn certificates_are_pem_as_openssl_reads_it() {
        let text = certificates();
        assert!(text.matches("BEGIN CERTIFICATE").count() > 100);
        assert!(text.lines().all(|line| line.len() <= 64));
        let first = text.lines().nth(1).unwrap_or_default();
        assert!(first.starts_with("MII"), "{first}");
    }
}
