//! How large what is shipped is.

use std::{fmt::Write as _, fs, process::ExitCode};

use super::release;
use crate::{
    checkout::Checkout,
    image::{self, layout, mb},
    progress::answer,
};

const HEAD: &str = "| | program, MB | compressed, MB | image, MB | compressed, MB |\n\
                    | --- | ---: | ---: | ---: | ---: |\n";

/// Fails when one is larger than may be.
pub(super) fn run(checkout: &Checkout) -> anyhow::Result<ExitCode> {
    let programs = release(checkout, &[])?;
    let mut table = HEAD.to_owned();
    let mut images = Vec::new();
    for service in checkout.services()? {
        let program = fs::read(programs.join(&service))?;
        let compressed = layout::gzip(&program)?.len();
        let image = image::of(&programs, &service)?;
        let sizes = [program.len(), compressed, image.unpacked, image.compressed].map(mb);
        let _ = writeln!(table, "| {service} | {} |", sizes.join(" | "));
        images.push((service, image));
    }
    answer(&table);
    for (service, image) in &images {
        image::judge(service, image)?;
    }
    Ok(ExitCode::SUCCESS)
}
