"""Builds the programs of the cluster's tests, one module at a time: `homeward cluster tools`.

Without GOCACHE the build cache, 9 GB, is one of its own and goes at the end.
With --missing it only names what is not built.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import crds
from tools import FOLDER, GO, MODULES, REQUIREMENTS, folder_of, programs, source, venv


def build(module, cache):
    packages, flags = MODULES[module]
    output = folder_of(module)
    unfinished = output.with_name(f"{output.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    # One package is linked under the module's name, several into the folder.
    target = unfinished / module if len(packages) == 1 else f"{unfinished}/"
    subprocess.run(
        ["go", "build", "-p", str(os.cpu_count() or 2), "-trimpath", "-ldflags", f"-s -w {flags}".strip()]
        + ["-o", target, *packages],
        check=True,
        cwd=source(module),
        env=os.environ | GO | {"GOCACHE": str(cache)},
    )
    unfinished.rename(output)
    for name in programs(module):
        link(name, output / name)


def link(name, target):
    made = FOLDER / f".{name}.new"
    made.unlink(missing_ok=True)
    made.symlink_to(target.relative_to(FOLDER))
    made.replace(FOLDER / name)


def install(_module, _cache):
    """checkov, and the schemas of Kubernetes, in a venv: it keeps its own path, so it cannot be renamed."""
    shutil.rmtree(venv(), ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", venv()], check=True)
        pip = [venv() / "bin/python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", REQUIREMENTS], check=True)
    except BaseException:
        shutil.rmtree(venv(), ignore_errors=True)
        raise
    link("checkov", venv() / "bin/checkov")


def size_mb(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def version(module):
    if module == "definitions":
        return ""
    if module == "checkov":
        return re.search(r"^checkov==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE).group(1)
    root = "/".join(MODULES[module][0][0].split("/")[:2])
    text = (source(module) / "go.mod").read_text()
    return re.search(rf"^\s*(?:require )?{re.escape(root)}\S* v(\S+)", text, re.MULTILINE).group(1)


def check_go():
    """A system's own Go may be years old, and says of it only that it does not know a line of go.mod."""
    wanted = max(go_of(module) for module in MODULES)
    answer = subprocess.run(["go", "env", "GOVERSION"], env=os.environ | GO, capture_output=True, text=True)
    here = tuple(map(int, re.findall(r"\d+", answer.stdout)))
    if here < wanted:
        name = ".".join(map(str, wanted))
        sys.exit(f"Go {name} or later is needed, and here is {answer.stdout.strip()}; https://go.dev/dl has it")


def go_of(module):
    text = (source(module) / "go.mod").read_text()
    return tuple(map(int, re.search(r"^go (\S+)", text, re.MULTILINE).group(1).split(".")))


def main():
    if missing():
        check_go()
    FOLDER.mkdir(parents=True, exist_ok=True)
    clear()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="go-cache-") as own:
        cache = os.environ.get("GOCACHE") or own
        for name, (folder, make) in WANTED.items():
            start = time.monotonic()
            was_there = folder.is_dir()
            if not was_there:
                print(f"  building {name}", flush=True)
                make(name, cache)
            seconds = "there already" if was_there else f"{time.monotonic() - start:.1f} s"
            print(f"{name:14} {version(name):9} {seconds:>14} {size_mb(folder):8.1f} MB", flush=True)
    print(f"{FOLDER}: {time.monotonic() - began:.1f} s", flush=True)


def missing():
    return [name for name, (folder, _) in WANTED.items() if not folder.is_dir()]


def clear():
    """Removes what other versions left, and what a build that was killed did."""
    ours = re.compile(rf"({'|'.join(WANTED)})-[0-9a-f]{{12}}(\.unfinished)?|go-cache-\w+")
    keep = {folder.name for folder, _ in WANTED.values()}
    for path in FOLDER.iterdir():
        if ours.fullmatch(path.name) and path.name not in keep:
            shutil.rmtree(path)


WANTED = {module: (folder_of(module), build) for module in MODULES}
WANTED |= {"definitions": (crds.folder(), crds.collect), "checkov": (venv(), install)}

if __name__ == "__main__":
    if sys.argv[1:] == ["--missing"]:
        print(", ".join(missing()), end="")
    else:
        main()
