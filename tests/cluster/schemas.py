"""Schemas for kubeconform: those of Kubernetes, and of every definition that crds.py knows, closed to unknown fields."""

import json

import yaml

import crds
import tools
from render import KUBERNETES


class Loader(yaml.CSafeLoader):
    """Takes a plain `=`, which a definition has among its words, for text."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


def write(folder):
    """Writes all of them into a folder, and answers kubeconform's arguments for it."""
    series = KUBERNETES.rsplit(".", 1)[0]
    for path in (tools.schemas() / "kubernetes-json-schema" / f"v{series}.0-local-strict").glob("*.json"):
        # As they are, they name themselves by an address at which nothing is.
        schema = json.loads(path.read_text().replace('"/api/_definitions.json', '"_definitions.json'))
        schema.pop("$id", None)
        (folder / path.name).write_text(json.dumps(schema))
    for path in crds.files():
        for definition in yaml.load_all(path.read_text(), Loader):
            for version in definition["spec"]["versions"]:
                name = f"{definition['spec']['names']['kind']}-{version['name']}.json".lower()
                schema = closed(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                (folder / f"custom-{name}").write_text(json.dumps(schema))
    return [
        "-strict",
        "-kubernetes-version",
        f"{series}.0",
        "-schema-location",
        f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
        "-schema-location",
        f"{folder}/custom-{{{{.ResourceKind}}}}-{{{{.ResourceAPIVersion}}}}.json",
    ]


def closed(schema):
    """A definition's schema as the API server reads it: what is not named is not there."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        result["type"] = ["integer", "string"]
        result.pop("anyOf", None)
    if schema.get("nullable") is True and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    if (
        schema.get("type") == "object"
        and isinstance(schema.get("properties"), dict)
        and "additionalProperties" not in schema
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        result["additionalProperties"] = False
        # The type of an embedded object is told beside its own fields.
        if schema.get("x-kubernetes-embedded-resource"):
            for key in ("apiVersion", "kind", "metadata"):
                result["properties"].setdefault(key, {})
    return result
