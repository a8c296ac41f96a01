"""Forged tokens: every service and every BFF refuses each of them, and believes a good one in between.

The mutations are made from a token that the stack has issued. What is wrong with a claim is signed with the key of
the issuer itself, taken out of its database, since otherwise the signature alone would be looked at.
"""

import base64
import collections
import http.client
import json
import os
import socket
import struct
import time
import urllib.parse
import urllib.request

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from forgeries import EXPIRED, INVALID, Forgery, Mint, unb64
from http2_wire import Wire, methods
from stack import in_parallel, new_id, publish_offer, register, rows, status

MUTATIONS_MIN = 200
# A good token between so many bad ones.
GOOD_EVERY = 10


def environment(service):
    """The variables of one replica of a service."""
    pid = next(one["pid"] for one in status()["services"] if one["name"] == service)
    with open(f"/proc/{pid}/environ", encoding="utf-8") as environ:
        return dict(entry.split("=", 1) for entry in environ.read().split("\0") if entry)


def signing_key():
    """The key that the issuer signs with, opened as the issuer opens it, and its id."""
    with open(environment("identity")["SEAL_KEY_FILE"], encoding="ascii") as file:
        secret = bytes.fromhex(file.read().strip())
    ((kid, sealed),) = rows("identity", "SELECT kid, private_key FROM signing_keys WHERE state = 'signing'")
    sealed = unb64(sealed)
    purpose = b"signing-key"
    key = HKDF(hashes.SHA256(), 32, None, b"seal:" + purpose).derive(secret)
    plain = AESGCMSIV(key).decrypt(sealed[1:13], sealed[13:], sealed[:1] + purpose)
    return kid, serialization.load_der_private_key(plain, None)


class Grpc:
    """A service at one of its replicas."""

    def __init__(self, name, address, path):
        self.name, self.path, self.wire = f"{name} at {address}", path, Wire(address)

    def ask(self, lines):
        return self.wire.call(self.path, b"", *((b"authorization", line) for line in lines))

    def believes(self, said):
        """Past the question who calls; the empty request may well be refused."""
        return said[0] in ("OK", "INVALID_ARGUMENT")


class Edge:
    """A BFF, asked by HTTP/1.1."""

    accept, document = "application/json", "{ viewer { id } }"

    def __init__(self, url, offer):
        self.url, self.offer = urllib.parse.urlsplit(url), offer
        self.name = f"{type(self).__name__} at {url}"
        self.connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=30)

    def believes(self, said):
        return said == "data"

    def ask(self, lines):
        body = json.dumps({"query": self.document, "variables": {"offer": self.offer}})
        self.connection.putrequest("POST", self.url.path)
        for name, value in [("content-type", "application/json"), ("accept", self.accept), ("content-length", len(body))]:
            self.connection.putheader(name, str(value))
        for line in lines:
            self.connection.putheader("authorization", line)
        self.connection.endheaders(body.encode())
        return self.outcome(self.connection.getresponse())

    def outcome(self, response):
        return self.said(json.loads(response.read()))

    @staticmethod
    def said(answer):
        errors = answer.get("errors")
        if not errors:
            return "data" if any(answer["data"].values()) else "nothing"
        (error,) = errors
        return error["extensions"]["code"], error["extensions"]["reason"]


class EventStream(Edge):
    accept, document = "text/event-stream", "subscription { session { kind } }"

    def outcome(self, response):
        data = b""
        while not data.startswith(b"data: {"):
            data = response.readline()
            assert data, "a stream without an event"
        # It would go on for as long as it is believed.
        self.connection.close()
        return self.said(json.loads(data[5:]))


