"""h2spec, a suite for HTTP/2 by others, against the gRPC server and a BFF: what fails is what `h2spec.tsv` lists."""

import csv
import subprocess
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree

import go
from live_programs import one_more
from stack import status

LISTED = go.HERE / "h2spec.tsv"
CASES = 146
# A case that is about a stream in use says nothing when the answer is complete before the offence. It is run again.
TRIES = 20


def run(target, case=None):
    """Runs one case, or all; answers by case what is wrong, or nothing."""
    url = urllib.parse.urlsplit(target)
    command = [go.program("h2spec"), "--strict", "--host", url.hostname, "--port", str(url.port)]
    with tempfile.NamedTemporaryFile(prefix="h2spec-", suffix=".xml") as report:
        told = subprocess.run(
            [*command, "--junit-report", report.name, *filter(None, [case])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        text = report.read()
    assert text, told.stdout[-2000:]
    results = {}
    for suite in xml.etree.ElementTree.fromstring(text).iter("testsuite"):
        for number, one in enumerate(suite, 1):
            # The report does not count those that were not asked for.
            name = case or f"{suite.get('package')}/{number}"
            results[name] = " ".join([part.tag for part in one] + "".join(one.itertext()).split())
    return results


def judge(target, listed):
    """Every case; answers how many passed, but not at once."""
    results = run(target)
    assert len(results) == CASES, f"{len(results)} cases"
    first = wrong = {case: why for case, why in results.items() if why}
    for _ in range(TRIES):
        wrong = {case: why for case in wrong if (why := run(target, case)[case])}
        if wrong.keys() == listed:
            break
    new = {case: why for case, why in wrong.items() if case not in listed}
    assert not new, f"{target}: {new}"
    assert wrong.keys() == listed, f"{target}: listed, and passed: {listed - wrong.keys()}"
    return len(first) - len(wrong)


def main():
    with open(LISTED, encoding="utf-8") as table:
        listed = list(csv.DictReader(table, delimiter="\t"))
    assert all(line["cause"] for line in listed)
    with one_more("catalog", program="interop", LOG_LEVEL="warn") as variables:
        targets = {"grpc": f"http://{variables['LISTEN_GRPC']}", "bff": status()["graphql"][0]}
        assert {line["target"] for line in listed} <= set(targets)
        for name, target in targets.items():
            began = time.monotonic()
            own = {line["case"] for line in listed if line["target"] == name}
            again = judge(target, own)
            print(
                f"  {name}: {CASES - len(own)} of {CASES} pass, {again} of them not at once, {len(own)} listed; "
                f"{time.monotonic() - began:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
