"""A real API server takes every object of every environment without a warning, and refuses what must be refused.

Nothing but namespaces and what is once per cluster or environment is really made; services are only tried.
"""

import json
import time

import yaml

import crds
import render
from control_plane import ControlPlane

# What is wrong, where it is put in an object of the service `catalog`, and what the server says of it.
# A path ends with the field to set; a number takes from a list, and one beyond its end adds to it.
POD = ("spec", "template", "spec")
CONTAINER = (*POD, "containers", 0)
SECURITY = (*CONTAINER, "securityContext")
TAG = "registry.homeward.example/catalog:latest"
REFUSED = [
    ("a privileged container", "Deployment", (*SECURITY, "privileged"), True, "privileged"),
    ("a container that may gain rights", "Deployment", (*SECURITY, "allowPrivilegeEscalation"), True, "PodSecurity"),
    ("a container with a capability", "Deployment", (*SECURITY, "capabilities"), {"add": ["NET_RAW"]}, "NET_RAW"),
    ("root", "Deployment", (*SECURITY, "runAsUser"), 0, "runAsUser=0"),
    ("any system call", "Deployment", (*SECURITY, "seccompProfile"), {"type": "Unconfined"}, "seccompProfile"),
    ("a folder of the node", "Deployment", (*POD, "volumes", 99), {"name": "x", "hostPath": {"path": "/"}}, "hostPath"),
    ("the node's network", "Deployment", (*POD, "hostNetwork"), True, "hostNetwork"),
    ("the node's processes", "Deployment", (*POD, "hostPID"), True, "hostPID"),
    ("an image by its tag", "Deployment", (*CONTAINER, "image"), TAG, "named by its digest"),
    ("an init container by its tag", "Deployment", (*POD, "initContainers", 0, "image"), TAG, "named by its digest"),
    ("a field that does not exist", "Deployment", ("spec", "replicaz"), 3, "replicaz"),
    ("a variable that is set twice", "Deployment", (*CONTAINER, "env", 99), {"name": "ENVIRONMENT"}, "ENVIRONMENT"),
    ("a selector that does not fit", "Deployment", ("spec", "selector", "matchLabels"), {"a": "b"}, "selector"),
    ("a volume that is not there", "Deployment", (*CONTAINER, "volumeMounts", 0, "name"), "nothing", "Not found"),
    ("two ports of one name", "Service", ("spec", "ports", 1, "name"), "grpc", "Duplicate"),
    ("a policy with a field misspelt", "NetworkPolicy", ("spec", "ingres"), [], "ingres"),
    ("a policy for no protocol", "NetworkPolicy", ("spec", "ingress", 0, "ports", 0), {"protocol": "H2"}, "H2"),
    ("a budget that says two things", "PodDisruptionBudget", ("spec", "minAvailable"), 1, "minAvailable"),
    ("fewer replicas at most than at least", "HorizontalPodAutoscaler", ("spec", "maxReplicas"), 1, "maxReplicas"),
    ("an unknown protocol of the mesh", "Server", ("spec", "proxyProtocol"), "SPDY", "proxyProtocol"),
    ("rights for an unknown target", "AuthorizationPolicy", ("spec", "targetReff"), {}, "targetReff"),
    ("identities that are no list", "MeshTLSAuthentication", ("spec", "identities"), "bff", "identities"),
    ("a route by an unknown match", "GRPCRoute", ("spec", "rules", 0, "matches", 0, "verb"), "GET", "verb"),
    ("a user with an unknown right", "KafkaUser", ("spec", "authorization", "acls", 0, "operations"), ["Own"], "Own"),
    ("a secret without its store", "ExternalSecret", ("spec", "refreshEvery"), "1h", "refreshEvery"),
    ("a monitor of no port", "ServiceMonitor", ("spec", "endpoints", 0, "prt"), "admin", "prt"),
]


def put(tree, path, value):
    for part in path[:-1]:
        tree = tree[part] if isinstance(part, int) else tree.setdefault(part, {})
    last = path[-1]
    if isinstance(last, int) and last >= len(tree):
        tree.append(value)
    else:
        tree[last] = value


def documents(text):
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]


