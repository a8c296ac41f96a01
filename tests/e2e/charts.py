"""What charts say of services: by their schema, as the programs describe themselves, and rendered as it was agreed.

Every service's values are valid in every environment and a mistake is refused; kind, ports, needs, calls, settings,
secrets, methods and topics are those that the built program tells; who may call a service is who says that it does;
and, where helm is on the PATH or among the cluster's tools, each render is the one in charts/golden. With UPDATE=1 the
renders are written instead. What `homeward new service` writes is held against the same.
"""

import copy
import difflib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import jsonschema_rs
import yaml

from scratch import PROGRAM, ROOT

CHARTS = ROOT / "charts"
CHART = CHARTS / "service"
GOLDEN = CHARTS / "golden"
ENVIRONMENTS = ("dev", "staging", "production", "preview")
TEMPLATES = ROOT / "cli/templates"
WORKER = "vote-counts"
DIGEST = {"image": {"digest": f"sha256:{'0' * 64}"}}

# Each is refused: where it is put, and a word of what is said.
MISTAKES = [
    ({"replicas": 3}, "replicas"),
    ({"mesh": {"allow": []}}, "allow"),
    ({"resources": {"limits": {"cpu": "1"}}}, "not"),
    ({"image": {"tag": "latest"}}, "tag"),
    ({"image": {"digest": "latest"}}, "sha256"),
    ({"ports": ["grpc"]}, "2 items"),
    ({"needs": ["mongo"]}, "mongo"),
    ({"env": {"KAFKA_BROKERS": "localhost:9092"}}, "KAFKA_BROKERS"),
    ({"env": {"LOG_LEVEL": 3}}, "string"),
    ({"scaling": {"lag": 10}}, "lag"),
    ({"kind": "worker", "scaling": {"cpu": 50}}, "cpu"),
    ({"kind": "worker", "scaling": {"max": 13}}, "12"),
    ({"shutdown": {"preStop": 0}}, "3"),
    ({"environment": {"name": "production", "mode": "production", "replicasMin": 2, "zones": "DoNotSchedule"}}, "3"),
    ({"public": True}, "ports"),
]


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def services():
    return sorted(path.stem for path in (CHARTS / "values").glob("*.yaml"))


def namespace(environment):
    return "homeward-pr-1" if environment == "preview" else f"homeward-{environment}"


def files(environment, service):
    """The values of a service, in the order in which they count."""
    paths = [
        CHARTS / "values" / f"{service}.yaml",
        CHARTS / "contracts" / f"{service}.yaml",
        CHARTS / "environments" / f"{environment}.yaml",
        CHARTS / "digests" / environment / f"{service}.yaml",
    ]
    override = CHARTS / "environments" / environment / f"{service}.yaml"
    return paths + [override] * override.exists()


