"""Shows that dashboards, alerts and scalers ask for what exists.

Every metric and label in the expressions of `k8s/cluster` stands in `docs/telemetry.md`, or on the short list below of
what Kubernetes and others say; every alert has its heading in the runbooks, and every heading its alert. A name that
nobody has makes a dashboard empty and an alert silent for ever, so each check is also shown one that it must find.
"""

import json
import re
import sys

from scratch import ROOT

# What Prometheus adds to each series by its target, and what a histogram has.
TARGET = {"namespace", "pod", "service", "endpoint", "instance", "job", "container", "le"}
# Metrics of kube-state-metrics, Prometheus, cert-manager and External Secrets, with their labels.
OUTSIDE = {
    "kube_deployment_spec_replicas": {"deployment"},
    "kube_deployment_status_condition": {"deployment", "condition", "status"},
    "kube_deployment_status_replicas_available": {"deployment"},
    "kube_pod_container_status_restarts_total": set(),
    "kube_horizontalpodautoscaler_spec_max_replicas": {"horizontalpodautoscaler"},
    "kube_horizontalpodautoscaler_status_current_replicas": {"horizontalpodautoscaler"},
    "up": set(),
    "certmanager_certificate_expiration_timestamp_seconds": {"name"},
    "externalsecret_status_condition": {"name", "condition", "status"},
}
FUNCTIONS = {"rate", "increase", "deriv", "histogram_quantile", "label_values", "time"}
AGGREGATIONS = {"sum", "max", "min", "avg", "count", "topk"}
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset"}

SERIES = r"[a-zA-Z_][a-zA-Z0-9_]*(?::[a-zA-Z0-9_]+)*"


def documented():
    """The metrics of `docs/telemetry.md` with their labels."""
    text = (ROOT / "docs/telemetry.md").read_text(encoding="utf-8")
    found = {}
    for row in text.partition("## Metrics")[2].splitlines():
        cells = row.split("|")
        if len(cells) == 5 and "`" in cells[1]:
            labels = set(re.findall(r"`([a-z_]+)`", cells[2]))
            found.update({name: labels for name in re.findall(r"`([a-z_]+)`", cells[1])})
    assert len(found) > 40, "docs/telemetry.md lists hardly a metric"
    return found


def unknown(expression, metrics, recorded=frozenset()):
    """What an expression names and nobody has."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    text = re.sub(r"\[[^\]]*\]", "", text)
    grouped = re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", text)
    asked = {label for group in grouped for label in re.findall(r"\w+", group)}
    text = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    text = re.sub(r"\boffset\s+\w+", " ", text)
    series = re.findall(rf"(?<![\w.])({SERIES})\s*(?:{{([^}}]*)}})?", text)
    labels = set()
    for name, selector in series:
        if name in FUNCTIONS | AGGREGATIONS | WORDS or re.fullmatch(r"\d.*", name):
            continue
        if name in recorded:
            labels |= TARGET
            continue
        stem = re.sub(r"_(bucket|count|sum)$", "", name)
        has = OUTSIDE.get(name, metrics.get(name, metrics.get(stem)))
        if has is None:
            yield f"no metric {name}"
            continue
        labels |= has
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            if label not in has | TARGET:
                yield f"{name} has no label {label}"
    # Labels by which values are added up may come from any of the series beside them.
    for label in asked - labels - TARGET:
        yield f"no label {label} in {' '.join(expression.split())}"


def rules(text):
    """The rules of a PrometheusRule: (kind, name, expression, annotations and all)."""
    for part in re.split(r"^ +- (?=alert:|record:)", text, flags=re.MULTILINE)[1:]:
        kind, name = re.match(r"(alert|record): (\S+)", part).groups()
        block = re.search(r"^( +)expr: (?:\|\n((?:\1  .*\n)+)|(.*)\n)", part, re.MULTILINE)
        assert block, f"{name} has no expression"
        yield kind, name, block[2] or block[3], part


def expressions(board):
    """What the panels of a dashboard and its variables ask."""
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m").replace("$namespace", "")
    for variable in board["templating"]["list"]:
        inner = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        yield variable["name"], f"sum by ({inner[2]}) ({inner[1]})"


def alerts_wrong(texts, metrics):
    """What alerts ask for and nobody has, and alerts that lead nowhere."""
    every = [rule for text in texts for rule in rules(text)]
    recorded = {name for kind, name, _, _ in every if kind == "record"}
    for kind, name, expression, part in every:
        for wrong in unknown(expression, metrics, recorded):
            yield f"{name}: {wrong}"
        if kind == "alert":
            if not re.search(rf"runbook_url: \S+/docs/runbooks/README\.md#{name.lower()}$", part, re.MULTILINE):
                yield f"{name} does not lead to its runbook"
            if not re.search(r"severity: (page|ticket)\b", part):
                yield f"{name} does not say how urgent it is"


def runbooks_wrong(texts, page):
    """Alerts without a heading, and headings without an alert."""
    alerts = {name for text in texts for kind, name, _, _ in rules(text) if kind == "alert"}
    headings = set(re.findall(r"^## (\S+)$", page, re.MULTILINE))
    yield from (f"{name} has no runbook" for name in sorted(alerts - headings))
    yield from (f"the runbook {name} is of no alert" for name in sorted(headings - alerts))


def adapter_wrong(text, metrics):
    """What the rules of the adapter are made from and nobody has."""
    for query in re.findall(r"seriesQuery: (.*)", text):
        yield from unknown(query, metrics)


def boards_wrong(boards, metrics):
    """What dashboards ask for and nobody has, and dashboards that would take another's place."""
    seen = set()
    for name, board in boards.items():
        for title, expression in expressions(board):
            yield from (f"{name}, {title}: {wrong}" for wrong in unknown(expression, metrics))
        if board["uid"] in seen:
            yield f"{name}: {board['uid']} is taken"
        seen.add(board["uid"])


