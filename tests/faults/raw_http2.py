"""An HTTP/2 connection that sends the frames it is told to, sensible or not."""

import socket
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from tests.mesh import Mesh

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
FRAME_BYTES = 16384
GRPC_HEADERS = (("content-type", "application/grpc"), ("te", "trailers"))
PING = b"are you?"
PATIENCE_SECONDS = 30


class RawHttp2:
    """A client on 127.0.0.1 that comes from an address of its own, so that nobody else's bucket pays for it."""

    def __init__(self, port: int, *, address: str, settings: dict[int, int] | None = None) -> None:
        self._socket = socket.create_connection(
            ("127.0.0.1", port), source_address=(address, 0), timeout=PATIENCE_SECONDS
        )
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._received = b""
        self._socket.sendall(PREFACE)
        self.send(SettingsFrame(0, settings=settings or {}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def request(self, stream: int, path: str, *headers: tuple[str, str], method: str = "POST") -> HeadersFrame:
        """The frame that opens a stream. Frames must be sent in the order in which they were made."""
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
        return HeadersFrame(stream, data=self._encoder.encode([*pseudo, *headers]), flags=["END_HEADERS"])

    def send(self, *frames: Frame) -> None:
        self._socket.sendall(b"".join(frame.serialize() for frame in frames))

    def data(self, stream: int, content: bytes, *, ends: bool = False) -> DataFrame:
        return DataFrame(stream, content, flags=["END_STREAM"] if ends else [])

    def send_data(self, stream: int, content: bytes) -> None:
        """Sends all of it, without asking whether the other side is ready, and ends the stream. An end that comes
        meanwhile is found by whoever reads."""
        pieces = [content[start : start + FRAME_BYTES] for start in range(0, len(content), FRAME_BYTES)]
        frames: list[Frame] = [self.data(stream, piece, ends=piece is pieces[-1]) for piece in pieces]
        self.flood([frame] for frame in frames)

    def answer(self, stream: int) -> dict[str, str]:
        """Headers and trailers of a stream at its end; a reset is told as `reset`, the connection's end as `closed`."""
        answer: dict[str, str] = {}
        for frame in self.frames():
            if isinstance(frame, HeadersFrame):
                answer |= {str(name): str(value) for name, value in self._decoder.decode(frame.data)}
            if isinstance(frame, RstStreamFrame):
                return answer | {"reset": str(frame.error_code)}
            if frame.stream_id == stream and "END_STREAM" in frame.flags:
                return answer
        return answer | {"closed": "closed"}

    def flood(self, batches: Iterable[list[Frame]]) -> None:
        """Sends until all is sent or the other side has closed, without reading."""
        try:
            for batch in batches:
                self.send(*batch)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass

    def frames(self) -> Iterator[Frame]:
        """What comes, until the other side closes. Raises TimeoutError after a long silence."""
        while (header := self._read(HEADER_BYTES)) is not None:
            frame, length = Frame.parse_frame_header(memoryview(header))
            if (body := self._read(length)) is None:
                return
            frame.parse_body(memoryview(body))
            yield frame

    def end(self) -> GoAwayFrame | None:
        """Reads until the other side closes, and gives its goodbye, if it said one."""
        goodbyes = [frame for frame in self.frames() if isinstance(frame, GoAwayFrame)]
        return goodbyes[-1] if goodbyes else None

    def answers_ping(self) -> bool:
        """Whether the connection lives, after all that was sent was read."""
        self.send(PingFrame(0, PING))
        return any(isinstance(frame, PingFrame) and frame.opaque_data == PING for frame in self.frames())

    def _read(self, length: int) -> bytes | None:
        while len(self._received) < length:
            try:
                piece = self._socket.recv(65536)
            except ConnectionResetError:
                return None
            if not piece:
                return None
            self._received += piece
        taken, self._received = self._received[:length], self._received[length:]
        return taken


def reset(stream: int) -> RstStreamFrame:
    """The client has changed its mind (CANCEL)."""
    return RstStreamFrame(stream, error_code=8)


def grpc_message(content: bytes, *, compressed: bool = False) -> bytes:
    """A message as it goes over the wire."""
    return bytes([compressed]) + len(content).to_bytes(4, "big") + content


def front_port(mesh: Mesh) -> int:
    """Where the front door listens without TLS."""
    return int(mesh.url.rpartition(":")[2])
