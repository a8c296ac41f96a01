"""compose.yaml against the services themselves, and what it is started with; there need be no Docker for that.

Every service has its image and, if it has a database, its migration; each gets the variables that the stack of this run
gives it, secrets from nowhere but the file of secrets, and a way to everything it calls. Nothing is reached from other
machines. `containers/compose` makes the secrets once, and `containers/databases.sh` makes databases like the stack's.
Each rule is shown a compose.yaml that breaks it.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.parse

import yaml

from scratch import PROGRAM, ROOT
from stack import status

TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SECRET = re.compile(r"\$\{([A-Z0-9_]+):\?\}")
LISTEN = {"http": "0.0.0.0:8080", "grpc": "0.0.0.0:8081", "admin": "0.0.0.0:9090"}


def descriptions():
    """What the services say of themselves."""
    names = ["bff", *sorted(path.parent.name for path in (ROOT / "services").glob("*/Cargo.toml"))]
    programs = [PROGRAM.with_name(name) for name in names]
    return [json.loads(subprocess.run([one, "describe"], check=True, capture_output=True).stdout) for one in programs]


def given():
    """The names of the variables that each service of this run's stack was started with."""
    names = {}
    for service in status()["services"]:
        pairs = pathlib.Path(f"/proc/{service['pid']}/environ").read_text().split("\0")
        names[service["name"]] = {pair.partition("=")[0].removesuffix("_FILE") for pair in pairs}
    return names


def wrong(text, services, started):
    """Yields what does not fit together."""
    compose = yaml.safe_load(text)
    containers = compose["services"]
    ours = {service["name"] for service in services}
    for name, container in containers.items():
        for port in container.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name}: {port} is reached from other machines"
    databases = {tuple(entry.split(":", 1)) for entry in containers["postgres"]["environment"]["DATABASES"].split()}
    expected = {
        (name, f"${{{name.upper()}_PASSWORD:?}}:${{{name.upper()}_OWNER_PASSWORD:?}}")
        for name in (one["name"].replace("-", "_") for one in services if "postgres" in one["needs"])
    }
    if databases != expected:
        yield f"the databases are {databases}, not {expected}"
    if set(containers["ready"]["environment"]["SERVICES"].split()) != ours:
        yield "ready does not wait for every service"
    for service in services:
        name = service["name"]
        if name not in containers:
            yield f"{name} is missing"
            continue
        for what in of_service(service, containers, started[name]):
            yield f"{name}: {what}"


def of_service(service, containers, started):
    name, container = service["name"], containers[service["name"]]
    if container.get("build", {}).get("args") != {"SERVICE": name} or container["image"] != f"homeward/{name}":
        yield "its image is another"
    for hardened in [container, containers.get(f"{name}-migrate", container)]:
        if hardened.get("read_only") is not True or hardened.get("cap_drop") != ["ALL"]:
            yield "it may do more than in the cluster"
    variables = container["environment"]
    options = {option["env"]: option for option in service["config"]}
    # What the tests set from outside reaches the stack as well.
    by_stack = {one for one in options if one in started and one not in os.environ}
    if variables.keys() != by_stack:
        yield f"the stack sets {sorted(by_stack ^ variables.keys())} on one side only"
    for missing in {one for one, option in options.items() if option["required"]} - variables.keys():
        yield f"{missing} is not set"
    for variable, value in variables.items():
        bare = SECRET.sub("", str(value))
        if options.get(variable, {}).get("secret") and (bare == str(value) or re.search(r":[^/@]+@", bare)):
            yield f"{variable} is no secret"
    for port in service["ports"]:
        if variables.get(f"LISTEN_{port.upper()}") != LISTEN[port]:
            yield f"nobody reaches its port {port}"
    for called in service["calls"]:
        if variables.get(f"GRPC_{called.upper().replace('-', '_')}") != f"http://{called}:8081":
            yield f"it does not reach {called}"
    waits = containers[name]["depends_on"]
    for system in set(service["needs"]) - {"postgres"}:
        if waits.get(system) != {"condition": "service_healthy"}:
            yield f"it does not wait for {system}"
    if "postgres" in service["needs"]:
        migrate = containers.get(f"{name}-migrate", {})
        if waits.get(f"{name}-migrate") != {"condition": "service_completed_successfully"}:
            yield "it does not wait for its migrations"
        if migrate.get("command") != ["migrate"] or migrate.get("image") != container["image"]:
            yield "nobody migrates its database"
        owner = f"postgres://{name}_owner:${{{name.upper().replace('-', '_')}_OWNER_PASSWORD:?}}@postgres/{name}"
        if migrate.get("environment") != variables | {"MIGRATE_DATABASE_URL": owner}:
            yield "its migrations run in another environment"