def over(below, above):
    """Maps are put together, all else is replaced, as helm does it."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: over(below.get(key), value) for key, value in above.items()}


def merged(*values):
    all_values = load(CHART / "values.yaml")
    for one in values:
        all_values = over(all_values, one)
    return all_values


def complaints(values, schema):
    return [f"{list(error.instance_path)}: {error.message}" for error in schema.iter_errors(values)]


def by_schema(schema):
    """Yields what is not valid, and what should not be."""
    for environment in ENVIRONMENTS:
        for service in services():
            values = merged(*map(load, files(environment, service)))
            for complaint in complaints(values, schema):
                yield f"{service} in {environment}: {complaint}"
    catalog = merged(*map(load, files("production", "catalog")))
    assert not complaints(catalog, schema)
    for mistake, word in MISTAKES:
        # Tried one level up, keys of the same map are replaced one by one.
        said = " ".join(complaints(over(catalog, mistake), schema))
        if word not in said:
            yield f"{mistake} is not refused for {word}, but: {said or 'taken'}"


def described(values, description, reserved):
    """Yields where the values of a service are not what its program says."""
    contract = values["contract"]
    calls = contract["everybody"] if values["calls"] == "everybody" else values["calls"]
    listed = {"ports": values["ports"], "needs": values["needs"], "calls": calls}
    listed |= {"hears": values["kafka"]["hears"], "publishes": contract["publishes"]}
    if values["kind"] != description["kind"]:
        yield f"the kind is {description['kind']}"
    for key, said in listed.items():
        if sorted(said) != sorted(description.get(key, said)):
            yield f"{key} is {description[key]}, not {said}"
    methods = [method for service in description["services"] for method in service["methods"]]
    if {method["path"]: promised(method) for method in methods} != {
        method["path"]: promised(method) for method in contract["methods"]
    }:
        yield "the contract has other methods"
    options = {option["env"]: option for option in description["config"]}
    given = set(values["env"]) | set(values["secrets"])
    for name in given - set(options):
        yield f"it reads no {name}"
    for name in set(values["env"]) & set(options):
        if options[name]["secret"]:
            yield f"{name} is a secret"
    for name in set(values["secrets"]) & set(options):
        if not options[name]["secret"]:
            yield f"{name} is no secret"
    for name, option in options.items():
        if option["required"] and name not in given and not reserved.match(name):
            yield f"it needs {name}"


def promised(method):
    access = method["access"]
    who = access if isinstance(access, str) else (access["roles"], access["services"])
    return method["class"], method["idempotency"], who


def settings(rendered, description):
    """Yields where the variables of the rendered containers are not what the program reads."""
    options = {option["env"]: option for option in description["config"]}
    (pod,) = (one["spec"]["template"]["spec"] for one in rendered if one["kind"] == "Deployment")
    for container in pod.get("initContainers", []) + pod["containers"]:
        names = {variable["name"] for variable in container["env"]}
        plain = {name for name in names if name in options and not options[name]["secret"]}
        secret = {name.removesuffix("_FILE") for name in names - plain}
        for name in secret:
            if not (name in options and options[name]["secret"] and f"{name}_FILE" in names):
                yield f"{container['name']} is given {name}, which it does not read so"
        for name, option in options.items():
            if option["required"] and name not in plain | secret:
                yield f"{container['name']} is not given {name}"


def by_description(schema):
    """Yields where values, or renders, and programs differ."""
    reserved = re.compile(schema["properties"]["env"]["propertyNames"]["not"]["pattern"])
    for service in services():
        description = json.loads(subprocess.check_output([PROGRAM.with_name(service), "describe"]))
        values = merged(load(CHARTS / "values" / f"{service}.yaml"), load(CHARTS / "contracts" / f"{service}.yaml"))
        for wrong in described(values, description, reserved):
            yield f"charts/values/{service}.yaml: {wrong}"
        for environment in ENVIRONMENTS:
            rendered = list(yaml.safe_load_all((GOLDEN / environment / f"{service}.yaml").read_text()))
            for wrong in settings(rendered, description):
                yield f"charts/golden/{environment}/{service}.yaml: {wrong}"
        # Of the last environment, with one variable called otherwise.
        (pod,) = (one["spec"]["template"]["spec"] for one in rendered if one["kind"] == "Deployment")
        pod["containers"][0]["env"][0]["name"] += "S"
        if not list(settings(rendered, description)):
            yield f"{service}: nothing is said of a variable that is not read"
        for plant in PLANTS:
            other = copy.deepcopy(values)
            plant(other)
            if not list(described(other, description, reserved)):
                yield f"{service}: nothing is said of {plant.__doc__}"


def another_port(values):
    """another port"""
    values["ports"] = ["admin"]


def a_need_too_few(values):
    """a need too few"""
    values["needs"] = values["needs"][1:]


def a_secret_forgotten(values):
    """a secret forgotten"""
    values["secrets"] = [name for name in values["secrets"] if name != "SEAL_KEY"]


def a_secret_in_the_open(values):
    """a secret in the open"""
    values["env"] = values["env"] | {"SEAL_KEY": "00"}


def an_unknown_setting(values):
    """an unknown setting"""
    values["env"] = values["env"] | {"LOG_LEVLE": "debug"}


def a_method_more(values):
    """a method more"""
    method = {"path": "/a.v1.B/C", "class": "read", "idempotency": "natural", "access": "public"}
    values["contract"]["methods"].append(method)


PLANTS = [another_port, a_need_too_few, a_secret_forgotten, a_secret_in_the_open, an_unknown_setting, a_method_more]


def by_calls(all_values):
    """Yields who is let in and does not call, or calls and is not let in."""
    calling = {}
    for name, values in all_values.items():
        calls = values["contract"]["everybody"] if values["calls"] == "everybody" else values["calls"]
        for called in calls:
            calling.setdefault(called, set()).add(name)
    for name, values in all_values.items():
        if set(values["mesh"]["allowFrom"]) != calling.get(name, set()):
            yield f"{name} lets in {values['mesh']['allowFrom']}, and {sorted(calling.get(name, set()))} call it"


def generated(kind, name):
    """The values that `homeward new service` writes."""
    text = (TEMPLATES / kind / "values.yaml").read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda word: name if word[1] == "name" else word[1], text)


def by_generator(schema):
    """Yields what would be wrong with a new service. Its contract is made by the programs that read protos."""
    for kind, name in (("gateway", "pets"), ("worker", WORKER)):
        for environment in ENVIRONMENTS:
            values = yaml.safe_load(generated(kind, name))
            everything = merged(values, load(CHARTS / "environments" / f"{environment}.yaml"), DIGEST)
            for complaint in complaints(everything, schema):
                yield f"{kind} in {environment}: {complaint}"


def by_partitions():
    """Yields who counts the partitions otherwise."""
    topics = (ROOT / "crates/platform-events/src/topics.rs").read_text(encoding="utf-8")
    partitions = int(re.search(r"PARTITIONS: i32 = (\d+)", topics).group(1))
    for topic in yaml.safe_load_all((ROOT / "k8s/base/kafka/topics.yaml").read_text(encoding="utf-8")):
        if topic["spec"]["partitions"] != partitions:
            yield f"{topic['metadata']['name']} has not {partitions} partitions"
    # That one more is refused is shown among the mistakes.
    if [word for mistake, word in MISTAKES if mistake.get("scaling") == {"max": partitions + 1}] != [str(partitions)]:
        yield f"a worker may have more replicas than the {partitions} partitions"


def helm():
    """The program, if it is there."""
    tools = os.environ.get("HOMEWARD_TOOLS") or ROOT / ".homeward/tools/cluster"
    return shutil.which("helm", path=os.pathsep.join([str(tools), os.environ["PATH"]]))


def render(program, environment, service, paths, *arguments):
    command = [program, "template", service, CHART, "--namespace", namespace(environment), "--kube-version", "1.34.4"]
    for path in paths:
        command += ["--values", path]
    answer = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert answer.returncode == 0, f"{service} in {environment}: {answer.stderr}"
    return list(filter(None, yaml.safe_load_all(answer.stdout)))


def written(objects):
    """The objects as they are compared: what a template or another helm writes otherwise is no change."""
    objects = sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"]))
    return yaml.safe_dump_all(objects, explicit_start=True, default_flow_style=None, width=120)


def renders(program):
    """The path of each golden file, and the objects that are rendered now."""
    with tempfile.TemporaryDirectory() as folder:
        # The same for all: which image runs is for CI to say, many times a day.
        digest, worker = pathlib.Path(folder, "digest.yaml"), pathlib.Path(folder, "worker.yaml")
        digest.write_text(yaml.safe_dump(DIGEST), encoding="utf-8")
        worker.write_text(generated("worker", WORKER), encoding="utf-8")
        for environment in ENVIRONMENTS:
            for service in services():
                paths = [*files(environment, service), digest]
                yield f"{environment}/{service}.yaml", render(program, environment, service, paths)
        paths = [worker, CHARTS / "environments/production.yaml", digest]
        yield "worker/hpa.yaml", render(program, "production", WORKER, paths)
        keda = ["--api-versions", "keda.sh/v1alpha1"]
        yield "worker/keda.yaml", render(program, "production", WORKER, paths, *keda)


def by_golden(program):
    """Yields the first lines of what is rendered otherwise than agreed."""
    found = set()
    for name, objects in renders(program):
        text = written(objects)
        path = GOLDEN / name
        found.add(path)
        if "UPDATE" in os.environ:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        agreed = path.read_text(encoding="utf-8") if path.exists() else ""
        if agreed != text:
            lines = list(difflib.unified_diff(agreed.splitlines(), text.splitlines(), str(name), "now", n=0))[2:22]
            yield "\n".join([f"charts/golden/{name} is out of date: UPDATE=1 python3 tests/e2e/charts.py", *lines])
    for path in set(GOLDEN.rglob("*.yaml")) - found:
        yield f"{path.relative_to(ROOT)} is of no service"


def main():
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema_rs.validator_for(schema)
    program = helm()
    # First, since the renders are also held against the programs.
    wrong = list(by_golden(program)) if program else []
    wrong += [*by_schema(validator), *by_generator(validator), *by_partitions(), *by_description(schema)]
    contracts = {name: merged(*map(load, files("dev", name))) for name in services()}
    wrong += by_calls(contracts)
    contracts["catalog"]["mesh"]["allowFrom"] = ["bff"]
    assert list(by_calls(contracts)), "nobody misses a caller that is not let in"
    assert not wrong, "\n".join(wrong)
    what = "rendered as agreed" if program else "not rendered: there is no helm"
    print(f"  {len(services())} services, {len(ENVIRONMENTS)} environments, {what}", flush=True)


if __name__ == "__main__":
    main()
