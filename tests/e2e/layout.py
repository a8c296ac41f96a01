"""What docs/architecture.md says of folders, dependencies and databases, which no compiler looks after."""

import re
import subprocess
import tomllib
import urllib.parse

from scratch import ROOT
from stack import status

SQL = re.compile(r"\b(?:query(?:_as|_scalar)?!?\s*\(|QueryBuilder)|\"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH)\b")
TRANSPORT = re.compile(r"\b(?:tonic|prost|api)::")


def own_sources(crate):
    """What runs, without tests."""
    for path in sorted((crate / "src").rglob("*.rs")):
        if "tests" not in path.relative_to(crate).parts and path.name != "tests.rs":
            yield path, path.read_text(encoding="utf-8").split("#[cfg(test)]")[0]


def dependencies(crate):
    return set(tomllib.loads((crate / "Cargo.toml").read_text(encoding="utf-8")).get("dependencies", {}))


def crates(folder):
    return [path.parent for path in sorted((ROOT / folder).glob("*/Cargo.toml"))]


def folders():
    """Yields what is not as it is said to be."""
    services = {crate.name for crate in crates("services")}
    for crate in [*crates("services"), ROOT / "bff"]:
        for other in dependencies(crate) & (services - {crate.name} | {"bff"}):
            yield f"{crate.name} depends on {other}: services know contracts only"
    for crate in crates("crates"):
        for other in dependencies(crate) & (services | {"bff", "api"}):
            yield f"{crate.name} depends on {other}: shared crates know no product"
    if dependencies(ROOT / "bff") & {"sqlx", "platform-db"}:
        yield "the BFF owns no tables"
    for crate in crates("services"):
        for path, text in own_sources(crate):
            name = path.relative_to(ROOT)
            inside = path.relative_to(crate / "src").parts
            if inside[0] in ("domain.rs", "domain") and TRANSPORT.search(text):
                yield f"{name} knows a transport"
            if not inside[0].startswith("store") and SQL.search(text):
                yield f"{name} has SQL, which belongs into the store"


def databases():
    """Yields who may connect where they must not."""
    stack = urllib.parse.urlsplit(status()["postgres"])
    services = sorted({one["name"] for one in status()["services"]})
    secrets = ROOT / ".homeward" / str(stack.port - 20) / "secrets"
    urls = {name: secrets / f"{name}.database-url" for name in services}
    urls = {name: urllib.parse.urlsplit(path.read_text()) for name, path in urls.items() if path.exists()}
    assert len(urls) > 1, urls
    for name, url in urls.items():
        for database in urls:
            there = url._replace(path=f"/{database}").geturl()
            asked = subprocess.run(["psql", there, "--no-psqlrc", "-qAtc", "SELECT 1"], capture_output=True, text=True)
            if (asked.returncode == 0) != (database == name):
                yield f"{name} at the database of {database}: {asked.stdout}{asked.stderr}"


def main():
    wrong = [*folders(), *databases()]
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    main()
