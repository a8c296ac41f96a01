"""No linter has a finding in anything that is rendered, and each has one in what is planted for it.

What a linter is wrong about stands with its reason in exceptions.tsv: at most five rules, and none that excuses
nothing.
"""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import render
import schemas
from tools import HERE, ROOT, tool

sys.path.append(str(ROOT / "tests/e2e"))
import go  # noqa: E402  (beside the end-to-end tests)

EXCEPTIONS_MAX = 5


def run(*command, **variables):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, env=os.environ | variables)


def below(folder, path):
    return pathlib.Path(path).relative_to(folder)


def helm_lint(files, *options):
    given = [part for path in files for part in ("--values", str(path))]
    answer = run(tool("helm"), "lint", "--strict", render.CHART, "--kube-version", render.KUBERNETES, *given, *options)
    return [("lint", "", answer.stdout + answer.stderr)] if answer.returncode else []


class Helm:
    """helm lint, with the values of each service in each environment."""

    name = "helm"

    def findings(self, _):
        return [
            (rule, f"{service} {environment}", text)
            for environment in render.environments()
            for service in render.services()
            for rule, _, text in helm_lint(render.values(service, environment))
        ]

    def planted(self, _):
        return helm_lint(render.values(render.services()[0], "dev"), "--set", "replicaz=3")


class Unittest:
    """The suites of the chart."""

    name = "helm-unittest"

    def findings(self, _, chart=render.CHART):
        answer = run(tool("helm-unittest"), "--strict", chart)
        return [("suite", "", answer.stdout + answer.stderr)] if answer.returncode else []

    def planted(self, folder):
        """A rollout that takes a pod away before there is another."""
        chart = folder / "service"
        shutil.copytree(render.CHART, chart)
        template = chart / "templates/deployment.yaml"
        text = template.read_text()
        assert "maxUnavailable: 0" in text
        template.write_text(text.replace("maxUnavailable: 0", "maxUnavailable: 1"))
        return self.findings(None, chart)


class Kubeconform:
    """Every field exists and has the type that it must have."""

    name = "kubeconform"
    # One for what Kubernetes knows, one for what only a definition does.
    plants = (("progressDeadlineSeconds:", "progressDeadlineSecond:"), ("accessPolicy:", "accessPolice:"))

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.arguments = schemas.write(pathlib.Path(self.folder.name))

    def findings(self, folder):
        answer = run(tool("kubeconform"), *self.arguments, "-output", "json", "-summary", folder)
        report = json.loads(answer.stdout or '{"resources": []}')
        assert answer.returncode == 0 or report["resources"], answer.stderr
        assert report["summary"]["skipped"] == 0, "something was skipped"
        assert report["summary"]["valid"] > 0 or report["resources"], "there is nothing to look at"
        return [
            (one["status"], f"{below(folder, one['filename'])} {one['kind']}/{one['name']}", one["msg"])
            for one in report["resources"]
        ]

    def planted(self, folder):
        found = []
        for right, wrong in self.plants:
            text = render.service("catalog", "production")
            assert right in text, f"the chart has no {right} any more"
            (folder / "planted.yaml").write_text(text.replace(right, wrong))
            found.append(self.findings(folder))
        return found[0] + found[1] if all(found) else []


class KubeScore:
    """What experience says of objects that are valid."""

    name = "kube-score"
    OK = 10

    def findings(self, folder):
        found = []
        # Together, since policies and budgets are looked up by what they select.
        for environment in sorted(path for path in folder.iterdir()):
            answer = run(
                *[tool("kube-score"), "score", "--output-format", "json", "--output-version", "v2"],
                *["--kubernetes-version", f"v{render.KUBERNETES.rsplit('.', 1)[0]}"],
                # It knows no ScaledObject, and would miss the autoscaler that KEDA makes of it.
                *sorted(path for path in environment.glob("*.yaml") if "keda" not in path.name),
            )
            assert answer.stdout.strip(), answer.stderr
            for one in json.loads(answer.stdout) or []:
                for check in one["checks"] or []:
                    if check["grade"] < self.OK and not check["skipped"]:
                        comments = "; ".join(comment["summary"] for comment in check["comments"] or [])
                        where = f"{environment.name} {one['object_name']}"
                        found.append((check["check"]["id"], where, comments))
        return found

    def planted(self, folder):
        text = render.service("catalog", "production")
        assert "readinessProbe:" in text
        (folder / "production").mkdir()
        (folder / "production/catalog.yaml").write_text(text.replace("readinessProbe:", "otherProbe:"))
        return [one for one in self.findings(folder) if one[0] == "pod-probes"]


