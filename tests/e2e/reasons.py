"""Every reason of docs/errors.md is provoked from outside, and comes with the code and the advice that the list gives."""

import argparse
import re
import tempfile
import time

import provoking_edge  # noqa: F401 (each says what it provokes)
import provoking_identity  # noqa: F401
import provoking_services  # noqa: F401
from provoking import PROVOKED, World
from scratch import ROOT

# As in the list: `| `WORD` | CODE | helps | cause | remedy |`.
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (helps|does not help) \|", re.MULTILINE)
# Whose reasons are provoked here. Every other service, as `homeward new service` makes them, does that in its own tests.
HERE = {"catalog", "identity", "recommendations"}


def listed():
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    rows = {word: (code, repeat == "helps") for word, code, repeat in ROW.findall(text)}
    assert len(rows) > 40 and len(rows) == text.count("\n| `"), "the list is not understood"
    return rows


def elsewhere():
    """The words that the tests of other services expect of their RPCs."""
    tests = [path for path in ROOT.glob("services/*/src/tests/*.rs") if path.parts[-4] not in HERE]
    return {word for path in tests for word in re.findall(r'"([A-Z_]+)"', path.read_text(encoding="utf-8"))}


def wrong(reason, due, said, http):
    """What does not agree with the list, or None."""
    code, retryable = due
    if said is None or said.reason != reason:
        return f"it is {said}"
    if said.code != code:
        return f"its code is {said.code}, not {code}"
    if said.retryable != retryable:
        return f"a repeat helps: {said.retryable}, not {retryable}"
    return f"HTTP {said.http}, not {http}" if http and said.http != http else None


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", help="the reasons whose words contain this")
    only = arguments.parse_args().only or ""
    rows = listed()
    missing = set(rows) - set(PROVOKED) - elsewhere()
    assert not missing, f"nothing provokes {', '.join(sorted(missing))}"
    unknown = set(PROVOKED) - set(rows)
    assert not unknown, f"not in the list: {', '.join(sorted(unknown))}"

    failed = []
    with tempfile.TemporaryDirectory() as stubs:
        world = World(stubs)
        with world.channels:
            for reason, (provoke, http) in PROVOKED.items():
                if only not in reason:
                    continue
                began = time.monotonic()
                try:
                    trouble = wrong(reason, rows[reason], provoke(world), http)
                except Exception as broken:  # told with the others at the end
                    trouble = repr(broken)
                if trouble:
                    failed.append(f"{reason}: {trouble}")
                seconds = time.monotonic() - began
                if trouble or seconds > 2:
                    print(f"  {reason}: {trouble or 'as listed'}, {seconds:.1f} s", flush=True)
    assert not failed, "\n".join(failed)
    print(f"  {len(PROVOKED)} reasons are provoked and as listed")


if __name__ == "__main__":
    main()
