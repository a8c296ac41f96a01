//! From checked contracts to Rust.

mod asyncapi;
mod cluster;
mod debug;
mod errors;
mod messages;
mod reasons;
mod services;
mod yaml;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use prost_build::Module;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DynamicMessage, FileDescriptor, ReflectMessage};

use crate::load::Loaded;
use crate::names;

pub(crate) use asyncapi::asyncapi;
pub(crate) use cluster::{charts, topics};
pub(crate) use errors::errors;

/// Writes `contracts.rs`, one file per package, and the descriptor sets that they include.
pub(crate) fn contracts(contracts: &Loaded, out_dir: &Path) -> Result<()> {
    let mut packages = prost(contracts)?;
    for (package, code) in &mut packages {
        messages::emit(contracts, package, code);
        debug::emit(contracts, package, code);
        services::emit(contracts, package, code);
        reasons::emit(contracts, package, code);
        write(out_dir, &format!("{package}.rs"), code.as_bytes())?;
        let files = contracts
            .files
            .iter()
            .filter(|file| file.package_name() == package);
        write(out_dir, &format!("{package}.bin"), &descriptors(files)?)?;
    }
    write(
        out_dir,
        "contracts.bin",
        &descriptors(contracts.files.iter())?,
    )?;

    let mut root = modules(packages.keys());
    messages::lists(contracts, &mut root);
    services::lists(contracts, &mut root);
    write(out_dir, "contracts.rs", root.as_bytes())
}

/// Writes `reasons.rs`, included by `platform-contract`.
pub(crate) fn platform_reasons(platform: &Loaded, out_dir: &Path) -> Result<()> {
    let reasons = platform.platform_reasons();
    let code: String = reasons
        .iter()
        .map(|reasons| reasons::plain(platform, reasons))
        .collect();
    write(out_dir, "reasons.rs", code.as_bytes())
}

/// The messages, clients and servers, by package.
fn prost(contracts: &Loaded) -> Result<BTreeMap<String, String>> {
    // Clients run on the platform's channel, so no `connect` is wanted.
    let services = tonic_prost_build::configure()
        .build_transport(false)
        .service_generator();
    let mut config = prost_build::Config::new();
    config
        .service_generator(services)
        .skip_debug(debug::skipped(contracts));

    // prost wants to see the imports as well; their code is not kept.
    let requests = contracts.pool.files().map(|file| {
        (
            Module::from_protobuf_package_name(file.package_name()),
            file.file_descriptor_proto().clone(),
        )
    });
    let mut modules = config
        .generate(requests.collect())
        .context("cannot generate messages")?;
    let code = |package: String| {
        let code = modules
            .remove(&Module::from_protobuf_package_name(&package))
            .unwrap_or_default();
        (package, code)
    };
    Ok(names::packages(&contracts.files)
        .into_iter()
        .map(code)
        .collect())
}

/// Files and what they import, as an encoded `FileDescriptorSet` with options, without comments.
fn descriptors<'a>(files: impl Iterator<Item = &'a FileDescriptor>) -> Result<Vec<u8>> {
    /// On the wire the same as `FileDescriptorSet`, whose Rust type would drop the options.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Files {
        #[prost(bytes = "vec", repeated, tag = "1")]
        file: Vec<Vec<u8>>,
    }

    fn add(file: &FileDescriptor, seen: &mut Vec<FileDescriptor>) {
        if !seen.contains(file) {
            file.dependencies()
                .for_each(|dependency| add(&dependency, seen));
            seen.push(file.clone());
        }
    }

    let mut ordered = Vec::new();
    files.for_each(|file| add(file, &mut ordered));
    let message = FileDescriptorProto::default().descriptor();
    let encode = |file: &FileDescriptor| {
        let mut file = DynamicMessage::decode(message.clone(), file.encode_to_vec().as_slice())?;
        file.clear_field_by_name("source_code_info");
        Ok(prost::Message::encode_to_vec(&file))
    };
    let files = Files {
        file: ordered.iter().map(encode).collect::<Result<_>>()?,
    };
    Ok(prost::Message::encode_to_vec(&files))
}

/// One nested module per word of each package, with the package's file in the innermost.
fn modules<'a>(packages: impl Iterator<Item = &'a String>) -> String {
    #[derive(Default)]
    struct Tree {
        package: Option<String>,
        modules: BTreeMap<String, Tree>,
    }

    impl Tree {
        fn write(&self, code: &mut String) {
            if let Some(package) = &self.package {
                let _ = writeln!(
                    code,
                    r#"include!(concat!(env!("OUT_DIR"), "/{package}.rs"));"#
                );
            }
            for (name, module) in &self.modules {
                let _ = writeln!(
                    code,
                    "#[allow(missing_docs)]\npub mod {} {{",
                    names::module(name)
                );
                module.write(code);
                code.push_str("}\n");
            }
        }
    }

    let mut root = Tree::default();
    for package in packages {
        let innermost = package.split('.').fold(&mut root, |tree, word| {
            tree.modules.entry(word.to_owned()).or_default()
        });
        innermost.package = Some(package.clone());
    }
    let mut code = String::new();
    root.write(&mut code);
    code
}

/// Leaves an unchanged file alone, so that nothing is rebuilt for it.
fn write(out_dir: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = out_dir.join(name);
    if fs::read(&path).is_ok_and(|before| before == content) {
        return Ok(());
    }
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
}
