"""The programs of the cluster's tests, which `homeward cluster tools` builds at the versions that `tools/` pins.

Each module's programs lie in a folder named by its go.mod, go.sum and flags, so that a change of version
builds anew and nothing else does; a link beside it carries the plain name.
"""

import hashlib
import os
import pathlib
import sys

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
    return FOLDER / f"checkov-{key(REQUIREMENTS.read_text(), sys.version)}"


def key(*texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
