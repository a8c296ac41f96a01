"""Runs the commands of the docs against the stack, and compares what they print with what the docs say.

A block `sh` is run, all of a page in one shell, and fails the test when a command does; the block `text` right after it
is what it prints, where `...` stands for anything. `sh setup` begins or ends the stack itself: that is run elsewhere.
A block `graphql` must be valid. What the pages name must exist: metrics, tests, files.
"""

import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time

from scratch import ROOT
from stack import Client, new_id, status

PAGES = ["README.md", "docs/tutorial.md", "docs/operations.md"]
# Commands of the blocks that are not run here, and what runs them.
SETUP = {
    "git clone": "everybody who reads this",
    "cd": "everybody who reads this",
    "./homeward up": "the stack of this run, and tests/e2e/up.py",
    "./homeward down": "tests/e2e/story.py and tests/e2e/up.py",
    "./homeward test": "this run",
    "./homeward bench": "people, as it builds a release",
}
# For people, in no need of a test.
PLAIN = {"json", "graphql", "text"}
SECONDS_MAX = 120


def blocks(text):
    """The fenced blocks of a page: line, mark, content, and whether nothing but blank lines stands before it."""
    found, inside, blank = [], None, True
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if inside is None:
                inside = number, line[3:].strip(), [], blank
            else:
                found.append((*inside[:2], "\n".join(inside[2]), inside[3]))
                inside, blank = None, True
        elif inside is not None:
            inside[2].append(line)
        elif line.strip():
            blank = False
    assert inside is None, "a block without an end"
    return found


class Shell:
    """One shell, in the root of the checkout."""

    MARK = "-- that was the block --"

    def __init__(self):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eu", "-o", "pipefail"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()

    def run(self, commands):
        """What the commands print; fails when one of them does."""
        # In braces, so that they cannot read what follows here, and variables stay.
        text = f"{{\n{commands}\n}} </dev/null\nprintf '%s\\n' '{self.MARK}'\n"
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()
        printed, end = b"", time.monotonic() + SECONDS_MAX
        while not printed.endswith(f"{self.MARK}\n".encode()):
            assert time.monotonic() < end, f"no end within {SECONDS_MAX} s: {printed.decode()}"
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                some = os.read(self.process.stdout.fileno(), 1 << 16)
                assert some, f"a command failed: {printed.decode()}{self.complaint()}"
                printed += some
        return printed.decode()[: -len(self.MARK) - 1]

    def complaint(self):
        self.process.wait()
        self.errors.seek(0)
        return self.errors.read()[-2000:]


def matches(expected, printed):
    """Whether that was printed, with `...` for anything, and alone in a line for any lines or none."""
    pattern = ""
    for line in expected.strip().splitlines():
        pattern += r"(?:.*\n)?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*?") + "\n"
    return re.fullmatch(pattern, printed.strip() + "\n", re.DOTALL)


def localised(text, run):
    """As it is for the stack of this run, with people who are new to it."""
    base = int(os.environ["HOMEWARD_PORT_BASE"])
    text = re.sub(r"(?<!\d)46(\d\d)(?!\d)", lambda found: str(base + int(found[1])), text)
    text = re.sub(r"([a-z]+)@example\.com", rf"\1-{run}@example.com", text)
    return text.replace("./homeward", os.environ["HOMEWARD_CLI"])


def run_page(page, text, run):
    """Runs a page from top to bottom; answers how many blocks were run."""
    count, printed = 0, None
    with Shell() as shell:
        for line, mark, content, follows in blocks(text):
            where = f"{page}:{line}"
            if mark == "sh":
                began = time.monotonic()
                try:
                    printed = shell.run(localised(content, run))
                except AssertionError as failed:
                    raise AssertionError(f"{where}: {failed}") from None
                count += 1
                if time.monotonic() - began > 3:
                    print(f"  {where}: {time.monotonic() - began:.1f} s", flush=True)
                continue
            if mark == "text":
                assert follows and printed is not None, f"{where}: the output of no command"
                expected = localised(content, run)
                assert matches(expected, printed), f"{where}: {expected!r} is not what is printed: {printed}"
            elif mark == "sh setup":
                for command in filter(None, (command.split("#")[0].strip() for command in content.splitlines())):
                    assert any(command.startswith(known) for known in SETUP), f"{where}: nothing runs {command!r}"
            elif mark == "graphql":
                valid(where, content)
            else:
                assert mark in PLAIN, f"{where}: a block that is marked {mark!r}"
            printed = None
    return count


