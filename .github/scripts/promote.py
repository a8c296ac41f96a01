"""Writes which images an environment runs: one file of charts/digests/<environment>/ per service, which Argo CD follows.

    promote.py dev catalog=sha256:... identity=sha256:...   what was just built
    promote.py staging catalog identity                     what dev runs; without names, all services
    promote.py production catalog                           what staging runs
    promote.py preview catalog=sha256:...                   what previews of pull requests run

Nothing is written unless everything is in order. Prints the files that have changed.
"""

import argparse
import pathlib
import re
import sys

# Where each takes its digests from; without one, from what is built.
ENVIRONMENTS = {"preview": None, "dev": None, "staging": "dev", "production": "staging"}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Refused(Exception):
    """Why nothing was written."""


def file(root, environment, service):
    return root / "charts" / "digests" / environment / f"{service}.yaml"


def content(digest):
    return f'image:\n  digest: "{digest}"\n'


def services(root):
    return sorted(path.stem for path in (root / "charts" / "values").glob("*.yaml"))


def running(root, environment, service):
    """The digest that an environment runs."""
    path = file(root, environment, service)
    found = DIGEST.findall(path.read_text(encoding="utf-8")) if path.exists() else []
    if len(found) != 1:
        raise Refused(f"{environment} has no digest of {service}")
    return found[0]


def wanted(root, environment, arguments):
    """The digest of each service that is to be promoted."""
    known, before = services(root), ENVIRONMENTS[environment]
    if not before and not arguments:
        raise Refused(f"{environment} takes what is built: name services with their digests")
    digests = {}
    for argument in arguments or known:
        service, given, digest = argument.partition("=")
        if service not in known:
            raise Refused(f"there is no service {service!r} in charts/values")
        if service in digests:
            raise Refused(f"{service} is named twice")
        if bool(before) == bool(given):
            raise Refused(f"{environment} takes {f'what {before} runs' if before else 'digests'}, not {argument!r}")
        digests[service] = running(root, before, service) if before else digest
        if not DIGEST.fullmatch(digests[service]):
            raise Refused(f"{digests[service]!r} of {service} is no digest")
    return digests


def promote(root, environment, arguments):
    """Writes the files; answers those that have changed, relative to the root."""
    changed = []
    for service, digest in wanted(root, environment, arguments).items():
        path = file(root, environment, service)
        if not path.exists() or running(root, environment, service) != digest:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content(digest), encoding="utf-8")
            changed.append(path.relative_to(root))
    return changed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("environment", choices=ENVIRONMENTS)
    parser.add_argument("services", nargs="*", metavar="SERVICE[=DIGEST]")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    arguments = parser.parse_args()
    try:
        for path in promote(arguments.root, arguments.environment, arguments.services):
            print(path)
    except Refused as why:
        sys.exit(f"promote: {why}")


if __name__ == "__main__":
    main()
