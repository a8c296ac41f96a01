"""HTTP/2 frame by frame, for callers that do what no library lets them."""

import base64
import collections
import contextlib
import select
import socket
import struct
import time
import urllib.parse

import grpc
import hpack
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hyperframe import frame as frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
# RFC 9113, section 7.
ERRORS = dict(
    enumerate(
        "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
        "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM".split()
    )
)
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


class Closed(Exception):
    """The other side has closed the connection, and has said why."""


class Unheard(Exception):
    """The other side has closed the connection, and no reason has come.

    A socket that is closed with bytes unread resets the connection (RFC 1122, 4.2.2.13), and what it had not yet sent
    is lost: the reason, too, now and then.
    """


class Stream:
    """What was heard on one stream."""

    def __init__(self):
        self.headers, self.data, self.reset, self.over = {}, bytearray(), None, False

    def messages(self):
        """The messages of the answer."""
        rest, out = bytes(self.data), []
        while rest:
            length = 5 + int.from_bytes(rest[1:5], "big")
            out.append(rest[5:length])
            rest = rest[length:]
        return out

    def outcome(self):
        """Code and reason; without a gRPC status, what HTTP says and nothing."""
        if b"grpc-status" not in self.headers:
            http = self.headers.get(b":status", b"200").decode()
            reset = self.reset is not None and http == "200"
            return f"reset with {ERRORS[self.reset]}" if reset else f"HTTP {http}", ""
        details = self.headers.get(b"grpc-status-details-bin", b"")
        reason, info = "", error_details_pb2.ErrorInfo()
        for detail in status_pb2.Status.FromString(base64.b64decode(details + b"==")).details:
            reason = info.reason if detail.Unpack(info) else reason
        return CODES[int(self.headers[b"grpc-status"])], reason


