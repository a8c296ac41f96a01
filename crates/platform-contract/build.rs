//! Writes the platform's own error reasons.

fn main() -> platform_build::Result {
    platform_build::platform_reasons()
}
