//! Writes what a folder of protos says for readers and for a cluster:
//! `catalogue BRAND PROTOS EVENTS.yaml ERRORS.md TOPICS.yaml CONTRACTS`.
//!
//! `CONTRACTS` is a folder with a file of values for the chart of each service. One that is there
//! and has no contract, since it only calls others, stays and is brought up to date.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use platform_build::Contracts;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [brand, protos, events, errors, topics, charts] = &arguments[..] else {
        return Err(
            "usage: catalogue BRAND PROTOS EVENTS.yaml ERRORS.md TOPICS.yaml CONTRACTS".into(),
        );
    };
    let contracts = Contracts::new(brand).root(protos);
    // All or none: nothing is written before all is made.
    let mut files = vec![
        (events.into(), contracts.asyncapi()?),
        (errors.into(), contracts.errors()?),
        (topics.into(), contracts.topics()?),
    ];
    let charts = Path::new(charts);
    for (service, values) in contracts.charts(&services(charts)?)? {
        files.push((charts.join(format!("{service}.yaml")), values));
    }
    for (path, text) in files {
        fs::write(path, text)?;
    }
    Ok(())
}

/// Those that have a file already.
fn services(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut services = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(stem) = path.file_stem() {
            services.push(stem.to_string_lossy().into_owned());
        }
    }
    Ok(services)
}
