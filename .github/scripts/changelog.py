"""Prints what CHANGELOG.md says of a version: `changelog.py v0.1.0`. A release without a word about it is refused."""

import pathlib
import re
import sys

CHANGELOG = pathlib.Path(__file__).resolve().parents[2] / "CHANGELOG.md"


def section(text, tag):
    """What stands between the heading of the version and the next one."""
    version = re.escape(tag.removeprefix("v"))
    found = re.search(rf"^## \[{version}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## \[|\Z)", text, re.DOTALL | re.MULTILINE)
    return found[1].strip() if found else ""


def main():
    tag, *file = sys.argv[1:]
    said = section(pathlib.Path(*file or [CHANGELOG]).read_text(encoding="utf-8"), tag)
    if not said:
        sys.exit(f"changelog: there is no section `## [{tag.removeprefix('v')}] - <date>`, or nothing is in it")
    print(said)


if __name__ == "__main__":
    main()