class Wire:
    """An HTTP/2 connection that sends whatever it is told to, in order or not."""

    def __init__(self, address, window=2**31 - 1):
        url = urllib.parse.urlsplit(address)
        self.authority = url.netloc
        self.socket = socket.create_connection((url.hostname, url.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.received, self.block = bytearray(), bytearray()
        self.streams = collections.defaultdict(Stream)
        self.next, self.goaway, self.greeted = 1, None, False
        # How much the other side takes: on the connection (stream 0), and on each stream beside what all have at first.
        self.room, self.room_at_first = collections.Counter({0: 65_535}), 65_535
        settings = frames.SettingsFrame(0, {frames.SettingsFrame.INITIAL_WINDOW_SIZE: window})
        self.send(PREFACE, settings, frames.WindowUpdateFrame(0, 2**31 - 1 - 65_535))
        # Its acknowledgement must not come between the frames of a head.
        self.until(lambda: self.greeted, "the settings of the other side")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *parts):
        """Sends frames or bytes, and keeps what comes meanwhile: who does not listen is not heard for ever."""
        left = memoryview(b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts))
        while left:
            readable, writable, _ = select.select([self.socket], [self.socket], [], 30)
            assert readable or writable, "nothing is taken for 30 s"
            if readable:
                self.hear()
            if writable:
                try:
                    left = left[self.socket.send(left[: 64 << 10]) :]
                except OSError as broken:
                    self.hear_out(broken)

    def hear_out(self, broken):
        """Whoever has closed may have said why before."""
        while True:
            try:
                self.hear()
            except OSError:
                raise self.closed(broken) from None

    def closed(self, why):
        return Closed(str(why)) if self.goaway else Unheard(str(why))

    def hear(self):
        """Takes bytes, and answers what must be answered."""
        try:
            some = self.socket.recv(1 << 20)
        except ConnectionError as broken:
            raise self.closed(broken) from None
        if not some:
            raise self.closed("the end")
        self.received += some
        while len(self.received) >= 9:
            length = int.from_bytes(self.received[:3], "big")
            if len(self.received) < 9 + length:
                return
            frame, _ = frames.Frame.parse_frame_header(memoryview(bytes(self.received[:9])))
            frame.parse_body(memoryview(bytes(self.received[9 : 9 + length])))
            del self.received[: 9 + length]
            self.take(frame)

    def acknowledge(self, frame):
        # Whoever has closed may still have said why.
        with contextlib.suppress(OSError):
            self.socket.sendall(frame.serialize())

    def take(self, frame):
        stream = self.streams[frame.stream_id]
        if isinstance(frame, frames.SettingsFrame) and "ACK" not in frame.flags:
            self.greeted = True
            self.room_at_first = frame.settings.get(frames.SettingsFrame.INITIAL_WINDOW_SIZE, self.room_at_first)
            self.acknowledge(frames.SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, frames.PingFrame) and "ACK" not in frame.flags:
            self.acknowledge(frames.PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, frames.WindowUpdateFrame):
            self.room[frame.stream_id] += frame.window_increment
        elif isinstance(frame, frames.GoAwayFrame):
            self.goaway = ERRORS[frame.error_code]
        elif isinstance(frame, frames.RstStreamFrame):
            # What is still under way to a stream that was refused is refused once more.
            stream.reset = frame.error_code if stream.reset is None else stream.reset
            stream.over = True
        elif isinstance(frame, frames.DataFrame):
            stream.data += frame.data
        elif isinstance(frame, (frames.HeadersFrame, frames.ContinuationFrame)):
            self.block += frame.data
            if "END_HEADERS" in frame.flags:
                stream.headers.update(self.decoder.decode(bytes(self.block), raw=True))
                self.block.clear()
        stream.over |= "END_STREAM" in frame.flags

    def until(self, condition, what, seconds=20):
        """Listens until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            if select.select([self.socket], [], [], 0.2)[0]:
                self.hear()

    def head(self, path, *metadata, ends=False):
        """The frame that opens a stream, and its number."""
        number, self.next = self.next, self.next + 2
        head = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode())]
        head += [(b":authority", self.authority.encode()), (b"content-type", b"application/grpc"), (b"te", b"trailers")]
        block = self.encoder.encode(head + list(metadata))
        return number, frames.HeadersFrame(number, block, flags=["END_HEADERS"] + ["END_STREAM"] * ends)

    def begin(self, path, message, *metadata):
        """Sends a whole call, as far as the other side takes it; answers the number of its stream."""
        number, head = self.head(path, *metadata)
        body = prefixed(message) if not isinstance(message, Raw) else message
        pieces = [body[at : at + 16_384] for at in range(0, len(body), 16_384)] or [b""]
        data = [frames.DataFrame(number, bytes(piece)) for piece in pieces]
        data[-1].flags.add("END_STREAM")
        self.send(head)
        for piece in data:
            self.until(lambda: self.fits(piece) or self.streams[number].over, "room for a message")
            if self.streams[number].over:
                break
            self.room.subtract({0: len(piece.data), number: len(piece.data)})
            self.send(piece)
        return number

    def fits(self, data):
        return len(data.data) <= min(self.room[0], self.room_at_first + self.room[data.stream_id])

    def call(self, path, message=b"", *metadata):
        """One call, and what came of it."""
        number = self.begin(path, message, *metadata)
        self.until(lambda: self.streams[number].over, f"the answer of {path}")
        return self.streams.pop(number).outcome()


class Raw(bytes):
    """A body as it is, without the prefix of a message."""


def prefixed(message, compressed=0):
    return struct.pack(">BI", compressed, len(message)) + message


def methods(address):
    """The services at an address, by name, each with the paths of its methods; as reflection tells it."""
    with Wire(address) as wire:

        def reflect(**request):
            number = wire.begin(REFLECTION, reflection_pb2.ServerReflectionRequest(**request).SerializeToString())
            wire.until(lambda: wire.streams[number].over, "reflection")
            (answer,) = wire.streams[number].messages()
            return reflection_pb2.ServerReflectionResponse.FromString(answer)

        found = {}
        for service in reflect(list_services="").list_services_response.service:
            files = reflect(file_containing_symbol=service.name).file_descriptor_response.file_descriptor_proto
            for file in map(descriptor_pb2.FileDescriptorProto.FromString, files):
                for one in file.service:
                    if f"{file.package}.{one.name}" == service.name:
                        found[service.name] = [f"/{service.name}/{method.name}" for method in one.method]
        return found
