"""The workflows of .github and the scripts that they call, as far as that shows without GitHub.

actionlint and zizmor find nothing; actions are pinned to commits; a token has the rights that its job needs, and no job
runs for ever. A promotion changes the digest of what it names in its environment and nothing else, and only if the
image is signed; others may push meanwhile. A release has something to say; a bill of materials names what is linked.
Each check is shown something that it must refuse.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import yaml

from go import program
from scratch import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
SCRIPTS = ROOT / ".github/scripts"
DIGESTS = [f"sha256:{letter * 64}" for letter in "abcdef"]


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, **options)


@contextlib.contextmanager
def spoiled(name, *replaced):
    """A folder .github with one workflow in which something is replaced."""
    text = (ROOT / ".github/workflows" / name).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, ".github/workflows", name)
        path.parent.mkdir(parents=True)
        assert replaced[0] in text, f"{name} has no {replaced[0]!r}"
        path.write_text(text.replace(*replaced, 1), encoding="utf-8")
        yield path


def lint(paths, *others):
    """What actionlint and zizmor say, or nothing. zizmor asks nobody here; ci.yaml lets it ask GitHub."""
    zizmor = pathlib.Path(sys.executable).with_name("zizmor")
    said = [
        run(program("actionlint"), "-no-color", "-shellcheck=", "-pyflakes=", *paths),
        run(zizmor, "--offline", "--no-config", "--quiet", "--color=never", *paths, *others),
    ]
    return "".join(answer.stdout + answer.stderr for answer in said if answer.returncode)


def linters():
    said = lint(WORKFLOWS, ROOT / ".github/dependabot.yaml")
    assert not said, said
    for replaced, expected in [
        (("needs: [ci, services, build]", "needs: [ci, services, biuld]"), "biuld"),
        (("$IMAGE:$GITHUB_SHA-$architecture", "${{ github.event.head_commit.message }}"), "template-injection"),
    ]:
        with spoiled("images.yaml", *replaced) as path:
            assert expected in lint([path]), f"{replaced} is not found"


def rules(path):
    """Yields what neither of them looks at as strictly as we do."""
    text = path.read_text(encoding="utf-8")
    for uses, comment in re.findall(r"\buses: (\S+)(.*)", text):
        if not uses.startswith("./") and not (
            re.search(r"@[0-9a-f]{40}$", uses) and re.fullmatch(r" # v\d+\.\d+\.\d+", comment)
        ):
            yield f"{uses} is not pinned to a commit, with its version behind it"
    workflow = yaml.safe_load(text)
    if workflow.get("permissions") != {}:
        yield "every job has the rights of the workflow"
    for name, job in workflow["jobs"].items():
        if "permissions" not in job:
            yield f"{name} does not say what it needs"
        if "@sha256:" not in job.get("container", "@sha256:"):
            yield f"{name} runs in whatever a tag is today"
        if "uses" not in job and "timeout-minutes" not in job:
            yield f"{name} may run for hours"
        # A line of a script takes values from its environment.
        for step in job.get("steps", []):
            if "${{" in step.get("run", ""):
                yield f"{name} has an expression in a script"
            if "checkout@" in step.get("uses", "") and step.get("with", {}).get("persist-credentials") is not False:
                yield f"{name} leaves its token in the checkout"


def own_rules():
    assert len(WORKFLOWS) >= 4, WORKFLOWS
    wrong = [f"{path.name}: {what}" for path in WORKFLOWS for what in rules(path)]
    assert not wrong, "\n".join(wrong)
    for replaced, expected in [
        (("@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7 # v7.0.1"), "not pinned"),
        ((" # v7.0.1", ""), "not pinned"),
        (("permissions: {}", "permissions:\n  contents: write"), "rights of the workflow"),
        (("    timeout-minutes: 15\n", ""), "for hours"),
        (('"$GITHUB_SHA" origin/main', "${{ github.sha }} origin/main"), "expression"),
        (("    permissions:\n      contents: write\n", ""), "what it needs"),
        (("persist-credentials: false", "persist-credentials: true"), "leaves its token"),
        (("ubuntu-24.04\n", "ubuntu-24.04\n    container: debian:12\n"), "a tag is"),
    ]:
        with spoiled("release.yaml", *replaced) as path:
            assert any(expected in what for what in rules(path)), f"{replaced} is not found"


def toolchains():
    """Containers have the Rust that rust-toolchain.toml names, and are all the same one."""
    channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text(encoding="utf-8"))["toolchain"]["channel"]
    texts = [path.read_text(encoding="utf-8") for path in [*WORKFLOWS, ROOT / ".devcontainer/devcontainer.json"]]
    found = re.findall(r"\brust:([\w.-]+)(?:@sha256:([0-9a-f]{64}))?", "\n".join(texts))
    assert {version for version, _ in found} == {f"{channel}-bookworm"}, found
    assert len({digest for _, digest in found}) == 1, found


def tree(root):
    """Services `a` and `b`, both in dev, one of them in staging."""
    for name in "ab":
        for path in [root / f"charts/values/{name}.yaml", root / f"charts/digests/dev/{name}.yaml"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'image:\n  digest: "{DIGESTS["ab".index(name)]}"\n')
    (root / "charts/digests/staging").mkdir()
    (root / "charts/digests/staging/a.yaml").write_text(f'image:\n  digest: "{DIGESTS[2]}"\n')
    shutil.copytree(SCRIPTS, root / ".github/scripts")


def files(root):
    return {str(path.relative_to(root)): path.read_text() for path in sorted((root / "charts").rglob("*.yaml"))}


def digests():
    """promote.py: what it changes, and what it refuses without a change."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        tree(root)

        def promoted(*arguments):
            before = files(root)
            answer = run(sys.executable, SCRIPTS / "promote.py", "--root", root, *arguments)
            after = files(root)
            changed = [path for path in after if before.get(path) != after[path]]
            assert before.keys() <= after.keys() and answer.stdout.split() == changed, answer
            return answer.stderr if answer.returncode else changed

        for arguments, why in [
            (["dev", f"c={DIGESTS[3]}"], "no service 'c'"),
            (["dev", f"../values/a={DIGESTS[3]}"], "no service"),
            (["dev", f"a={DIGESTS[3]}", f"b={DIGESTS[3][:-1]}"], "no digest"),
            (["dev", f"a={DIGESTS[3].upper()}"], "no digest"),
            (["dev", f"a={DIGESTS[3]}", f"a={DIGESTS[4]}"], "twice"),
            (["dev", "a"], "takes digests"),
            (["preview", "a"], "takes digests"),
            (["dev"], "what is built"),
            (["staging", f"a={DIGESTS[3]}"], "what dev runs"),
            (["production"], "staging has no digest of b"),
            (["elsewhere", "a"], "invalid choice"),
        ]:
            answer = promoted(*arguments)
            assert isinstance(answer, str) and why in answer, f"{arguments}: {answer}"
        assert promoted("dev", f"a={DIGESTS[3]}") == ["charts/digests/dev/a.yaml"]
        assert yaml.safe_load(files(root)["charts/digests/dev/a.yaml"]) == {"image": {"digest": DIGESTS[3]}}
        assert promoted("dev", f"a={DIGESTS[3]}") == []
        assert promoted("preview", f"a={DIGESTS[3]}") == ["charts/digests/preview/a.yaml"]
        assert promoted("staging", "b") == ["charts/digests/staging/b.yaml"]
        assert promoted("staging") == ["charts/digests/staging/a.yaml"]
        assert promoted("production", "a") == ["charts/digests/production/a.yaml"]
        assert yaml.safe_load(files(root)["charts/digests/production/a.yaml"]) == {"image": {"digest": DIGESTS[3]}}