class Checkov:
    """What is known of attacks on objects that are valid."""

    name = "checkov"

    def findings(self, folder):
        """What is planted goes with the others: most of its time it does not read."""
        text = render.service("catalog", "production")
        assert "readOnlyRootFilesystem: true" in text
        planted = folder / "planted.yaml"
        planted.write_text(text.replace("readOnlyRootFilesystem: true", ""))
        command = [tool("checkov"), "--directory", folder, "--framework", "kubernetes", "--compact", "--quiet"]
        with tempfile.TemporaryDirectory() as left_behind:
            # It would see nothing below a folder like .homeward.
            variables = {"CKV_IGNORE_HIDDEN_DIRECTORIES": "false", "TMPDIR": left_behind}
            answer = run(*command, "--output", "json", "--skip-download", **variables)
        planted.unlink()
        assert answer.stdout.strip(), answer.stderr
        report = json.loads(answer.stdout)
        assert not report.get("summary", {}).get("parsing_errors"), "checkov cannot read something"
        found = [
            (one["check_id"], f"{one['file_path'].strip('/')} {one['resource']}", one["check_name"])
            for one in report.get("results", {}).get("failed_checks", [])
        ]
        self.plant = [one for one in found if one[0] == "CKV_K8S_22" and one[1].startswith(planted.name)]
        return [one for one in found if not one[1].startswith(planted.name)]

    def planted(self, _):
        return self.plant


class Actionlint:
    """Workflows."""

    name = "actionlint"

    def findings(self, _, *files):
        files = files or sorted((ROOT / ".github/workflows").glob("*.yaml"))
        assert files, "there is no workflow"
        answer = run(go.program("actionlint"), "-no-color", "-oneline", "-shellcheck=", "-pyflakes=", *files)
        return [("workflow", "", line) for line in answer.stdout.splitlines()]

    def planted(self, folder):
        workflow = folder / "planted.yaml"
        text = "on: push\njobs:\n  test:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: echo ${{ github.evnt }}\n"
        workflow.write_text(text)
        return self.findings(None, workflow)


class Exceptions:
    """Findings that are not wanted: of a rule, in a place or everywhere, and with these words alone."""

    def __init__(self):
        with open(HERE / "exceptions.tsv", encoding="utf-8") as file:
            self.rows = list(csv.DictReader(file, delimiter="\t"))
        assert len(self.rows) <= EXCEPTIONS_MAX, f"{len(self.rows)} exceptions, {EXCEPTIONS_MAX} are allowed"
        for row in self.rows:
            assert len(row["reason"] or "") > 20, f"{row['linter']} {row['rule']} has no reason"
        self.used = set()

    def excuse(self, linter, finding):
        rule, where, text = finding
        for number, row in enumerate(self.rows):
            fits = (row["linter"], row["rule"]) == (linter, rule) and row["place"] in ("*", where.split()[0])
            if fits and set(text.split("; ")) == {row["words"]}:
                self.used.add(number)
                return True
        return False

    def unused(self):
        return [f"{row['linter']} {row['rule']}" for number, row in enumerate(self.rows) if number not in self.used]


def main():
    exceptions, failed = Exceptions(), []
    with tempfile.TemporaryDirectory() as temporary:
        rendered = pathlib.Path(temporary, "rendered")
        rendered.mkdir()
        for (name, where), text in render.everything().items():
            (rendered / where).mkdir(exist_ok=True)
            (rendered / where / f"{name}.yaml").write_text(text)
        for kind in (Kubeconform, Helm, Unittest, KubeScore, Checkov, Actionlint):
            began, linter = time.monotonic(), kind()
            found = linter.findings(rendered)
            left = [one for one in found if not exceptions.excuse(linter.name, one)]
            for rule, where, text in left:
                print(f"  {linter.name} {rule}: {where}: {text}")
            planted = pathlib.Path(temporary, linter.name)
            planted.mkdir()
            blind = not linter.planted(planted)
            if blind:
                print(f"  {linter.name} does not find what was planted")
            if left or blind:
                failed.append(linter.name)
            seconds = time.monotonic() - began
            print(
                f"{linter.name:14} {len(left)} findings, {len(found) - len(left)} excused, {seconds:.1f} s", flush=True
            )
    for unused in exceptions.unused():
        print(f"  the exception {unused} excuses nothing")
        failed.append("exceptions")
    assert not failed, f"findings: {', '.join(failed)}"


if __name__ == "__main__":
    main()
