"""Somebody else's workspace builds on `crates/` beside ours: no crate from outside is compiled again, its tests pass."""

import json
import os
import shutil
import subprocess

from scratch import ROOT
from stack import status

ACME = ROOT / "examples/acme"


# Built for this run alone, these need not be fast; crates from outside must be as in our own build.
QUICK = [
    option
    for package in sorted(path.name for path in (ROOT / "crates").iterdir()) + ["acme-api", "orders"]
    if package not in ("platform-cache", "platform-graphql")
    for option in ("--config", f"profile.dev.package.{package}.opt-level=0")
]


def cargo(*arguments, **options):
    return subprocess.run(["cargo", *QUICK, *arguments], cwd=ACME, check=True, **options)


def target():
    """The folder that our own workspace is built into."""
    about = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--offline", "--format-version=1"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(about.stdout)["target_directory"]


def packages(lock):
    """Name, version and checksum of what a lock file has from outside."""
    entries = lock.read_text(encoding="utf-8").split("[[package]]")[1:]
    return {
        tuple(line for line in entry.splitlines() if line.startswith(("name", "version", "checksum")))
        for entry in entries
        if "checksum" in entry
    }


def main():
    # As the README says; derived anew, since ours may have changed.
    shutil.copy(ROOT / "Cargo.lock", ACME / "Cargo.lock")
    stack = status()
    environment = os.environ | {
        "CARGO_TARGET_DIR": target(),
        "TEST_DATABASE_URL": stack["postgres"],
        "TEST_KAFKA_BROKERS": stack["kafka"],
    }
    build = cargo(
        "test",
        "--workspace",
        "--no-run",
        "--offline",
        "--message-format=json-render-diagnostics",
        env=environment,
        stdout=subprocess.PIPE,
    )
    messages = [json.loads(line) for line in build.stdout.splitlines()]
    built = [message for message in messages if message["reason"] == "compiler-artifact"]
    outside = [message for message in built if message["package_id"].startswith("registry+")]
    assert len(outside) > 200, f"only {len(outside)} crates from outside were looked at"
    again = sorted({message["package_id"].split("#")[1] for message in outside if not message["fresh"]})
    assert not again, f"compiled again: {again}"
    assert packages(ACME / "Cargo.lock") <= packages(ROOT / "Cargo.lock"), "something else was locked"

    cargo("test", "--workspace", "--offline", env=environment)
    subprocess.run(["cargo", "fmt", "--check", "-p", "acme-api", "-p", "orders"], cwd=ACME, check=True)
    print(f"  {len(outside)} crates from outside are those of the platform's own build", flush=True)


if __name__ == "__main__":
    main()