def rules():
    services, started = descriptions(), given()
    found = list(wrong(TEXT, services, started))
    assert not found, "\n".join(found)
    for before, after, expected in [
        ('"127.0.0.1:4600:8080"', '"4600:8080"', "other machines"),
        ("catalog:${CATALOG_PASSWORD:?}:${", "catalog:${IDENTITY_PASSWORD:?}:${", "databases are"),
        ("SERVICES: bff identity", "SERVICES: bff", "every service"),
        ("  bff:\n", "  front:\n", "bff is missing"),
        ("args: { SERVICE: catalog }", "args: { SERVICE: identity }", "catalog: its image"),
        ("cap_drop: [ALL]", "cap_drop: []", "more than in the cluster"),
        ("  KAFKA_BROKERS: kafka:9092\n", "", "KAFKA_BROKERS is not set"),
        ("      PUBLIC_URL: http://127.0.0.1:4600\n", "", "bff: the stack sets ['PUBLIC_URL']"),
        ("      GRPC_CATALOG: ", "      GRPC_PETS: http://pets:8081\n      GRPC_CATALOG: ", "['GRPC_PETS']"),
        ("SEAL_KEY: ${CATALOG_SEAL_KEY:?}", f"SEAL_KEY: {'0' * 64}", "SEAL_KEY is no secret"),
        ("catalog:${CATALOG_PASSWORD:?}@", "catalog:${CATALOG_PASSWORD:?}x@", "DATABASE_URL is no secret"),
        ("LISTEN_ADMIN: 0.0.0.0", "LISTEN_ADMIN: 127.0.0.1", "its port admin"),
        ("http://identity:8081", "http://identity:8080", "does not reach identity"),
        ("      redis: { condition: service_healthy }\n", "", "wait for redis"),
        ("      catalog-migrate: { condition: service_completed_successfully }\n", "", "wait for its migrations"),
        ("    command: [migrate]\n", "", "nobody migrates"),
        ("postgres://catalog_owner:", "postgres://catalog:", "another environment"),
    ]:
        assert before in TEXT, before
        found = list(wrong(TEXT.replace(before, after, 1), services, started))
        assert any(expected in what for what in found), f"{before!r} as {after!r}: {found}"


def secrets():
    """Each is made once, is random and for nobody else to read."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "containers").mkdir()
        shutil.copy(ROOT / "containers/compose", root / "containers/compose")
        shutil.copy(ROOT / "compose.yaml", root / "compose.yaml")
        docker = root / "docker"
        docker.write_text("#!/bin/sh\necho $@\n")
        docker.chmod(0o755)

        def made():
            command = [root / "containers/compose", "up", "--wait"]
            variables = os.environ | {"PATH": f"{root}:{os.environ['PATH']}"}
            answer = subprocess.run(command, check=True, capture_output=True, text=True, env=variables, cwd="/")
            assert answer.stdout == "compose --env-file .homeward/compose.env up --wait\n", answer
            path = root / ".homeward/compose.env"
            assert path.stat().st_mode & 0o777 == 0o600, oct(path.stat().st_mode)
            return dict(line.split("=") for line in path.read_text().splitlines())

        first = made()
        assert first.keys() == set(SECRET.findall(TEXT)), first.keys()
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in first.values()), first
        assert len(set(first.values())) == len(first), "two secrets are the same"
        compose = root / "compose.yaml"
        compose.write_text(compose.read_text() + "# ${PETS_SEAL_KEY:?}\n")
        second = made()
        assert second.items() > first.items() and second.keys() - first.keys() == {"PETS_SEAL_KEY"}, second


def databases():
    """The script for the container, beside the databases of this run's stack; a second run finds all of it there."""
    server = urllib.parse.urlsplit(status()["postgres"])
    names = ["compose_a", "compose_b"]
    variables = {"PGHOST": server.hostname, "PGPORT": str(server.port), "PGPASSWORD": server.password}
    variables["DATABASES"] = " ".join(f"{name}:serves{name}:owns{name}" for name in names)

    def asks(user, password, database, statement):
        url = server._replace(netloc=f"{user}:{password}@{server.hostname}:{server.port}", path=f"/{database}").geturl()
        command = ["psql", url, "--no-psqlrc", "-qAtc", statement]
        return subprocess.run(command, capture_output=True, text=True).returncode == 0

    def drop():
        for name in names:
            for what in [f"DATABASE IF EXISTS {name}", f"ROLE IF EXISTS {name}", f"ROLE IF EXISTS {name}_owner"]:
                asks("postgres", server.password, "postgres", f"DROP {what}")

    drop()
    try:
        for _ in range(2):
            subprocess.run([ROOT / "containers/databases.sh"], check=True, env=os.environ | variables)
        assert asks("compose_a", "servescompose_a", "compose_a", "SELECT 1")
        assert asks("compose_a_owner", "ownscompose_a", "compose_a", "CREATE TABLE t (id int)")
        assert not asks("compose_a", "servescompose_a", "compose_a", "CREATE TABLE u (id int)")
        assert not asks("compose_a", "servescompose_a", "compose_a", "SELECT * FROM t"), "nobody has granted it"
        assert not asks("compose_a", "servescompose_a", "compose_b", "SELECT 1"), "a service reads another's database"
        assert not asks("compose_a", "wrong", "compose_a", "SELECT 1")
    finally:
        drop()


def tilt(text):
    """The resources that a Tiltfile names, which is close enough to Python; its secrets must be those of compose."""
    named, ran = set(), []
    functions = {
        "dc_resource": lambda name, **_: named.add(name),
        "docker_compose": lambda path, env_file: ran.append((path, env_file)),
        "link": lambda *_: None,
        "local": lambda command, quiet: ran.append(command),
    }
    exec(compile(text, "Tiltfile", "exec"), {"__builtins__": {}} | functions)
    assert ran == ["containers/compose config --quiet", ("compose.yaml", ".homeward/compose.env")], ran
    return named


def resources():
    text, containers = (ROOT / "Tiltfile").read_text(encoding="utf-8"), yaml.safe_load(TEXT)["services"].keys()
    assert tilt(text) == containers, tilt(text) ^ containers
    assert tilt(text.replace("'catalog', ", "")) != containers


def main():
    rules()
    resources()
    secrets()
    databases()


if __name__ == "__main__":
    main()
