"""Shows that `k8s/` and `charts/` mean the same cluster, where one says what the other relies on.

Hosts, the namespaces that policies name, the priorities that pods are given, the figures that scalers ask for, the
topics that services may write, and the secrets that somebody has to make before anything runs. Each check is also
shown one that it must find.
"""

import copy
import re

import yaml

from scratch import ROOT


def load(path):
    return [part for part in yaml.safe_load_all((ROOT / path).read_text(encoding="utf-8")) if part]


def stems(folder):
    return sorted(path.stem for path in (ROOT / folder).glob("*.yaml"))


def read():
    """What the files say, by what is compared here."""
    table = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `homeward-<environment>/(\S+)` \| (.*) \|$", table, re.MULTILINE)
    chart = [*(ROOT / "charts/service/templates").iterdir(), ROOT / "charts/service/values.yaml"]
    texts = [path.read_text(encoding="utf-8") for path in chart]
    scaling = (ROOT / "charts/service/templates/autoscaling.yaml").read_text(encoding="utf-8")
    return {
        "charts": {name: load(f"charts/environments/{name}.yaml")[0] for name in stems("charts/environments")},
        "overlays": {
            path.parent.name: load(path.relative_to(ROOT))[0]["data"]
            for path in (ROOT / "k8s/overlays").glob("*/environment.yaml")
        },
        "route": load("k8s/overlays/preview/route.yaml")[0]["spec"]["hostnames"],
        "values": {name: load(f"charts/values/{name}.yaml")[0] for name in stems("charts/values")},
        "publishes": {name: load(f"charts/contracts/{name}.yaml")[0]["contract"] for name in stems("charts/contracts")},
        "topics": [topic["metadata"]["name"] for topic in load("k8s/base/kafka/topics.yaml")],
        "namespaces": [space["metadata"]["name"] for space in load("k8s/cluster/namespaces.yaml")],
        "priorities": [priority["metadata"]["name"] for priority in load("k8s/cluster/priorities.yaml")],
        "named": {name for text in texts for name in re.findall(r"kubernetes\.io/metadata\.name: ([a-z-]+)", text)},
        "figures": set(
            re.findall(r"\bas: (\w+)", (ROOT / "k8s/cluster/adapter/config.yaml").read_text(encoding="utf-8"))
        ),
        "asked": set(re.findall(r"\b((?:rpc|http)_server_\w+|events_lag)\b", scaling)),
        "secrets": {name: re.findall(r"`([A-Z_]+)`", keys) for name, keys in rows},
    }


def wrong(said):
    """Where the two say different things."""
    for name, chart in said["charts"].items():
        if name == "preview":
            # The namespace is put in by the chart and by kustomize, each in its own way.
            host = chart["hosts"]["bff"].replace("{{ .Release.Namespace }}", "homeward-pr-0")
            if said["route"] != [host]:
                yield f"previews are called {host} by the chart and {said['route'][0]} by their route"
            continue
        overlay = said["overlays"].get(name)
        if not overlay:
            yield f"{name} has no overlay"
            continue
        for key, service in [("api", "bff"), ("id", "identity")]:
            if overlay[key] != chart["hosts"][service]:
                yield f"{service} of {name} is {chart['hosts'][service]} for the chart and {overlay[key]} for the gateway"
        if (overlay["name"], overlay["namespace"]) != (name, f"homeward-{name}"):
            yield f"the overlay {name} says that it is {overlay['name']} in {overlay['namespace']}"
    yield from (f"the overlay {name} is of no environment" for name in sorted(said["overlays"].keys() - said["charts"]))
    for space in sorted(said["named"] - {"kube-system", *said["namespaces"]}):
        yield f"a policy of the chart names {space}, which nobody makes"
    for kind in sorted({values["kind"] for values in said["values"].values()} | {"worker"}):
        if f"homeward-{kind}" not in said["priorities"]:
            yield f"nobody makes the priority homeward-{kind}"
    yield from (f"no adapter has the figure {name}" for name in sorted(said["asked"] - said["figures"]))
    published = {topic for contract in said["publishes"].values() for topic in contract["publishes"]}
    if published != set(said["topics"]):
        yield f"topics differ: {sorted(published ^ set(said['topics']))}"
    for name, values in said["values"].items():
        if sorted(values.get("secrets", [])) != sorted(said["secrets"].get(name, [])):
            yield f"secrets of {name}: {values.get('secrets')} in its values, {said['secrets'].get(name)} in docs/operations.md"


def must_find(what, said, path, value, expected):
    """Puts a value at a path, and wants to be told of it."""
    planted = copy.deepcopy(said)
    place = planted
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    found = list(wrong(planted))
    assert any(expected in line for line in found), f"{what} was not found: {found}"
    print(f"  {what} is found", flush=True)


def main():
    said = read()
    assert len(said["overlays"]) >= 3 and said["named"] and said["topics"], "hardly a file was read"
    found = list(wrong(said))
    assert not found, "\n".join(found)
    print(f"  {len(said['overlays'])} environments are the same for charts and overlays", flush=True)
    must_find("another host", said, ("overlays", "dev", "api"), "api.example", "bff of dev is")
    must_find("another host of previews", said, ("route",), ["pr-0.example"], "previews are called")
    must_find(
        "an overlay of another", said, ("overlays", "dev", "namespace"), "homeward-staging", "the overlay dev says"
    )
    must_find("an environment without overlay", said, ("charts", "canary"), {}, "canary has no overlay")
    must_find("a namespace that nobody makes", said, ("named",), {"gateways"}, "names gateways")
    must_find("a priority that nobody makes", said, ("priorities",), ["homeward-gateway"], "homeward-worker")
    must_find("a figure that no adapter has", said, ("figures",), {"events_lag"}, "no adapter has the figure rpc")
    must_find("a topic that nobody makes", said, ("topics",), ["events.offer"], "topics differ")
    must_find("a secret that nobody is told to make", said, ("secrets", "bff"), ["SEAL_KEY"], "secrets of bff")


if __name__ == "__main__":
    main()
