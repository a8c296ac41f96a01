"""The statuses that a foreign gRPC client gets: Python's grpcio, stubs by protoc from the same protos."""

import base64
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from stack import CAST_VOTE, Client, new_id, publish_offer, register, rows, status, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDES = [ROOT / "proto", ROOT / "crates/platform-build/proto"]


def generate_stubs(target):
    """Compiles our protos with protoc and makes them importable."""
    protos = [str(file) for include in INCLUDES for file in include.rglob("*.proto")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{include}" for include in INCLUDES)]
        + [f"--python_out={target}", f"--grpc_python_out={target}", *protos],
        check=True,
    )
    sys.path.insert(0, target)


def uuid_of(global_id):
    """The UUID in a global id of the GraphQL schema."""
    return str(uuid.UUID(bytes=base64.urlsafe_b64decode(global_id + "==")[1:17]))


def refusal(call, *arguments, **options):
    """Code and reason with which a call is refused."""
    try:
        answer = call(*arguments, **options)
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        info = error_details_pb2.ErrorInfo()
        for detail in status.details if status else ():
            if detail.Unpack(info):
                assert info.domain.endswith(".homeward"), info
                break
        return error.code().name, info.reason
    raise AssertionError(f"not refused: {answer}")


class HeldLock:
    """A row lock held by another session for as long as the block runs."""

    def __init__(self, database, statement):
        url = urllib.parse.urlsplit(status()["postgres"])._replace(path=f"/{database}").geturl()
        self.command, self.statement = ["psql", url, "--no-psqlrc", "-qAt"], statement

    def __enter__(self):
        self.session = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.session.stdin.write(f"BEGIN;\n{self.statement};\n\\echo held\n")
        self.session.stdin.flush()
        while self.session.stdout.readline().strip() != "held":
            assert self.session.poll() is None, "the session that was to hold the lock has ended"
        return self

    def __exit__(self, *_):
        self.session.stdin.close()
        self.session.wait(10)


def waiting_statements():
    """How many statements of `catalog` wait for a lock."""
    return int(
        rows("catalog", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'catalog' AND wait_event_type = 'Lock'")[
            0
        ][0]
    )


def statuses(catalog, messages, voter, seller, offer_id):
    mover = [("authorization", f"Bearer {voter.token}")]
    business = [("authorization", f"Bearer {seller.token}")]
    vote = messages.CastVoteRequest(request_id=new_id(), offer_id=offer_id, value=messages.VOTE_VALUE_UP)

    assert refusal(catalog.CastVote, vote) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    forged = [("authorization", f"Bearer {voter.token[:-6]}AAAAAA")]
    assert refusal(catalog.CastVote, vote, metadata=forged) == ("UNAUTHENTICATED", "TOKEN_INVALID")
    create = messages.CreateOfferRequest(request_id=new_id(), title="A crew")
    assert refusal(catalog.CreateOffer, create, metadata=mover) == ("PERMISSION_DENIED", "ROLE_REQUIRED")
    assert refusal(catalog.CreateOffer, create, metadata=business) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    missing = messages.GetOfferRequest(offer_id=str(uuid.uuid4()))
    assert refusal(catalog.GetOffer, missing) == ("NOT_FOUND", "OFFER_NOT_FOUND")
    huge = messages.GetOfferRequest(offer_id="x" * 3_000_000)
    assert refusal(catalog.GetOffer, huge) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
    many = messages.BatchGetOffersRequest(ids=[str(uuid.uuid4()) for _ in range(101)])
    assert refusal(catalog.BatchGetOffers, many) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert catalog.GetOffer(messages.GetOfferRequest(offer_id=offer_id)).offer.id == offer_id


def raw_calls(channel):
    """What generated stubs would not send."""
    raw = channel.unary_unary("/homeward.catalog.v1.CatalogService/GetOffer")
    assert refusal(raw, b"\xff\xff\xff\xff") == ("INVALID_ARGUMENT", "REQUEST_UNDECODABLE")
    unknown = channel.unary_unary("/homeward.catalog.v1.CatalogService/NoSuchMethod")
    assert refusal(unknown, b"") == ("UNIMPLEMENTED", "METHOD_UNKNOWN")


def deadlines(catalog, messages, voter, offer, offer_id):
    """A deadline reaches the statement: what waits for a lock lets go."""
    with HeldLock("catalog", f"SELECT 1 FROM tallies WHERE offer_id = '{offer_id}' FOR UPDATE"):
        vote = messages.CastVoteRequest(request_id=new_id(), offer_id=offer_id, value=messages.VOTE_VALUE_UP)
        metadata = [("authorization", f"Bearer {voter.token}")]
        code, _ = refusal(catalog.CastVote, vote, timeout=0.5, metadata=metadata)
        assert code == "DEADLINE_EXCEEDED", code
        wait_until(lambda: waiting_statements() == 0, "the statement of a caller that is gone ends", 3)

        started = time.monotonic()
        answer = voter.ask(CAST_VOTE, input={"requestId": new_id(), "offerId": offer, "value": "UP"})
        error = answer["errors"][0]["extensions"]
        assert error["code"] == "DEADLINE_EXCEEDED" and error["retryable"], answer
        assert time.monotonic() - started < 20, "the edge's default deadline did not hold"
        wait_until(lambda: waiting_statements() == 0, "the edge's deadline ends the statement", 3)


def health_and_reflection(channel):
    health = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    service = "homeward.catalog.v1.CatalogService"
    for name in ("", service):
        request = health_pb2.HealthCheckRequest(service=name)
        wait_until(lambda: health.Check(request).status == serving, f"`{name}` is healthy", 5)

    # The messages of v1alpha and v1 are the same on the wire.
    reflect = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (answer,) = reflect(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    assert service in [entry.name for entry in answer.list_services_response.service]
    (answer,) = reflect(iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)]))
    assert answer.file_descriptor_response.file_descriptor_proto


def main():
    stack = status()
    run = new_id()[:8]
    seller = register(stack["graphql"], "BUSINESS", run, "grpc")
    voter = register(stack["graphql"], "MOVER", run, "grpc")
    offer = publish_offer(seller, "Asked for by a foreign client")
    address = next(service["grpc"] for service in stack["services"] if service["name"] == "catalog")

    with tempfile.TemporaryDirectory() as stubs:
        generate_stubs(stubs)
        from homeward.catalog.v1 import catalog_pb2, catalog_pb2_grpc

        options = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(urllib.parse.urlsplit(address).netloc, options) as channel:
            catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
            offer_id = uuid_of(offer)
            health_and_reflection(channel)
            statuses(catalog, catalog_pb2, voter, seller, offer_id)
            raw_calls(channel)
            deadlines(catalog, catalog_pb2, voter, offer, offer_id)


if __name__ == "__main__":
    main()