class Socket(Edge):
    """A WebSocket, with the token in its first message."""

    def ask(self, lines):
        lines = [line.decode("utf-8", "replace") for line in lines]
        if len(lines) > 1:
            return None
        with socket.create_connection((self.url.hostname, self.url.port), timeout=30) as connection:
            connection.sendall(
                f"GET {self.url.path} HTTP/1.1\r\nhost: {self.url.netloc}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                f"sec-websocket-version: 13\r\nsec-websocket-key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                "sec-websocket-protocol: graphql-transport-ws\r\n\r\n".encode()
            )
            stream = connection.makefile("rb")
            assert b" 101 " in stream.readline()
            while stream.readline() != b"\r\n":
                pass
            text = json.dumps({"type": "connection_init", "payload": {"authorization": lines[0]}}).encode()
            # Masked with zeros, which is a mask, too.
            connection.sendall(b"\x81\xfe" + struct.pack(">H", len(text)) + bytes(4) + text)
            kind, length = stream.read(2)
            length = struct.unpack(">H", stream.read(2))[0] if length == 126 else length
            said = stream.read(length)
        if kind & 0x0F == 8:
            assert said[:2] == struct.pack(">H", 4403), said
            return "UNAUTHENTICATED", said[2:].decode()
        return "data" if json.loads(said)["type"] == "connection_ack" else said


def complaints(door, forgeries, good):
    """What a door does not refuse as it should, or refuses though it should not."""
    found = []
    for number, forgery in enumerate(forgeries):
        said = door.ask(forgery.lines)
        if said is not None and said != forgery.due:
            found.append(f"{door.name}, {forgery.kind}, {forgery.name}: {said}, not {forgery.due}")
        if number % GOOD_EVERY == 0:
            name, line = good[number // GOOD_EVERY % len(good)]
            said = door.ask([line.encode()])
            if not door.believes(said):
                found.append(f"{door.name}: {name} is refused: {said}")
    return found


def doors(stack, offer):
    """Every service at every replica, and every BFF in every way to ask it."""
    made = [kind(url, offer) for url in stack["graphql"] for kind in (Edge, EventStream, Socket)]
    for service in stack["services"]:
        if not service["grpc"]:
            continue
        for name, paths in methods(service["grpc"]).items():
            if not name.startswith("grpc."):
                # What reads ends no session; what needs somebody shows more than what is for all.
                reads = [path for path in paths if path.rsplit("/")[-1].startswith(("Get", "List", "BatchGet"))]
                with Wire(service["grpc"]) as wire:
                    needs = [path for path in reads if wire.call(path) == ("UNAUTHENTICATED", "TOKEN_MISSING")]
                made.append(Grpc(name, service["grpc"], (needs or reads)[0]))
    return made


def main():
    stack, run = status(), new_id()[:8]
    person = register(stack["graphql"], "BUSINESS", run, "forged")
    offer = publish_offer(person, "Not to be had with a forged token")
    kid, key = signing_key()
    with urllib.request.urlopen(f"{stack['identity']}/.well-known/jwks.json", timeout=10) as answer:
        jwk = next(one for one in json.load(answer)["keys"] if one["kid"] == kid)
    numbers = rsa.RSAPublicNumbers(*(int.from_bytes(unb64(jwk[name]), "big") for name in ("e", "n")))
    mint = Mint(person.token, key, numbers.public_key())
    assert mint.header["kid"] == kid, "the token was not signed by the key that signs"
    person.log_in(person.email, person.password)

    good = list(mint.good())
    forgeries = list(mint.forgeries(person.token))
    counts = collections.Counter(forgery.kind for forgery in forgeries)
    assert counts.total() >= MUTATIONS_MIN and len({forgery.lines[0] for forgery in forgeries}) > MUTATIONS_MIN, counts
    asked = doors(stack, offer)

    # A good token among them, and one that is refused for another reason: both must be told, at every door.
    planted = [
        Forgery("planted", "a good token", [f"Bearer {mint.token}".encode()], INVALID),
        next(forgery for forgery in forgeries if forgery.due == EXPIRED)._replace(due=INVALID),
    ]
    for found in in_parallel(len(asked), lambda door: complaints(door, planted, good), asked):
        assert len(found) == 2, f"not everything that was planted is told: {found}"

    began = time.monotonic()
    found = sum(in_parallel(len(asked), lambda door: complaints(door, forgeries, good), asked), [])
    assert not found, f"{len(found)} are wrong:\n" + "\n".join(found[:40])
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"  {counts.total()} mutations: {kinds}")
    print(f"  each refused at {len(asked)} doors, {len(good)} good ones believed, {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
