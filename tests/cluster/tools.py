"""The programs of `homeward cluster test`: built from the versions that `tools/` pins, one module at a time.

Each module's programs lie in a folder named by its go.mod, go.sum and flags, so that a change of version
builds anew and nothing else does; a link beside it carries the plain name.
Without GOCACHE the build cache, 9 GB, is one of its own and goes at the end.
"""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = pathlib.Path(os.environ.get("HOMEWARD_TOOLS") or ROOT / ".homeward/tools/cluster")
REQUIREMENTS = HERE / "requirements.txt"

# What each module builds, and the version that its programs are told, for clients judge a server by it.
# The long builds come first: who is short of memory or disk learns it early.
MODULES = {
    "kubernetes": (
        [
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubectl",
        ],
        "-X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1"
        " -X k8s.io/component-base/version.gitMinor=34 -X k8s.io/component-base/version.gitTreeState=clean",
    ),
    "etcd": (["go.etcd.io/etcd/server/v3"], ""),
    "kwok": (["sigs.k8s.io/kwok/cmd/kwok"], ""),
    "argocd": (
        ["github.com/argoproj/argo-cd/v3/cmd"],
        "-X github.com/argoproj/argo-cd/v3/common.version=3.5.7",
    ),
    "helm": (["helm.sh/helm/v4/cmd/helm"], ""),
    "helm-unittest": (["github.com/helm-unittest/helm-unittest/cmd/helm-unittest"], ""),
    "kustomize": (["sigs.k8s.io/kustomize/kustomize/v5"], ""),
    "kube-score": (["github.com/zegl/kube-score/cmd/kube-score"], ""),
    "kubeconform": (["github.com/yannh/kubeconform/cmd/kubeconform"], ""),
}
# Written down in the module of another, whose versions they must share.
SOURCES = {"etcd": "kubernetes"}
GO = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0"}


def tool(name):
    """The path of a program; ends the script when it is not there."""
    for module in MODULES:
        if name in programs(module):
            return present(folder_of(module) / name)
    return present(venv() / "bin" / name)


def present(path):
    if not path.exists():
        sys.exit(f"{path.name} is missing, or of another version; `./homeward cluster tools` builds it")
    return str(path)


def schemas():
    """The folder of the published schemas of all Kubernetes versions, in the venv of the tools."""
    found = list(venv().glob("lib/python3*/site-packages/kubernetes_validate"))
    return pathlib.Path(present(found[0] if found else venv() / "kubernetes-validate"))


def missing():
    """Names of what is not built at the versions that are wanted."""
    folders = {module: folder_of(module) for module in MODULES} | {"checkov": venv() / "bin/checkov"}
    return [name for name, path in folders.items() if not path.exists()]


def programs(module):
    """The names of a module's programs. A package may be called after a folder that says nothing."""
    packages, _ = MODULES[module]
    return [module] if len(packages) == 1 else [package.rsplit("/", 1)[1] for package in packages]


def source(module):
    return HERE / "tools" / SOURCES.get(module, module)


def folder_of(module):
    packages, flags = MODULES[module]
    pinned = [(source(module) / name).read_text() for name in ("go.mod", "go.sum")]
    return FOLDER / f"{module}-{key(*pinned, *packages, flags)}"


def venv():
    return FOLDER / f"python-{key(REQUIREMENTS.read_text(), sys.version)}"


def key(*texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


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
    if module == "python":
        return re.search(r"^checkov==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE).group(1)
    root = "/".join(MODULES[module][0][0].split("/")[:2])
    text = (source(module) / "go.mod").read_text()
    return re.search(rf"^\s*(?:require )?{re.escape(root)}\S* v(\S+)", text, re.MULTILINE).group(1)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = {module: (folder_of(module), build) for module in MODULES} | {"python": (venv(), install)}
    keep = {folder.name for folder, _ in wanted.values()}
    # What other versions left, and what a build that was killed did.
    ours = re.compile(rf"({'|'.join([*MODULES, 'python'])})-[0-9a-f]{{12}}(\.unfinished)?|go-cache-\w+")
    for path in FOLDER.iterdir():
        if ours.fullmatch(path.name) and path.name not in keep:
            shutil.rmtree(path)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="go-cache-") as own:
        cache = os.environ.get("GOCACHE") or own
        for module, (folder, make) in wanted.items():
            title = f"{'checkov' if module == 'python' else module} {version(module)}"
            start = time.monotonic()
            was_there = folder.is_dir()
            if not was_there:
                print(f"  building {title}", flush=True)
                make(module, cache)
            seconds = "there already" if was_there else f"{time.monotonic() - start:.1f} s"
            print(f"{title:24} {seconds:>14} {size_mb(folder):8.1f} MB", flush=True)
    print(f"{FOLDER}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--missing"]:
        print(", ".join(missing()), end="")
    else:
        main()
