"""Hostile callers over gRPC: each is refused as designed, the service stays, and nobody beside them notices."""

import collections
import contextlib
import gzip
import os
import re
import socket
import struct
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from hyperframe import frame as frames

from grpc_statuses import generate_stubs, uuid_of
from http2_wire import REFLECTION, Closed, Raw, Unheard, Wire, methods, prefixed
from stack import new_id, publish_offer, register, status, wait_until

STREAMS = 20_000
# Of one service, beyond what it had before an attack.
GROWTH_BYTES_MAX = 64 << 20
HEALTH = "/grpc.health.v1.Health/Check"


class Bystander:
    """Somebody on a connection of their own, who calls all the while and is answered each time."""

    def __init__(self, address, path, message):
        self.wire, self.path, self.message = Wire(address), path, message
        self.answered, self.slowest, self.wrong, self.stop = 0, 0.0, [], threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                outcome = self.wire.call(self.path, self.message)
            except Exception as broken:  # told at the end
                self.wrong.append(repr(broken))
                return
            if outcome != ("OK", ""):
                self.wrong.append(outcome)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.answered += 1
            time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.wire.socket.close()


class Victim:
    """The service under attack, from outside."""

    def __init__(self, service):
        self.address, self.admin, self.pid = service["grpc"], service["admin"], service["pid"]

    def memory(self, key):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))

    @contextlib.contextmanager
    def bounded(self):
        """What it holds grows by little within the block, also for a moment."""
        # Lets the high-water mark begin anew.
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as clear:
            clear.write("5")
        before, grown = self.memory("VmRSS"), []
        yield grown
        grown.append(self.memory("VmHWM") - before)
        assert grown[0] < GROWTH_BYTES_MAX, f"{grown[0] >> 20} MiB more"

    def measure(self, metric):
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        values = [line.rsplit(" ", 1)[1] for line in lines if re.match(rf"{metric}[ {{]", line)]
        assert values, f"there is no {metric}"
        return sum(map(float, values))

    def running(self):
        """Places that are taken."""
        return self.measure("admission_running")

    def forgets(self):
        """Waits until it works for nobody but the bystander."""
        wait_until(lambda: self.measure("rpc_server_calls_in_flight") <= 1, "no call is left of an attack", 20)