def must_find(what, wrong, expected):
    assert any(expected in line for line in wrong), f"{what} was not found: {list(wrong)}"
    print(f"  {what} is found", flush=True)


def negatives(metrics, texts, page, boards):
    """One of each kind that must be found."""
    alert = texts["events.yaml"]
    planted = [alert.replace("outbox_age_seconds", "outbox_age")]
    must_find("a metric that nobody has", list(alerts_wrong(planted, metrics)), "no metric outbox_age")
    planted = [alert.replace("by (namespace, consumer, topic)", "by (namespace, group, topic)")]
    must_find("a label that nobody has", list(alerts_wrong(planted, metrics)), "no label group")
    planted = [texts["objectives.yaml"].replace('status=~"5..', 'code=~"5..')]
    must_find("a label that the metric lacks", list(alerts_wrong(planted, metrics)), "has no label code")
    planted = [texts["objectives.yaml"].replace("record: homeward:rpc_errors:ratio_5m", "record: homeward:other")]
    must_find("a recording that is gone", list(alerts_wrong(planted, metrics)), "no metric homeward:rpc_errors")
    planted = [alert.replace("README.md#outboxold", "README.md#outbox")]
    must_find("a link to another runbook", list(alerts_wrong(planted, metrics)), "OutboxOld does not lead")
    planted = page.replace("## OutboxOld", "## OutboxAge")
    must_find("an alert without a runbook", list(runbooks_wrong(texts.values(), planted)), "OutboxOld has no runbook")
    must_find("a runbook without an alert", list(runbooks_wrong(texts.values(), planted)), "OutboxAge is of no alert")
    planted = json.loads(json.dumps(boards["live.json"]).replace("live_connections", "live_sockets"))
    must_find("a panel that stays empty", list(boards_wrong({"live": planted}, metrics)), "no metric live_sockets")
    must_find("two dashboards in one place", list(boards_wrong({"a": planted, "b": planted}, metrics)), "is taken")
    planted = 'seriesQuery: rpc_calls{namespace!=""}'
    must_find("a scaler without figures", list(adapter_wrong(planted, metrics)), "no metric rpc_calls")


def main():
    folder = ROOT / "k8s/cluster"
    metrics = documented()
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("alerts/*.yaml"))}
    texts.pop("kustomization.yaml")
    boards = {
        path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("dashboards/*.json"))
    }
    adapter = (folder / "adapter/config.yaml").read_text(encoding="utf-8")
    page = (ROOT / "docs/runbooks/README.md").read_text(encoding="utf-8")

    wrong = [*alerts_wrong(texts.values(), metrics), *runbooks_wrong(texts.values(), page)]
    wrong += [*boards_wrong(boards, metrics), *adapter_wrong(adapter, metrics)]
    for line in wrong:
        print(f"  {line}", file=sys.stderr)
    assert not wrong, f"{len(wrong)} things are asked for that nobody has"
    count = sum(kind == "alert" for text in texts.values() for kind, *_ in rules(text))
    panels = sum(len(board["panels"]) for board in boards.values())
    assert count > 20 and panels > 20, f"only {count} alerts and {panels} panels were read"
    print(f"  {count} alerts and {panels} panels ask for what there is", flush=True)
    negatives(metrics, texts, page, boards)


if __name__ == "__main__":
    main()