def valid(where, document):
    """The endpoint knows everything in the document; it is not executed."""
    # Nobody has an operation of this name, and that is what is looked at last.
    client = Client(status()["graphql"])
    code, _, content = client.send(json.dumps({"query": document, "operationName": "OfNobody"}))
    (error,) = json.loads(content)["errors"]
    reason = error["extensions"]["reason"]
    assert reason == "GRAPHQL_OPERATION_UNKNOWN", f"{where}: {error['message']}"


def pages():
    """Every Markdown file of the project, by its path."""
    paths = [
        path
        for path in ROOT.glob("**/*.md")
        if not {"target", "node_modules", "templates", ".homeward"} & set(path.parts)
    ]
    return {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in paths}


def sources(*kinds):
    """The text of all source files of these kinds."""
    folders = ["api", "bench", "bff", "cli", "crates", "services", "tests", "examples"]
    paths = [path for folder in folders for kind in kinds for path in (ROOT / folder).glob(f"**/*.{kind}")]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths if "node_modules" not in path.parts)


def unknown_names():
    """What the pages name and nobody has: tests, metrics, scripts, files that are linked to."""
    rust = sources("rs")
    literals = set(re.findall(r'"([a-z0-9_]+)"', rust))
    # Figures for scalers are made of metrics.
    adapter = (ROOT / "k8s/cluster/adapter/config.yaml").read_text(encoding="utf-8")
    literals |= set(re.findall(r"\bas: ([a-z_]+)", adapter))
    # Labels of metrics are fields.
    known = set(re.findall(r"\bfn ([a-z0-9_]+)|\b([a-z0-9_]+): ", rust))
    known = {name for pair in known for name in pair}
    for path, text in pages().items():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for name in re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`", prose):
            # A name that is a sentence is that of a test.
            stem = re.sub(r"_(total|bytes|seconds(_count)?)$", "", name)
            if name not in known and stem not in literals:
                yield f"{path}: there is no test {name}"
        for link in re.findall(r"\]\(([^)#\s]+)", prose):
            if "://" not in link and not (ROOT / path.parent / link).exists():
                yield f"{path}: the link {link} leads nowhere"
        for script in re.findall(r"`(tests/e2e/[\w./]+)`", prose):
            if not (ROOT / script).exists():
                yield f"{path}: there is no {script}"
    runbook = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\./homeward metrics ([a-z_]+)", runbook, re.MULTILINE)
    metrics = re.findall(r"`([a-z]+(?:_[a-z]+)+)(?:\{[^`]*\})?`", runbook) + commands
    assert len(metrics) > 10, "the runbook names hardly a metric"
    for name in metrics:
        stem = re.sub(r"(_(total|seconds|bytes|count|sum|bucket))+$", "", name)
        if not any(literal.startswith(stem) if name in commands else literal == stem for literal in literals):
            yield f"docs/operations.md: there is no metric {name}"


def main():
    wrong = list(unknown_names())
    assert not wrong, "\n".join(wrong)
    run = new_id()[:8]
    for page in sys.argv[1:] or PAGES:
        count = run_page(page, (ROOT / page).read_text(encoding="utf-8"), run)
        assert count, f"{page} has no command"
        print(f"  {page}: {count} blocks do what they say", flush=True)
    for command, by in SETUP.items():
        print(f"  {command}: run by {by}", flush=True)


if __name__ == "__main__":
    main()
