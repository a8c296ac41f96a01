"""What provokes refusals: who calls, what stands there, and further processes with settings of their own."""

import collections
import contextlib
import functools
import http.client
import json
import socket
import subprocess
import tempfile
import time
import urllib.parse

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from grpc_statuses import generate_stubs, uuid_of
from stack import Client, new_id, publish_offer, register, status, wait_until

# What was heard; gRPC has no HTTP status.
Said = collections.namedtuple("Said", "reason code retryable http", defaults=(None,))
# Each reason with what provokes it, and the HTTP status that is due.
PROVOKED = {}


def provokes(reason, http=None):
    """Marks a function that is given the world, and answers what was said."""

    def note(function):
        assert reason not in PROVOKED, f"{reason} is provoked twice"
        PROVOKED[reason] = function, http
        return function

    return note


def from_call(call, *arguments, **options):
    """What a gRPC call is refused with."""
    try:
        answer = call(*arguments, **options)
    except grpc.RpcError as error:
        for detail in getattr(rpc_status.from_call(error), "details", ()):
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return Said(info.reason, error.code().name, info.metadata["retryable"] == "true")
        raise
    raise AssertionError(f"not refused: {answer}")


def from_errors(answer, http=200):
    """What the first entry of `errors` says."""
    extensions = answer["errors"][0]["extensions"]
    return Said(extensions["reason"], extensions["code"], extensions["retryable"], http)


def from_http(client, body, **how):
    """What an HTTP exchange says, whose body is JSON or stays as it is."""
    body = json.dumps(body) if isinstance(body, dict) else body
    code, _, content = client.send(body, **how)
    return from_errors(json.loads(content), code)


def environment(service):
    """The variables of a replica of a service, and its program, even when a build has put another one in its place."""
    pid = next(one["pid"] for one in status()["services"] if one["name"] == service)
    with open(f"/proc/{pid}/environ", encoding="utf-8") as environ:
        return dict(entry.split("=", 1) for entry in environ.read().split("\0") if entry), f"/proc/{pid}/exe"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def further(service, **settings):
    """One more replica with other settings, ended afterwards; gives the address where it listens. None takes a setting away."""
    variables, program = environment(service)
    ports = {name: f"127.0.0.1:{free_port()}" for name in variables if name.startswith("LISTEN_")}
    for name, value in (ports | settings).items():
        # What came from a file must not speak as well.
        variables.pop(f"{name}_FILE", None)
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen([program], env=variables, stdout=log, stderr=log)
        try:
            address = ports.get("LISTEN_GRPC") or ports["LISTEN_HTTP"]
            host, port = address.split(":")

            def listens():
                if process.poll() is not None:
                    raise AssertionError(f"{service} does not start: {open(log.name, encoding='utf-8').read()[-2000:]}")
                with socket.socket() as attempt:
                    return attempt.connect_ex((host, int(port))) == 0

            wait_until(listens, f"a further {service}", 30)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


class EventStream:
    """One operation over server-sent events."""

    def __init__(self, url, document, variables=None, method="POST", token=None, **headers):
        url = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
        sent = {"accept": "text/event-stream", "content-type": "application/json"} | headers
        if token:
            sent["authorization"] = f"Bearer {token}"
        body = json.dumps({"query": document, "variables": variables or {}}) if document else None
        self.connection.request(method, url.path, body, sent)
        self.response = self.connection.getresponse()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def first(self):
        """The first answer."""
        while line := self.response.readline():
            if line.startswith(b"data: {"):
                return json.loads(line[6:])
        raise AssertionError("a stream without an answer")

    def refusal(self):
        """What the request itself is refused with."""
        return from_errors(json.loads(self.response.read()), self.response.status)


class World:
    """Some people, an offer, and stubs for all services; each made when it is first asked for."""

    def __init__(self, stubs):
        self.stack, self.run = status(), new_id()[:8]
        self.urls = self.stack["graphql"]
        self.channels = contextlib.ExitStack()
        generate_stubs(stubs)
        from homeward.catalog.v1 import catalog_pb2, catalog_pb2_grpc
        from homeward.identity.v1 import identity_pb2, identity_pb2_grpc
        from homeward.recommendations.v1 import recommendations_pb2, recommendations_pb2_grpc

        self.catalog_messages, self.identity_messages = catalog_pb2, identity_pb2
        self.recommendations_messages = recommendations_pb2
        self.stubs = {
            "catalog": catalog_pb2_grpc.CatalogServiceStub,
            "identity": identity_pb2_grpc.IdentityServiceStub,
            "recommendations": recommendations_pb2_grpc.RecommendationsServiceStub,
        }
        self.nobody = Client(self.urls)

    def channel(self, service, address=None):
        address = address or next(
            urllib.parse.urlsplit(one["grpc"]).netloc for one in self.stack["services"] if one["name"] == service
        )
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        return self.channels.enter_context(grpc.insecure_channel(address, options))

    def stub(self, service, address=None):
        return self.stubs[service](self.channel(service, address))

    @functools.cached_property
    def catalog(self):
        return self.stub("catalog")

    @functools.cached_property
    def identity(self):
        return self.stub("identity")

    def person(self, kind="MOVER"):
        """Somebody new, who is logged in."""
        return register(self.urls, kind, self.run, new_id()[:8])

    @functools.cached_property
    def mover(self):
        return self.person()

    @functools.cached_property
    def seller(self):
        return self.person("BUSINESS")

    @functools.cached_property
    def offer(self):
        """The global id of a published offer."""
        return publish_offer(self.seller, "Provoking")

    @functools.cached_property
    def offer_id(self):
        return uuid_of(self.offer)

    def vote(self, **given):
        vote = {"request_id": new_id(), "offer_id": self.offer_id, "value": self.catalog_messages.VOTE_VALUE_UP}
        return self.catalog_messages.CastVoteRequest(**(vote | given))

    def organisation(self, seller):
        """The organisation of a business, as identity knows it."""
        viewer = self.identity.GetViewer(self.identity_messages.GetViewerRequest(), metadata=as_(seller))
        return viewer.organisation_id

    def until_refused(self, ask, reason, seconds=10):
        """Asks until it is refused with this reason: what revokes needs a moment to be heard of."""
        end = time.monotonic() + seconds
        while True:
            try:
                said = ask()
            except AssertionError:
                said = None
            if (said and said.reason == reason) or time.monotonic() > end:
                return said
            time.sleep(0.05)


def as_(client):
    """The metadata of somebody's calls."""
    return [("authorization", f"Bearer {client if isinstance(client, str) else client.token}")]