def dry_run(plane, text, namespace=None):
    """The only way to hear of a Deployment whose pods Pod Security would refuse is to take warnings for errors."""
    return plane.apply(text, namespace, "--dry-run=server", "--warnings-as-errors", "--validate=strict", check=False)


def admitted(plane, title, text, namespace=None):
    began, count = time.monotonic(), len(documents(text))
    answer = dry_run(plane, text, namespace)
    assert answer.returncode == 0, f"{title} is refused:\n{answer.stderr}"
    assert answer.stdout.count("serverside-applied") == count, f"{title}: not all of {count}:\n{answer.stdout}"
    print(f"  {title:28} {count:4} objects, {time.monotonic() - began:.1f} s", flush=True)


def make(plane, text):
    """Really makes it."""
    namespaces_of(plane, text)
    plane.apply(text)


def namespaces_of(plane, text):
    """Others are in them, and cannot be tried before they are there."""
    namespaces = [one for one in documents(text) if one["kind"] == "Namespace"]
    plane.apply("\n---\n".join(map(json.dumps, namespaces)))


def refuse(plane, title, text, namespace, words):
    answer = dry_run(plane, text, namespace)
    assert answer.returncode != 0, f"{title} is taken"
    assert words in answer.stderr, f"{title} is refused for another reason:\n{answer.stderr}"


def refused(plane, environment):
    namespace = render.namespace(environment)
    objects = documents(render.service("catalog", environment))
    for title, kind, path, value, words in REFUSED:
        # The first of its kind, which is taken as it is.
        changed = json.loads(json.dumps(next(one for one in objects if one["kind"] == kind)))
        put(changed, path, value)
        refuse(plane, title, json.dumps(changed), namespace, words)
    deployment = next(one for one in objects if one["kind"] == "Deployment")
    refused_pods(plane, namespace, deployment)
    print(f"  refused: {len(REFUSED)} objects and what pods must not be", flush=True)


def refused_pods(plane, namespace, deployment):
    """What only pods are asked for: nobody warns of it earlier."""
    spec = json.loads(json.dumps(deployment["spec"]["template"]["spec"]))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried", "labels": labels}, "spec": spec}
    plane.apply(json.dumps({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "catalog"}}), namespace)
    assert dry_run(plane, json.dumps(pod), namespace).returncode == 0, "the pod is refused unchanged"
    for title, path, value, words in [
        ("a pod of an unknown priority", ("spec", "priorityClassName"), "highest", "highest"),
        ("a pod that is root", ("spec", "securityContext", "runAsNonRoot"), False, "PodSecurity"),
        ("a pod of a tag", ("spec", "containers", 0, "image"), TAG, "named by its digest"),
        ("a pod beyond the limits", ("spec", "containers", 0, "resources", "limits", "memory"), "64Gi", "memory"),
        ("a pod beyond the quota", ("spec", "containers", 0, "resources", "requests", "cpu"), "999", "exceeded quota"),
        ("a pod of nobody's account", ("spec", "serviceAccountName"), "nobody", "nobody"),
    ]:
        changed = json.loads(json.dumps(pod))
        put(changed, path, value)
        refuse(plane, title, json.dumps(changed), namespace, words)


def main():
    began = time.monotonic()
    rendered = render.everything()
    with ControlPlane(nodes=0) as plane:
        print(f"  control plane after {time.monotonic() - began:.1f} s", flush=True)
        crds.install(plane)
        # First what others stand in and on.
        clusters = [name for name in render.overlays() if name.startswith("cluster")]
        for where in [*clusters, *render.environments()]:
            text = rendered.pop(("k8s", where))
            namespaces_of(plane, text)
            admitted(plane, f"k8s {where}", text)
            if where not in clusters[1:]:
                plane.apply(text)
        admitted(plane, "argocd", rendered.pop(("argocd", "cluster")))
        for environment in render.environments():
            texts = [text for (_, where), text in rendered.items() if where == environment]
            admitted(plane, f"services {environment}", "\n---\n".join(texts), render.namespace(environment))
        refused(plane, "production")
    print(f"  {time.monotonic() - began:.1f} s in all")


if __name__ == "__main__":
    main()
