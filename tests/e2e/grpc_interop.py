"""gRPC's own interop client, in Go, against the server stack: each case passes, and is seen on this side as what it is.

The service is that of `tests/interop`: in front of its methods is what is in front of every service's.
"""

import collections
import re
import subprocess
import time
import urllib.request

from hyperframe import frame as frames

import go
from http2_wire import Raw, Wire
from live_programs import one_more
from stack import wait_until

SERVICE = "/grpc.testing.TestService"
SOAKS = {"rpc_soak": 1000, "channel_soak": 200}
# By case: the calls that the server has answered then. Where the client gives up by itself, it depends on the
# moment what of the call has come so far.
ANSWERED = {
    "empty_unary": {"EmptyCall OK": 1},
    "large_unary": {"UnaryCall OK": 1},
    "client_streaming": {"StreamingInputCall OK": 1},
    "server_streaming": {"StreamingOutputCall OK": 1},
    "ping_pong": {"FullDuplexCall OK": 1},
    "empty_stream": {"FullDuplexCall OK": 1},
    "status_code_and_message": {"UnaryCall UNKNOWN": 1, "FullDuplexCall UNKNOWN": 1},
    "special_status_message": {"UnaryCall UNKNOWN": 1},
    "unimplemented_method": {"_OTHER UNIMPLEMENTED": 1},
    "unimplemented_service": {"_OTHER UNIMPLEMENTED": 1},
    "custom_metadata": {"UnaryCall OK": 1, "FullDuplexCall OK": 1},
    "cancel_after_begin": None,
    "cancel_after_first_response": {"FullDuplexCall CANCELLED": 1},
    "timeout_on_sleeping_server": None,
    "rpc_soak": {"UnaryCall OK": SOAKS["rpc_soak"]},
    "channel_soak": {"UnaryCall OK": SOAKS["channel_soak"]},
}


class Server:
    """The server from outside."""

    def __init__(self, variables):
        self.address, self.admin = variables["LISTEN_GRPC"], variables["LISTEN_ADMIN"]
        self.seen = self.answered()

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def answered(self):
        """How many calls were answered, by method and status."""
        lines = re.findall(r"rpc_server_call_duration_seconds_count{(\S+)} (\d+)", self.metrics())
        labels = [(dict(re.findall(r'(\w+)="([^"]*)"', text)), int(count)) for text, count in lines]
        counts = collections.Counter()
        for label, count in labels:
            counts[f"{label['rpc_method'].split('/')[-1]} {label['rpc_response_status_code']}"] += count
        return counts

    def settles(self, expected, what):
        """Waits until exactly this was answered since the last time, and nothing is in flight."""
        news = collections.Counter()

        def settled():
            news.clear()
            news.update(self.answered())
            news.subtract(self.seen)
            idle = re.search(r"^rpc_server_calls_in_flight 0$", self.metrics(), re.MULTILINE)
            return idle and (expected is None or +news == collections.Counter(expected))

        try:
            wait_until(settled, what, 20)
        except AssertionError as late:
            raise AssertionError(f"{late}: answered {+news}, not {expected}") from None
        self.seen = self.answered()


def run(client, server, case):
    """One case; the client says by its exit code whether it passed."""
    host, port = server.address.split(":")
    soak = [
        f"--soak_iterations={SOAKS.get(case, 0)}",
        "--soak_overall_timeout_seconds=120",
        "--soak_per_iteration_max_acceptable_latency_ms=60000",
    ]
    answer = subprocess.run(
        [client, f"--server_host={host}", f"--server_port={port}", f"--test_case={case}", *soak],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert answer.returncode == 0, f"{case}: {answer.stdout[-2000:]}"
    server.settles(ANSWERED[case], case)


def layers(server):
    """What no bare server answers, and what the client's cases leave to chance."""
    unary, duplex = f"{SERVICE}/UnaryCall", f"{SERVICE}/FullDuplexCall"
    with Wire(f"http://{server.address}") as wire:
        for path, message, metadata, expected in [
            (f"{SERVICE}/UnimplementedCall", b"", (), ("UNIMPLEMENTED", "METHOD_UNKNOWN")),
            (unary, b"", (b"authorization", b"Bearer x"), ("UNAUTHENTICATED", "TOKEN_INVALID")),
            (unary, b"\xff", (), ("INVALID_ARGUMENT", "REQUEST_UNDECODABLE")),
            (unary, Raw(b"\0\0\x20\0\0"), (), ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")),
            (unary, b"", (b"grpc-timeout", b"soon"), ("INVALID_ARGUMENT", "FIELD_INVALID")),
            (unary, b"", (), ("OK", "")),
        ]:
            said = wire.call(path, message, *[metadata] * bool(metadata))
            assert said == expected, (path, metadata, said)
        server.settles(
            {
                "_OTHER UNIMPLEMENTED": 1,
                "UnaryCall UNAUTHENTICATED": 1,
                "UnaryCall INVALID_ARGUMENT": 2,
                "UnaryCall RESOURCE_EXHAUSTED": 1,
                "UnaryCall OK": 1,
            },
            "each refusal is counted as what it is",
        )

        sleeping, head = wire.head(duplex, (b"grpc-timeout", b"50m"))
        wire.send(head)
        wire.until(lambda: wire.streams[sleeping].over, "the end of a call in which nobody says anything")
        said = wire.streams[sleeping].outcome()
        assert said == ("DEADLINE_EXCEEDED", "DEADLINE_PASSED"), said
        server.settles({"FullDuplexCall DEADLINE_EXCEEDED": 1}, "the deadline")

        begun, head = wire.head(f"{SERVICE}/StreamingInputCall")
        wire.send(head)
        wait_until(lambda: "rpc_server_calls_in_flight 1\n" in server.metrics(), "the call has begun", 20)
        wire.send(frames.RstStreamFrame(begun, 8))
        server.settles({"StreamingInputCall CANCELLED": 1}, "the call was cancelled")


def main():
    client = go.program("grpc-interop-client")
    with one_more("catalog", program="interop", LOG_LEVEL="warn") as variables:
        server = Server(variables)
        for case in ANSWERED:
            began = time.monotonic()
            run(client, server, case)
            print(f"  {case}: {time.monotonic() - began:.1f} s", flush=True)
        layers(server)
        print("  and the layers are in front of it")


if __name__ == "__main__":
    main()
