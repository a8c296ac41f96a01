//! Checks Acme's contracts and turns them into this crate.

fn main() -> platform_build::Result {
    platform_build::Contracts::new("acme")
        .root("../proto")
        .generate()
}