COSIGN = """#!/bin/sh
# Knows one digest that nobody has signed; and while it looks, somebody else pushes, once.
echo "$@" >>"$HERE/asked"
if [ -d "$HERE/other" ]; then
    (cd "$HERE/other" && git commit -q --allow-empty -m meanwhile && git push -q origin HEAD:main) && rm -r "$HERE/other"
fi
case "$*" in *{unsigned}) exit 1 ;; esac
"""


def git(folder, *arguments):
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commits():
    """promote, in a clone of a repository of its own, beside a cosign and a gh that only take notes."""
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder)
        origin, clone, other = here / "origin.git", here / "clone", here / "other"
        run("git", "init", "-q", "--bare", "-b", "main", origin)
        run("git", "clone", "-q", origin, clone)
        tree(clone)
        for name in ["user.name", "user.email"]:
            git(clone, "config", name, "test")
        git(clone, "add", ".")
        git(clone, "commit", "-qm", "first")
        git(clone, "push", "-q", "origin", "HEAD:main")
        for name, text in [
            ("cosign", COSIGN.format(unsigned=DIGESTS[5])),
            ("gh", '#!/bin/sh\necho "gh $@" >>"$HERE/asked"\n'),
        ]:
            path = here / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        variables = {"PATH": f"{here}/bin:{os.environ['PATH']}", "HERE": folder, "RUNNER_TEMP": folder}
        variables |= {"GITHUB_REPOSITORY": "some/where", "GITHUB_RUN_ID": "7", "REGISTRY": "registry"}

        def promoted(*arguments, **more):
            return run(SCRIPTS / "promote", *arguments, cwd=clone, env=os.environ | variables | more)

        def changed(branch):
            names = git(origin, "diff", "--name-only", f"{branch}^", branch).split()
            return [name.removeprefix("charts/digests/").removesuffix(".yaml") for name in names]

        built = here / "digests"
        built.mkdir()
        (built / "a").write_text(f"a={DIGESTS[3]}\n")
        (built / "b").write_text(f"b={DIGESTS[1]}\n")
        run("git", "clone", "-q", origin, other)
        for name in ["user.name", "user.email"]:
            git(other, "config", name, "test")
        answer = promoted("dev")
        assert answer.returncode == 0, answer
        assert changed("main") == ["dev/a", "preview/a", "preview/b"]
        history = git(origin, "log", "--format=%s", "main").splitlines()
        assert history == ["charts: Promote to dev", "meanwhile", "first"], history
        asked = (here / "asked").read_text()
        assert asked.count(f"registry/a@{DIGESTS[3]}") == 4 and asked.count("registry/b") == 2, asked
        assert "--certificate-identity https://github.com/some/where/.github/workflows/images.yaml@" in asked, asked

        git(clone, "push", "-q", "origin", "HEAD:refs/heads/mine")
        main = git(origin, "rev-parse", "main")
        (built / "a").write_text(f"a={DIGESTS[4]}\n")
        assert promoted("preview", GITHUB_REF_NAME="mine").returncode == 0
        assert changed("mine") == ["preview/a"] and git(origin, "rev-parse", "main") == main
        assert "images.yaml@refs/heads/mine" in (here / "asked").read_text()

        (built / "a").write_text(f"a={DIGESTS[5]}\n")
        assert promoted("dev").returncode == 1, "what nobody has signed is promoted"
        assert promoted("staging", SERVICES="c").returncode == 1
        answer = promoted("staging", SERVICES="b", PULL_REQUEST="true")
        assert answer.returncode == 0, answer
        assert changed("promote-staging-7") == ["staging/b"]
        assert "gh pr create --base main --head promote-staging-7" in (here / "asked").read_text()
        assert git(origin, "rev-parse", "main") == main
        assert promoted("staging", SERVICES="").returncode == 0
        assert changed("main") == ["staging/a", "staging/b"]
        answer = promoted("staging")
        assert answer.returncode == 0 and "runs this already" in answer.stdout, answer


