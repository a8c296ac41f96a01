"""Definitions of the custom resources that charts and clusters use: crds/README.md says which come from where.

Those that are published lie in Go modules, of which nothing is compiled. `homeward cluster tools` copies them
beside the tools, from modules of the versions and sums written here: those of kinds that we use, since an API
server takes half a second of a core for each. The others are crds/*.yaml.
"""

import json
import os
import pathlib
import shutil
import subprocess

import tools
from processes import wait_until

OURS = pathlib.Path(__file__).resolve().parent / "crds"
PUBLISHED = {
    "sigs.k8s.io/gateway-api@v1.4.1": (
        "h1:NPxFutNkKNa8UfLd2CMlEuhIPMQgDQ6DXNKG9sHbJU8=",
        "config/crd/standard/gateway.networking.k8s.io_{}.yaml",
        ["gatewayclasses", "gateways", "grpcroutes", "httproutes"],
    ),
    "github.com/kedacore/keda/v2@v2.21.0": (
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        "config/crd/bases/keda.sh_{}.yaml",
        ["scaledobjects", "triggerauthentications"],
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml",
        ["podmonitors", "prometheusrules", "servicemonitors"],
    ),
    "github.com/argoproj/argo-cd/v3@v3.5.7": (
        "h1:Xm1BF+I5OgDKUG3SDK49vn2/Y5AMyaNVko+/JT08gj0=",
        "manifests/crds/{}-crd.yaml",
        ["application", "applicationset", "appproject"],
    ),
    "github.com/external-secrets/external-secrets@v1.3.2": (
        "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
        "config/crds/bases/external-secrets.io_{}.yaml",
        ["clustersecretstores", "externalsecrets", "pushsecrets", "secretstores"],
    ),
    "github.com/cert-manager/cert-manager@v1.21.2": (
        "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        "deploy/crds/cert-manager.io_{}.yaml",
        ["certificates", "clusterissuers"],
    ),
}


def folder():
    return tools.FOLDER / f"definitions-{tools.key(json.dumps(PUBLISHED))}"


def collect(_name, _cache):
    unfinished = folder().with_name(f"{folder().name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for module, (expected, path, names) in PUBLISHED.items():
        answer = subprocess.run(
            # Outside of any module, so that the version asked for is the version given.
            ["go", "mod", "download", "-json", module],
            check=True,
            cwd=unfinished,
            env=os.environ | tools.GO | {"GOFLAGS": "-mod=mod"},
            stdout=subprocess.PIPE,
        )
        found = json.loads(answer.stdout)
        assert found["Sum"] == expected, f"{module} has the sum {found['Sum']} instead of {expected}"
        for name in names:
            definition = pathlib.Path(found["Dir"], path.format(name))
            # Modules are read-only; a copy need not be.
            (unfinished / definition.name).write_bytes(definition.read_bytes())
    unfinished.rename(folder())


def files():
    """All files with definitions."""
    return sorted(pathlib.Path(tools.present(folder())).glob("*.yaml")) + sorted(OURS.glob("*.yaml"))


def install(plane):
    """Gives a control plane all definitions, and waits until it serves them."""
    plane.apply("\n---\n".join(path.read_text() for path in files()))

    def established():
        definitions = plane.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
        missing = [definition["metadata"]["name"] for definition in definitions if not condition(definition)]
        return bool(definitions) and not missing

    wait_until(established, "all definitions are established")


def condition(definition):
    conditions = definition.get("status", {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)