class Attacks:
    """Each answers what came of it, for people."""

    def __init__(self, victim, get, request, page):
        self.victim, self.get, self.request, self.page = victim, get, request, page

    def wire(self, **options):
        return Wire(self.victim.address, **options)

    def flood(self, make):
        """Sends what `make` makes for each of many streams; answers how they ended, and the connection."""
        with self.wire() as wire:
            with contextlib.suppress(Closed):
                for _ in range(STREAMS // 100):
                    wire.send(*(part for _ in range(100) for part in make(wire)))
                wire.until(lambda: sum(one.over for one in wire.streams.values()) >= STREAMS - 200, "refusals")
            ends = collections.Counter(one.outcome()[0] for one in wire.streams.values() if one.over)
            return ends, wire.goaway

    def streams_that_never_end(self):
        ends, goaway = self.flood(lambda wire: [wire.head(self.get)[1]])
        # Of the streams that are taken, half wait for a place of the other half, and are told so.
        refusals = {"reset with REFUSED_STREAM", "RESOURCE_EXHAUSTED"}
        assert set(ends) <= refusals and goaway in (None, "ENHANCE_YOUR_CALM"), (ends, goaway)
        assert goaway or ends.total() >= STREAMS - 200, ends
        return f"{dict(ends)}, then {goaway}"

    def streams_all_at_once(self):
        def whole(wire):
            number, head = wire.head(self.get)
            return [head, frames.DataFrame(number, prefixed(self.request), flags=["END_STREAM"])]

        ends, goaway = self.flood(whole)
        outcomes = {"reset with REFUSED_STREAM", "RESOURCE_EXHAUSTED", "OK"}
        assert set(ends) <= outcomes and goaway in (None, "ENHANCE_YOUR_CALM"), (ends, goaway)
        return f"{dict(ends)}, then {goaway}"

    def streams_that_are_reset(self):
        def reset(wire):
            number, head = wire.head(self.get)
            return [head, frames.RstStreamFrame(number, 8)]

        _, goaway = self.flood(reset)
        assert goaway == "ENHANCE_YOUR_CALM", goaway
        return goaway

    def metadata(self):
        """Too much; 64 KiB; a little that stands for much; and such as never ends."""
        refusals = ("HTTP 431", "COMPRESSION_ERROR", "ENHANCE_YOUR_CALM")
        with self.wire() as wire:
            much = self.much_metadata(wire, 20 << 10)
            assert much == "HTTP 431", much
            assert wire.call(self.get, self.request) == ("OK", ""), "the same connection goes on"
            huge = self.much_metadata(wire, 64 << 10)
            assert huge in refusals, huge
        with self.wire() as wire:
            number, head = wire.head(self.get, (b"x-bomb", b"a" * 3000))
            # The last entry of the table, 12,000 times: 36 MB in 12 KB.
            head.data += b"\xbe" * 12_000
            bomb = self.came(wire, number, head)
            assert bomb in refusals, bomb
        with self.wire() as wire:
            number, head = wire.head(self.get)
            head.flags.discard("END_HEADERS")
            try:
                wire.send(head)
                for _ in range(STREAMS):
                    wire.send(frames.ContinuationFrame(number, b"\x40\x01a" + b"\x7f\xa1\x7d" + b"b" * 16_160))
                raise AssertionError("continuations for ever")
            except Closed:
                assert wire.goaway in refusals, wire.goaway
            return f"{much}, {huge}, {bomb}, {wire.goaway}"

    def much_metadata(self, wire, length):
        """What comes of so many bytes of it."""
        number, head = wire.head(self.get)
        block = head.data + wire.encoder.encode([(b"x-huge", b"~" * length)], huffman=False)
        head.data = block[:16_384]
        head.flags.discard("END_HEADERS")
        more = [frames.ContinuationFrame(number, block[at : at + 16_384]) for at in range(16_384, len(block), 16_384)]
        more[-1].flags.add("END_HEADERS")
        return self.came(wire, number, head, *more)

    @staticmethod
    def came(wire, number, *parts):
        """What comes of frames: an answer, or the end of the connection."""
        try:
            wire.send(*parts)
            wire.until(lambda: wire.streams[number].over, "an answer")
        except Closed:
            return wire.goaway
        return wire.streams[number].outcome()[0]

    def gzip_bomb(self):
        bomb = gzip.compress(bytes(256 << 20), 9)
        with self.wire() as wire:
            said = wire.call(self.get, Raw(prefixed(bomb, 1)), (b"grpc-encoding", b"gzip"))
            assert said[0] == "UNIMPLEMENTED", said
            lie = wire.call(self.get, Raw(prefixed(bomb, 1)))
            assert lie == ("INVALID_ARGUMENT", "REQUEST_UNDECODABLE"), lie
        return f"{len(bomb) >> 10} KiB for 256 MiB: {said[0]}, {lie[1]}"

    def slow_readers(self):
        """Who takes nothing keeps a place until the deadline and no longer, though the connection lives."""
        said = []
        for window in (0, 1):
            with self.wire(window=window) as wire:
                numbers = self.unread(wire, 100)
                wire.until(lambda: all(wire.streams[one].headers for one in numbers), "the heads of 100 answers")
                held = self.victim.running()
                assert held >= 100, f"only {held} answers are held, so nothing is shown"
                began = time.monotonic()
                wire.until(lambda: all(wire.streams[one].over for one in numbers), "the ends of 100 answers", 10)
                self.victim.forgets()
                said.append(f"{wire.streams[numbers[0]].outcome()[0]} after {time.monotonic() - began:.1f} s")
        return ", ".join(said)

    def slow_readers_on_two_connections(self):
        """As many places as two connections can have: what is left is enough for everybody else."""
        with self.wire(window=0) as first, self.wire(window=0) as second:
            refused = []
            for wire in (first, second):
                numbers = self.unread(wire, 200)
                wire.until(lambda: all(wire.streams[one].headers for one in numbers), "the heads of 200 answers")
                over = [wire.streams[one].outcome() for one in numbers if wire.streams[one].over]
                assert set(over) <= {("RESOURCE_EXHAUSTED", "OVERLOADED")}, collections.Counter(over)
                refused.append(len(over))
            held = self.victim.running()
            # Half of the 256 places and half of the rest; the bystander may have one.
            assert held >= 185 and sum(refused) >= 400 - 194, f"{held} are held, {refused} refused"
            with self.wire() as other:
                outcomes = collections.Counter(other.call(self.get, self.request) for _ in range(100))
                assert set(outcomes) == {("OK", "")}, outcomes
            still = self.victim.running()
            assert still >= 185, f"only {still} were still held, so nothing is shown"
        return f"{held:.0f} places are held, {sum(refused)} calls refused, and {outcomes.total()} others answered"

    def unread(self, wire, count):
        """Begins calls with a large answer, and five seconds for it."""
        path, request = self.page
        return [wire.begin(path, request, (b"grpc-timeout", b"5S")) for _ in range(count)]

    def too_large(self):
        with self.wire() as wire:
            stated = wire.call(self.get, Raw(struct.pack(">BI", 0, 2**32 - 1)))
            sent = wire.call(self.get, bytes(3_000_000))
            assert stated == sent == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE"), (stated, sent)
            return stated[1]

    def what_is_not_http2(self):
        """Bytes of other protocols, and frames that break the rules: the connection ends, with a word if it began."""
        greeting = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
        for hello in [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", greeting, os.urandom(4096), b"\0" * 4096]:
            url = urllib.parse.urlsplit(self.victim.address)
            with socket.create_connection((url.hostname, url.port), timeout=20) as other, contextlib.suppress(OSError):
                other.sendall(hello)
                while other.recv(4096):
                    pass
        said = []
        for broken in [
            b"\0\0\1\0\0\0\0\0\0x",  # data on the connection itself
            frames.DataFrame(7, b"x"),  # data on a stream that nobody has opened
            frames.WindowUpdateFrame(0, 2**31 - 1),  # more room than there can be
            frames.HeadersFrame(2, b"\x82", flags=["END_HEADERS"]),  # a stream that only a server opens
            frames.HeadersFrame(1, b"\xff" * 64, flags=["END_HEADERS"]),  # no headers
            b"\xff\xff\xff\0\0\0\0\0\1" + bytes(1000),  # a frame of 16 MiB
        ]:
            with self.wire() as wire:
                with contextlib.suppress(Closed):
                    wire.send(broken)
                    wire.until(lambda: wire.goaway, "a word about a broken rule")
                said.append(wire.goaway)
        assert "NO_ERROR" not in said, said
        return ", ".join(sorted(set(said)))


def until_heard(attack):
    """What came of it: of a connection that was closed, with the reason, which does not come each time."""
    for _ in range(4):
        with contextlib.suppress(Unheard):
            return attack()
    return attack()


def garbage(stack, token):
    """What is no message, in every method of every replica, by nobody and by somebody."""
    bodies = {
        "no field": b"\xff" * 10,
        "a field that is cut off": b"\x0a\x7fx",
        "nested without end": b"\x0b" * 10_000,
        "field zero": b"\x00\x00",
        "a number without end": b"\x08" + b"\x80" * 20,
        "cut off itself": Raw(b"\0\0\0\0\x09x"),
        "half a prefix": Raw(b"\0\0"),
        "nothing": Raw(b""),
        "another flag": Raw(b"\x09\0\0\0\0"),
    }
    said, wrong = collections.Counter(), []
    designed = {
        ("INVALID_ARGUMENT", "REQUEST_UNDECODABLE"),
        ("UNAUTHENTICATED", "TOKEN_MISSING"),
        ("PERMISSION_DENIED", "ROLE_REQUIRED"),
    }
    for service in stack["services"]:
        if not service["grpc"]:
            continue
        paths = [path for found in methods(service["grpc"]).values() for path in found]
        paths = [path for path in paths if path != REFLECTION] + [HEALTH]
        for authorization in ([], [(b"authorization", f"Bearer {token}".encode())]):
            with Wire(service["grpc"]) as wire:
                for path in paths:
                    for what, body in bodies.items():
                        outcome = wire.call(path, body, *authorization)
                        said[outcome] += 1
                        if outcome not in designed:
                            wrong.append(f"{what} in {path}: {outcome}")
    assert not wrong, "\n".join(wrong)
    assert said[("INVALID_ARGUMENT", "REQUEST_UNDECODABLE")] > 100, said
    return ", ".join(f"{count} {reason}" for (_, reason), count in said.most_common())


def main():
    stack, run = status(), new_id()[:8]
    seller = register(stack["graphql"], "BUSINESS", run, "hostile")
    area = f"hostile-{run}"
    offers = [publish_offer(seller, f"Crew {n}", area=area, description="x" * 4000) for n in range(30)]
    victim = Victim(next(service for service in stack["services"] if service["name"] == "catalog"))
    started = {service["pid"] for service in stack["services"]}

    with tempfile.TemporaryDirectory() as stubs:
        generate_stubs(stubs)
        from homeward.catalog.v1 import catalog_pb2 as messages

    service = "/homeward.catalog.v1.CatalogService"
    get = f"{service}/GetOffer", messages.GetOfferRequest(offer_id=uuid_of(offers[0])).SerializeToString()
    large = messages.ListOffersRequest(page_size=100, filter=messages.OfferFilter(area=area)).SerializeToString()
    host = urllib.parse.urlsplit(victim.address)
    # Nothing, and half a greeting.
    silent = [socket.create_connection((host.hostname, host.port), timeout=30) for _ in range(2)]
    silent[1].sendall(b"PRI * HTTP/2.0")
    attacks = Attacks(victim, *get, page=(f"{service}/ListOffers", large))

    with Bystander(victim.address, *get) as bystander:
        wait_until(lambda: bystander.answered > 100 or bystander.wrong, "answers before any attack", 20)
        for attack in [
            attacks.streams_that_never_end,
            attacks.streams_all_at_once,
            attacks.streams_that_are_reset,
            attacks.metadata,
            attacks.gzip_bomb,
            attacks.slow_readers,
            attacks.slow_readers_on_two_connections,
            attacks.too_large,
            attacks.what_is_not_http2,
            lambda: garbage(stack, seller.token),
        ]:
            before, began = bystander.answered, time.monotonic()
            bystander.slowest = 0.0
            with victim.bounded() as grown:
                said = until_heard(attack)
            victim.forgets()
            name = attack.__name__.replace("_", " ").replace("<lambda>", "garbage")
            # Some attacks are over in a moment.
            wait_until(lambda: bystander.answered > before or bystander.wrong, f"{name}: nobody else is answered", 10)
            assert not bystander.wrong, f"{name}: somebody else was answered {bystander.wrong[:3]}"
            print(
                f"  {name}: {said}; {grown[0] >> 20} MiB more, {time.monotonic() - began:.1f} s, "
                f"{bystander.answered - before} other calls, the slowest {bystander.slowest * 1000:.0f} ms",
                flush=True,
            )
    for connection in silent:
        with connection:
            assert connection.recv(1) == b"", "a word to whoever has not greeted"
    print("  connections without a greeting are closed", flush=True)
    assert {service["pid"] for service in status()["services"]} == started, "a process was lost"


if __name__ == "__main__":
    main()
