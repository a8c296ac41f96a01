"""A collector of spans where the stack under test looks for one, and everything that can be wrong with it."""

import os
import socket
import threading
from concurrent import futures
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire
from opentelemetry.proto.trace.v1.trace_pb2 import Status

ADDRESS = ("127.0.0.1", int(os.environ.get("HOMEWARD_PORT_BASE", "0")) + 29)


@dataclass
class Span:
    """A span as it came; ids in hexadecimal."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict

    def __str__(self):
        return f"{self.service} {self.kind} {self.name} {self.id} of {self.parent}"


def text(value):
    return str(getattr(value, value.WhichOneof("value") or "string_value"))


def spans_of(request):
    """The spans of one batch."""
    for group in request.resource_spans:
        resource = {pair.key: text(pair.value) for pair in group.resource.attributes}
        for span in (span for scope in group.scope_spans for span in scope.spans):
            yield Span(
                resource["service.name"],
                span.name,
                Wire.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.status.code == Status.STATUS_CODE_ERROR,
                {pair.key: text(pair.value) for pair in span.attributes},
            )


class Collector(service.TraceServiceServicer):
    """Takes spans and keeps them, for the length of the block."""

    def __init__(self):
        self.spans, self.batches, self.lock = [], [], threading.Lock()
        # Every one of the processes may have a batch under way.
        self.server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
        service.add_TraceServiceServicer_to_server(self, self.server)

    def Export(self, request, context):
        self.taken(request, context)
        return messages.ExportTraceServiceResponse()

    def taken(self, request, _):
        with self.lock:
            self.spans += spans_of(request)
            self.batches.append(request.SerializeToString())

    def trace(self, trace):
        with self.lock:
            return [span for span in self.spans if span.trace == trace]

    def __enter__(self):
        assert self.server.add_insecure_port("{}:{}".format(*ADDRESS)), f"cannot listen on {ADDRESS}"
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(0).wait()


class Failing(Collector):
    """Takes nothing, and says so."""

    def taken(self, _, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "as planted")


class Slow(Collector):
    """Takes nothing, and says nothing either."""

    def __init__(self):
        super().__init__()
        self.over = threading.Event()

    def taken(self, _, context):
        self.over.wait()
        context.abort(grpc.StatusCode.UNAVAILABLE, "as planted")

    def __exit__(self, *_):
        self.over.set()
        super().__exit__()


class Mad:
    """Accepts whoever comes and answers what is no gRPC; `answer` may be nothing at all."""

    def __init__(self, answer):
        self.answer, self.kept = answer, []
        self.listener = socket.create_server(ADDRESS)
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
                self.kept.append(connection)
                connection.sendall(self.answer)
            except OSError:
                if self.listener.fileno() < 0:
                    return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        # Wakes the thread as well.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for connection in self.kept:
            connection.close()


class Away:
    """Nobody listens."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
