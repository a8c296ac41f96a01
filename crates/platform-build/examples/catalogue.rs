//! Writes what a folder of protos says for readers: `catalogue BRAND PROTOS EVENTS.yaml ERRORS.md`.

use std::error::Error;
use std::{env, fs};

use platform_build::Contracts;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [brand, protos, events, errors] = &arguments[..] else {
        return Err("usage: catalogue BRAND PROTOS EVENTS.yaml ERRORS.md".into());
    };
    let contracts = Contracts::new(brand).root(protos);
    // Both or none: neither is written before both are made.
    let (events_text, errors_text) = (contracts.asyncapi()?, contracts.errors()?);
    fs::write(events, events_text)?;
    fs::write(errors, errors_text)?;
    Ok(())
}
