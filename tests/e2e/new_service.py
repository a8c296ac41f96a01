"""A generated service builds, passes its tests, runs and is shown, with no file edited; and docs/adding-a-service.md.

In a copy of the checkout all that the page says is done, commands and edits. The copy shares what is built on the way
with the checkout, and a wrapper of the compiler counts that no crate from outside is compiled again. Beside the page's
service with events a worker is made, and tested as well.
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

import grpc

from docs import blocks
from grpc_statuses import uuid_of
from scratch import PROGRAM, ROOT
from stack import Client, new_id, register, wait_until
from up import free_base

PAGE = pathlib.Path("docs/adding-a-service.md")
# Stays when the run fails, to be looked at.
COPY = ROOT / ".homeward/new-service"
LEFT_OUT = shutil.ignore_patterns("target", ".homeward", ".git", "node_modules", "__pycache__", ".venv")
WORKER = "vote-counts"

# Cargo keeps apart what is compiled through another wrapper, so the two copies do not spoil each other's own crates.
# Only the new crates are looked at by clippy: the others are those of the checkout, which are looked at there.
OWN_COMPILER = """#!/bin/sh
case "$*" in
*" --crate-name pets "* | *" --crate-name vote_counts "*) exec clippy-driver "$@" ;;
*) exec "$@" ;;
esac
"""
EVERY_COMPILER = """#!/bin/sh
case "$*" in *" --crate-name ___ "*) ;; *" --crate-name "*) echo "$*" >> {log} ;; esac
exec "$@"
"""


def copy():
    """A copy of the checkout in which nothing but what will change is newer than what was built."""
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(ROOT, COPY, ignore=LEFT_OUT, symlinks=True)
    for folder in ("api", "bff", "proto"):
        for path in (COPY / folder).rglob("*"):
            path.touch()
    # Our own crates are built for this run alone, and run for seconds: they need not be fast.
    with open(COPY / ".cargo/config.toml", "a", encoding="utf-8") as config:
        for package in workspace()["packages"]:
            config.write(f"[profile.dev.package.{package['name']}]\nopt-level = 0\ndebug = false\n")
    tools = COPY / ".homeward/tools"
    tools.parent.mkdir(mode=0o700)
    tools.symlink_to(ROOT / ".homeward/tools")


def workspace():
    """What cargo knows of the checkout."""
    command = ["cargo", "metadata", "--no-deps", "--offline", "--format-version=1"]
    about = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(about.stdout)


def script(name, text):
    path = COPY / ".homeward" / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


class Workshop:
    """The copy, and the compiler in it."""

    def __init__(self):
        self.base = free_base()
        self.log = COPY / ".homeward/compiled"
        target = COPY / "target/debug"
        target.mkdir(parents=True)
        # The command line tool is the same; the launcher would make it anew.
        shutil.copy2(PROGRAM, target / "homeward")
        self.environment = os.environ | {
            "CARGO_BUILD_BUILD_DIR": workspace()["build_directory"],
            "CARGO_TARGET_DIR": str(COPY / "target"),
            "CARGO_TERM_COLOR": "never",
            "RUSTC_WORKSPACE_WRAPPER": script("own-compiler", OWN_COMPILER),
            "RUSTC_WRAPPER": script("every-compiler", EVERY_COMPILER.format(log=self.log)),
        }
        del self.environment["HOMEWARD_PORT_BASE"]

    def run(self, commands, succeeds=True):
        """Runs commands of the page, for a stack of their own; answers what they print."""
        (COPY / "target/debug/homeward").touch()
        commands = re.sub(r"(\./homeward (?:up|down)\b)", rf"\1 --port-base {self.base}", commands)
        commands = re.sub(r"(?<=127\.0\.0\.1:)46(\d\d)\b", lambda found: str(self.base + int(found[1])), commands)
        began = time.monotonic()
        answer = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=COPY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        said = f"{commands}\n{answer.stdout[-6000:]}"
        assert (answer.returncode == 0) == succeeds, said
        assert "\nwarning" not in answer.stdout, said
        print(f"  {commands.splitlines()[0]}: {time.monotonic() - began:.1f} s", flush=True)
        return answer.stdout

    def compiled(self):
        """The crates that were compiled: from outside, and of the checkout."""
        outside, own = [], []
        for line in self.log.read_text().splitlines():
            name = line.split(" --crate-name ", 1)[1].split()[0]
            (outside if "/registry/src/" in line.split(" --error-format", 1)[0] else own).append(name)
        return outside, own

    def status(self):
        answer = subprocess.run(
            ["./homeward", "status", "--json", "--port-base", str(self.base)],
            cwd=COPY,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
        )
        return json.loads(answer.stdout)


def files():
    """Every file of the copy with its content, but for what is built."""
    names = [path.relative_to(COPY) for path in COPY.rglob("*") if path.is_file()]
    return {str(name): (COPY / name).read_bytes() for name in names if name.parts[0] not in ("target", ".homeward")}


def refusals(workshop):
    """Names that cannot be, and contracts that are somebody's already, change nothing."""
    before = files()
    for arguments, why in [
        ("catalog", "exists already"),
        ("bff --entity pet", "charts/values/bff.yaml exists already"),
        ("bench --entity pet", "is built here"),
        ("Pets", "lower case"),
        ("ledger", "--entity account"),
        ("requests", "every service uses"),
        ("votings --entity offer", "OFFER_NOT_FOUND"),
        ("pets --worker --events", "cannot be used with"),
    ]:
        said = workshop.run(f"./homeward new service {arguments}", succeeds=False)
        assert why in said, (arguments, said)
    assert files() == before, "a refusal has left something"