def releases():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "CHANGELOG.md")
        path.write_text(
            "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [1.10.0] - 2026-02-01\n\n"
            "## [1.1.0] - 2026-01-02\n\n### Added\n\n- this\n\n## [1.0.0] - 2026-01-01\n\n- that\n"
        )
        said = run(sys.executable, SCRIPTS / "changelog.py", "v1.1.0", path)
        assert said.stdout == "### Added\n\n- this\n", said
        assert run(sys.executable, SCRIPTS / "changelog.py", "v1.0.0", path).stdout == "- that\n"
        # Empty; not written yet; another's beginning; no version.
        for tag in ["v1.10.0", "v1.2.0", "v1.1", "vUnreleased"]:
            said = run(sys.executable, SCRIPTS / "changelog.py", tag, path)
            assert said.returncode == 1 and not said.stdout, f"{tag}: {said}"


def bills():
    answer = run(sys.executable, SCRIPTS / "sbom.py", "catalog", cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    bill = json.loads(answer.stdout)
    assert bill["metadata"]["component"]["name"] == "catalog", bill["metadata"]
    # Without a number of its own it would not be attested.
    assert re.fullmatch("urn:uuid:[0-9a-f-]{36}", bill["serialNumber"]), bill["serialNumber"]
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    outside = {f"{one['name']}@{one['version']}": one["checksum"] for one in lock["package"] if "checksum" in one}
    found = {f"{one['name']}@{one['version']}": one for one in bill["components"]}
    names = {one["name"] for one in bill["components"]}
    assert {"tonic", "sqlx-core", "rdkafka-sys", "platform-db"} <= names, names
    # Of the build, of tests and of other services.
    assert not {"protox", "serde_derive", "platform-testkit", "async-graphql"} & names, names
    for key, component in found.items():
        assert [one["content"] for one in component.get("hashes", [])] == (
            [outside[key]] if key in outside else []
        ), component
        assert component["licenses"][0]["expression"], component
    assert run(sys.executable, SCRIPTS / "sbom.py", "nobody", cwd=ROOT).returncode != 0


def main():
    linters()
    own_rules()
    toolchains()
    digests()
    commits()
    releases()
    bills()


if __name__ == "__main__":
    main()
