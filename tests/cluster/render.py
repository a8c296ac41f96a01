"""What charts and overlays become: text as it is applied, one document after the other.

service("catalog", "dev")          all objects of a service in an environment
overlay("dev")                     all objects of k8s/overlays/dev
everything()                       {("catalog", "dev"): text, ("k8s", "dev"): text, ...}
"""

import pathlib
import subprocess
import tempfile

from tools import ROOT, tool

CHARTS = ROOT / "charts"
CHART = CHARTS / "service"
OVERLAYS = ROOT / "k8s" / "overlays"
KUBERNETES = "1.34.4"
WORKER = "sorter"
# Said by a cluster in which KEDA is installed.
KEDA = ("--api-versions", "keda.sh/v1alpha1")


def services():
    return sorted(path.stem for path in (CHARTS / "values").glob("*.yaml"))


def environments():
    return sorted(path.stem for path in (CHARTS / "environments").glob("*.yaml"))


def overlays():
    return sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))


def namespace(environment):
    """A preview stands for all of them."""
    return "homeward-pr-0" if environment == "preview" else f"homeward-{environment}"


def values(name, environment, charts=CHARTS):
    """The files of values in their order; the last is seldom there."""
    files = [
        charts / "values" / f"{name}.yaml",
        charts / "contracts" / f"{name}.yaml",
        charts / "environments" / f"{environment}.yaml",
        charts / "digests" / environment / f"{name}.yaml",
    ]
    override = charts / "environments" / environment / f"{name}.yaml"
    return [*files, override] if override.exists() else files


def service(name, environment, *options):
    return chart(name, environment, values(name, environment), *options)


def chart(name, environment, files, *options):
    """A release of the chart with any files of values; options are helm's."""
    given = [part for path in files for part in ("--values", str(path))]
    return output(
        [tool("helm"), "template", name, str(CHART), "--namespace", namespace(environment)]
        + ["--kube-version", KUBERNETES, *given, *options]
    )


def worker(environment, *options, name=WORKER):
    """A release of what `new service --worker` writes: of our own services none is a worker."""
    template = (ROOT / "cli/templates/worker/values.yaml").read_text()
    with tempfile.TemporaryDirectory() as folder:
        written = pathlib.Path(folder, "values.yaml")
        written.write_text(template.replace("@name@", name))
        files = [written, CHARTS / "environments" / f"{environment}.yaml"]
        return chart(name, environment, files, "--set", f"image.digest={digest('aa')}", *options)


def digest(seed):
    """One that nothing has, told from others by what it begins with."""
    return f"sha256:{seed * (64 // len(seed))}"


def overlay(name):
    return output([tool("kustomize"), "build", str(OVERLAYS / name)])


def argocd():
    return output([tool("kustomize"), "build", str(ROOT / "argocd")])


def everything():
    """All of it, by (service, `k8s` or `argocd`, environment or overlay)."""
    rendered = {("k8s", name): overlay(name) for name in overlays()} | {("argocd", "cluster"): argocd()}
    for environment in environments():
        for name in services():
            rendered[name, environment] = service(name, environment)
        rendered["worker", environment] = worker(environment)
        rendered["worker-with-keda", environment] = worker(environment, *KEDA, name="other")
    return rendered


def output(command):
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        raise AssertionError(f"{pathlib.Path(command[0]).name} {' '.join(command[1:3])}: {finished.stderr.strip()}")
    return finished.stdout