def edit(path, content):
    """Makes the changes of a block `diff`, whose places are parted by `@@`."""
    text = path.read_text(encoding="utf-8")
    for place in re.split(r"^@@$\n?", content + "\n", flags=re.MULTILINE):
        lines = place.splitlines()
        old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
        assert text.count(old) == 1, f"{path.name} has {text.count(old)} places such as\n{old}"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def states(url):
    """The services and their states, as the BFF shows them."""
    services = Client([url]).data("{ platformStatus { services { name state } } }")["platformStatus"]["services"]
    return {service["name"]: service["state"] for service in services}


def shown(workshop):
    """The new services are up, and the BFF shows them."""
    stack = workshop.status()
    assert {one["name"] for one in stack["services"] if one["pid"]} >= {"bff", "identity", "pets"}, stack["services"]
    wait_until(lambda: states(stack["graphql"][0]).get("pets") == "UP", "the BFF to show that pets are up", 10)
    assert WORKER in states(stack["graphql"][0]), "every service of the contracts is shown, started or not"


def asked(workshop):
    """A pet that was made by gRPC is what the new field shows, to its owner alone."""
    stack, run = workshop.status(), new_id()[:8]
    owner, other = (register(stack["graphql"], "MOVER", run, name) for name in ("owner", "other"))
    address = next(one["grpc"] for one in stack["services"] if one["name"] == "pets")
    with tempfile.TemporaryDirectory() as stubs, grpc.insecure_channel(
        urllib.parse.urlsplit(address).netloc
    ) as channel:
        includes = [f"-I{COPY / folder}" for folder in ("proto", "crates/platform-build/proto")]
        protos = ["homeward/pets/v1/pets.proto", "homeward/options/v1/options.proto"]
        outputs = [f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *includes, *outputs, *protos], check=True)
        sys.path.insert(0, stubs)
        from homeward.pets.v1 import pets_pb2, pets_pb2_grpc

        request = pets_pb2.CreatePetRequest(request_id=new_id(), name="Rex")
        token = [("authorization", f"Bearer {owner.token}")]
        pet = pets_pb2_grpc.PetsServiceStub(channel).CreatePet(request, metadata=token).pet
    page = "{ pets { nodes { id name version } } }"
    (node,) = owner.data(page)["pets"]["nodes"]
    assert (uuid_of(node["id"]), node["name"], node["version"]) == (pet.id, "Rex", 1), node
    assert base64.urlsafe_b64decode(node["id"] + "==")[0] == 4, "the type byte of the page"
    query = "query($id: ID!) { node(id: $id) { id ... on Pet { name } } nodes(ids: [$id]) { id } }"
    assert owner.data(query, id=node["id"]) == {
        "node": {"id": node["id"], "name": "Rex"},
        "nodes": [{"id": node["id"]}],
    }
    assert other.data(page)["pets"]["nodes"] == []
    assert other.data(query, id=node["id"]) == {"node": None, "nodes": [None]}


def follow_page(workshop):
    """All of the page, from top to bottom."""
    text = (COPY / PAGE).read_text(encoding="utf-8")
    lines, edited = text.splitlines(), 0
    for line, mark, content, _ in blocks(text):
        # The file that a block is about is the last that the text before it names.
        named = re.findall(r"`([\w./-]+/[\w.-]+)`", "\n".join(lines[:line]))
        if mark == "sh":
            printed = workshop.run(content)
            if "platformStatus" in content:
                assert edited == 0, "no file was edited by then"
                assert json.loads(printed)["data"]["platformStatus"]["services"], printed
                shown(workshop)
            elif "pets {" in content:
                assert json.loads(printed)["errors"][0]["extensions"]["reason"] == "TOKEN_MISSING", printed
        elif mark == "rust":
            path = COPY / named[-1]
            assert not path.exists(), path
            path.write_text(f"{content}\n", encoding="utf-8")
        elif mark == "diff":
            edit(COPY / named[-1], content)
            edited += 1
        else:
            raise AssertionError(f"{PAGE}:{line}: a block that is marked {mark!r}")
    assert edited >= 7, "the page has lost its edits"


def formatted():
    """What the generator and the page write is as the formatter would have it."""
    subprocess.run(["cargo", "fmt", "--all", "--check"], cwd=COPY, check=True)


def main():
    copy()
    workshop = Workshop()
    try:
        refusals(workshop)
        workshop.run(f"./homeward new service {WORKER} --worker")
        follow_page(workshop)
        asked(workshop)
        formatted()
        workshop.run(f"./homeward test --only tests --service {WORKER}")
        outside, own = workshop.compiled()
        assert "pets" in own and "bff" in own, "the wrapper has seen nothing"
        assert not outside, f"compiled again: {sorted(set(outside))}"
        print(f"  {len(own)} own crates compiled, and none from outside", flush=True)
    finally:
        with contextlib.suppress(AssertionError):
            workshop.run("./homeward down --purge")
    shutil.rmtree(COPY)


if __name__ == "__main__":
    main()
