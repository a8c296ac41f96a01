"""Prints the bill of materials of a service as CycloneDX: the crates that are linked into its image, by Cargo.lock.

sbom.py catalog [target]
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = "x86_64-unknown-linux-musl"
LINE = re.compile(r"(?P<name>\S+) v(?P<version>\S+)(?: \((?P<source>[^)]*)\))*\|(?P<licence>.*)")


def crates(service, target):
    """Name, version and licence of all that is linked; the service itself is the first."""
    tree = subprocess.run(
        # What runs at build time only is not in the image.
        ["cargo", "tree", "--locked", "--package", service, "--edges", "normal,no-proc-macro", "--target", target]
        + ["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seen = dict.fromkeys(tree.stdout.splitlines())
    return list(dict.fromkeys((line["name"], line["version"], line["licence"]) for line in map(LINE.fullmatch, seen)))


def component(crate, checksums):
    name, version, licence = crate
    purl = f"pkg:cargo/{name}@{version}"
    found = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if licence:
        # An older way to write OR.
        found["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", licence)}]
    if checksum := checksums.get((name, version)):
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return found


def bill(service, target=TARGET):
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    checksums = {(one["name"], one["version"]): one.get("checksum") for one in lock["package"]}
    itself, *others = [component(crate, checksums) for crate in crates(service, target)]
    content = {
        "metadata": {"component": itself | {"type": "application"}},
        "components": sorted(others, key=lambda one: one["bom-ref"]),
    }
    # The same number for the same crates.
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content)).urn
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": number, "version": 1} | content


if __name__ == "__main__":
    json.dump(bill(*sys.argv[1:]), sys.stdout, indent=1)
