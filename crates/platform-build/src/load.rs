//! From a folder of protos to descriptors that keep their options.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use prost_reflect::{
    DescriptorPool, EnumDescriptor, FileDescriptor, MessageDescriptor, ServiceDescriptor,
};
use protox::Compiler;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

use crate::options::Options;

/// The protos that this crate carries, by the name that imports use.
pub(crate) const CARRIED: [(&str, &str); 2] = [
    (
        "homeward/options/v1/options.proto",
        include_str!("../proto/homeward/options/v1/options.proto"),
    ),
    (
        "homeward/options/v1/reasons.proto",
        include_str!("../proto/homeward/options/v1/reasons.proto"),
    ),
];

/// Compiled contracts, not yet checked.
pub(crate) struct Loaded {
    pub(crate) brand: String,
    /// The folder of the company's protos, absolute.
    pub(crate) root: PathBuf,
    pub(crate) pool: DescriptorPool,
    /// The company's own files; imports stand in the pool only.
    pub(crate) files: Vec<FileDescriptor>,
    pub(crate) options: Options,
}

impl Loaded {
    /// All messages of the company, nested ones too, without the entries of maps.
    pub(crate) fn messages(&self) -> impl Iterator<Item = MessageDescriptor> + '_ {
        let own = |message: &MessageDescriptor| self.owns(&message.parent_file());
        self.pool
            .all_messages()
            .filter(move |m| own(m) && !m.is_map_entry())
    }

    pub(crate) fn enums(&self) -> impl Iterator<Item = EnumDescriptor> + '_ {
        self.pool
            .all_enums()
            .filter(|e| self.owns(&e.parent_file()))
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = ServiceDescriptor> + '_ {
        self.files
            .iter()
            .flat_map(|file| file.services().collect::<Vec<_>>())
    }

    pub(crate) fn owns(&self, file: &FileDescriptor) -> bool {
        self.files.contains(file)
    }

    /// The reasons that the platform itself answers: every service, and the GraphQL endpoint.
    pub(crate) fn platform_reasons(&self) -> [EnumDescriptor; 2] {
        ["PlatformReason", "RequestReason"].map(|name| {
            self.pool
                .get_enum_by_name(&format!("homeward.options.v1.{name}"))
                .expect("reasons.proto is carried in this crate and compiled first")
        })
    }
}

/// Compiles every proto below `root`, with the platform's options on the include path.
pub(crate) fn load(brand: &str, root: &Path) -> Result<Loaded> {
    let root = root
        .canonicalize()
        .with_context(|| format!("no folder of protos at {}", root.display()))?;
    let mut names = Vec::new();
    find(&root, &root, &mut names)?;
    if names.is_empty() {
        bail!("no .proto file below {}", root.display());
    }
    names.sort();
    compile(brand, root, &names)
}

/// The platform's own protos alone.
pub(crate) fn platform() -> Result<Loaded> {
    compile("homeward", PathBuf::new(), &[])
}

fn compile(brand: &str, root: PathBuf, names: &[String]) -> Result<Loaded> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Carried);
    resolver.add(IncludeFileResolver::new(root.clone()));
    resolver.add(GoogleFileResolver::new());

    // Not `protox::compile`: it drops extension options, and every check would pass.
    let mut compiler = Compiler::with_file_resolver(resolver);
    let carried = CARRIED.iter().map(|(name, _)| *name);
    for name in carried.chain(names.iter().map(String::as_str)) {
        // Debug, since that form names file, line and column.
        compiler
            .open_file(name)
            .map_err(|error| anyhow!("{}/{error:?}", root.display()))?;
    }
    let encoded = compiler
        .include_imports(true)
        .include_source_info(true)
        .encode_file_descriptor_set();
    let pool =
        DescriptorPool::decode(encoded.as_slice()).context("compiled protos do not decode")?;

    let files = names
        .iter()
        .filter_map(|name| pool.get_file_by_name(name))
        .collect();
    let options = Options::of(&pool)?;
    Ok(Loaded {
        brand: brand.to_owned(),
        root,
        pool,
        files,
        options,
    })
}

fn find(root: &Path, folder: &Path, names: &mut Vec<String>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find(root, &path, names)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            let name = path.strip_prefix(root)?;
            let name = name
                .to_str()
                .with_context(|| format!("{} is not UTF-8", path.display()))?;
            names.push(name.replace('\\', "/"));
        }
    }
    Ok(())
}

/// Finds the carried protos, so that they need no place on disk.
struct Carried;

impl FileResolver for Carried {
    fn open_file(&self, name: &str) -> std::result::Result<File, protox::Error> {
        let carried = CARRIED.iter().find(|(carried, _)| *carried == name);
        let (_, source) = carried.ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, source)
    }
}
