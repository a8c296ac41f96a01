//! Writes the image of a service without a container engine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};

use crate::{
    checkout::Checkout,
    image::{self, archive, build, layout::Image},
    progress::answer,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    service: String,
    /// Where the archive goes [default: .homeward/images/<SERVICE>.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Builds twice from nothing, and fails unless both are the same image.
    #[arg(long)]
    check: bool,
    /// Writes the files of the image into a folder instead, for a Containerfile.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["output", "check"])]
    files: Option<PathBuf>,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let services = checkout.services()?;
    let service = &args.service;
    if !services.contains(service) {
        bail!(
            "no service is called {service}; there are {}",
            services.join(", ")
        );
    }
    if let Some(folder) = &args.files {
        let programs = build::programs(checkout, &services, None)?;
        archive::unpack(&image::files(&programs, service)?, folder)
            .with_context(|| format!("cannot write into {}", folder.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let image = if args.check {
        same_twice(checkout, &services, service)?
    } else {
        let programs = build::programs(checkout, &services, None)?;
        image::of(&programs, service)?
    };
    let output = args.output.clone().unwrap_or_else(|| {
        checkout
            .root
            .join(".homeward/images")
            .join(format!("{service}.tar"))
    });
    write(&output, &image.archive)?;
    answer(&format!(
        "{service}@{}\n{} MB, {} MB unpacked: {}",
        image.digest,
        image::mb(image.compressed),
        image::mb(image.unpacked),
        output.display()
    ));
    image::judge(service, &image)?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Each time in a new folder of another name, so that no path is in what comes out.
fn same_twice(checkout: &Checkout, services: &[String], service: &str) -> anyhow::Result<Image> {
    let clean = |name: &str| {
        let folder = checkout.root.join(".homeward").join(name);
        let remove = || match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        remove()?;
        let image = build::programs(checkout, services, Some(&folder))
            .and_then(|programs| image::of(&programs, service));
        remove()?;
        image
    };
    let (first, second) = (clean("image-1")?, clean("image-twice")?);
    if first.archive != second.archive {
        bail!(
            "two builds of {service} differ: {} and {}",
            first.digest,
            second.digest
        );
    }
    eprintln!("two builds of {service} from nothing are the same image");
    Ok(second)
}
