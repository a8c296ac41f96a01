//! Checks the contracts in `proto/` and turns them into this crate.

fn main() -> platform_build::Result {
    platform_build::Contracts::new("homeward")
        .root("../proto")
        .generate()
}
