"""What the services under test rest on: Postgres, Kafka and Redis of a stack of `homeward up`, and their variables.

The stack's own service goes on beside them; databases, topics and keys under test are others.
"""

import json
import os
import pathlib
import secrets
import socket
import subprocess
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Of the stack itself; behind them come those of the proxy and of the pods.
STACK_PORTS, PORTS = 100, 400
PREFIX = "rollout"
# The longest that anybody who checks tokens waits between two looks at the key set is 30 s.
KEY_PUBLISHED_FOR = "35s"


def is_free(port):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Infrastructure:
    """Runs for the length of the block, and leaves nothing."""

    def __enter__(self):
        bases = range(int(os.environ.get("HOMEWARD_ROLLOUT_PORTS", "7600")), 30_000, PORTS)
        self.base = next(base for base in bases if all(is_free(port) for port in range(base, base + PORTS)))
        os.environ["HOMEWARD_PORT_BASE"] = str(self.base)
        os.environ.setdefault("HOMEWARD_CLI", str(ROOT / "homeward"))
        self.ports = iter(())
        try:
            wanted = ["--detach", "--json", "--only", "catalog", "--demo", "no"]
            self.status = json.loads(self.cli("up", *wanted))
            self._look()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.cli("down", "--purge")

    def cli(self, command, *arguments):
        line = [os.environ["HOMEWARD_CLI"], command, *arguments, "--port-base", str(self.base)]
        return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout

    def _look(self):
        """Learns from the stack's own service where all is."""
        (one,) = self.status["services"]
        self.programs = pathlib.Path(os.readlink(f"/proc/{one['pid']}/exe")).parent
        variables = pathlib.Path(f"/proc/{one['pid']}/environ").read_text(encoding="utf-8").split("\0")
        variables = dict(entry.split("=", 1) for entry in variables if entry)
        self.brokers = variables["KAFKA_BROKERS"]
        self.redis = pathlib.Path(variables["REDIS_URL_FILE"]).read_text(encoding="utf-8").strip()

    def port(self):
        """One that was not in use for as long as can be."""
        while (port := next(self.ports, None)) is None or not is_free(port):
            if port is None:
                self.ports = iter(range(self.base + STACK_PORTS, self.base + PORTS))
        return port

    def sql(self, statements, database="postgres"):
        """Runs statements as the superuser; answers the rows, each a list of strings."""
        url = urllib.parse.urlsplit(self.status["postgres"])._replace(path=f"/{database}").geturl()
        return sql(url, statements)

    def database(self, service):
        """A database with its two roles; the variables that name it."""
        name, passwords = f"{PREFIX}_{service}", [secrets.token_hex(16), secrets.token_hex(16)]
        roles = [f"{name}_owner", name]
        for role, password in zip(roles, passwords):
            self.sql(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        self.sql(f"CREATE DATABASE {name} OWNER {roles[0]}")
        address = urllib.parse.urlsplit(self.status["postgres"]).netloc.rpartition("@")[2]
        urls = [f"postgres://{role}:{password}@{address}/{name}" for role, password in zip(roles, passwords)]
        return {"MIGRATE_DATABASE_URL": urls[0], "DATABASE_URL": urls[1]}


def sql(url, statements):
    command = ["psql", url, "--no-psqlrc", "-qAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-f", "-"]
    answer = subprocess.run(command, check=True, input=statements, stdout=subprocess.PIPE, text=True)
    return [line.split("\t") for line in answer.stdout.splitlines()]


class Service:
    """What a service says of itself, and the variables that it is given: those that it reads, and no others."""

    def __init__(self, name, programs):
        answer = subprocess.run([programs / name, "describe"], check=True, stdout=subprocess.PIPE)
        self.name, self.described = name, json.loads(answer.stdout)
        self.ports = self.described["ports"]
        self.migrates = any(command["name"] == "migrate" for command in self.described["commands"])

    def variables(self, known):
        return {one["env"]: known[one["env"]] for one in self.described["config"] if one["env"] in known}


def variables(infrastructure, services, proxy, terms):
    """By service."""
    own = {service.name: secrets.token_hex(16) for service in services}
    common = {
        "ENVIRONMENT": "development",
        "ISSUER_URL": proxy.url("identity", "http"),
        "KAFKA_BROKERS": infrastructure.brokers,
        "RESOURCE_PREFIX": f"{PREFIX}.",
        "REDIS_URL": infrastructure.redis,
        "SERVICE_SECRETS": ",".join(f"{name}={secret}" for name, secret in own.items()),
        "SIGNING_KEY_PUBLISHED_FOR": KEY_PUBLISHED_FOR,
    }
    common |= {f"GRPC_{name.upper()}": proxy.url(name, kind) for name, kind in proxy.ports if kind == "grpc"}
    given = {}
    for service in services:
        known = common | {
            "SEAL_KEY": secrets.token_hex(32),
            "SERVICE_SECRET": own[service.name],
            "SHUTDOWN_GRACE": f"{terms[service.name].drain}s",
        }
        if "http" in service.ports:
            known["PUBLIC_URL"] = proxy.url(service.name, "http")
        if "postgres" in service.described["needs"]:
            known |= infrastructure.database(service.name)
        given[service.name] = service.variables(known)
    return given
