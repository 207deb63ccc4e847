"""gRPC's messages, metadata and statuses as the bodies, headers and trailers of HTTP/1.1: bytes alone, no I/O."""

import base64
import binascii
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias
from urllib.parse import quote, unquote

import grpc

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
"""Bytes are the values of names that end in -bin."""
Header: TypeAlias = tuple[bytes, bytes]

CONTENT_TYPE = b"application/grpc"
"""What the type of every body begins with."""
PREFIX_BYTES = 5
"""Before each message: a flag that says whether it is compressed, and its length."""
MOST_WAITING = 64
"""Messages that may wait for their reader before no more are received."""
MOST_WAITING_BYTES = 1 << 20
"""The same for what they have together."""

_NOT_METADATA = frozenset(
    b"connection content-length content-type grpc-accept-encoding grpc-encoding grpc-message grpc-status grpc-timeout "
    b"host keep-alive proxy-connection te trailer transfer-encoding upgrade user-agent x-shoal-timeout".split()
)
_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_MESSAGE_SAFE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
"""What gRPC leaves as it is in `grpc-message`."""
_TIMEOUTS = (b"grpc-timeout", b"x-shoal-timeout")
"""Behind Envoy the first is how long its route may take, and the second what the caller said."""
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST_TIMEOUT = 99_999_999
_CODES = {b"%d" % code.value[0]: code for code in grpc.StatusCode}


class CallError(Exception):
    """Ends a call with a status other than OK."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def framed(message: bytes) -> bytes:
    """The message as it stands in a body."""
    return b"\0%b%b" % (len(message).to_bytes(4), message)


LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A part of a body whose length nobody knows yet."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Messages:
    """Cuts a body, in whatever packets it comes, into messages of up to so many bytes, which wait here to be taken."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._rest = bytearray()
        """Of the body: less than a message. It only grows at its end, so that many small packets cost no more than one
        large one."""
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more should be received."""
        return len(self._waiting) > MOST_WAITING or self._waiting_bytes > MOST_WAITING_BYTES

    def take(self) -> bytes:
        """The one that came first. Raises IndexError if none waits."""
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message)
        return message

    def feed(self, data: bytes) -> None:
        """Raises CallError for what is no message."""
        if not self._rest:
            self._rest += data[self._cut(data) :]
            return
        self._rest += data
        del self._rest[: self._cut(self._rest)]

    def end(self) -> None:
        """Raises CallError if the body ends within a message."""
        if self._rest:
            raise CallError(grpc.StatusCode.INTERNAL, "The body ends within a message.")

    def _cut(self, data: bytes | bytearray) -> int:
        """Where the whole messages in the data end."""
        place = 0
        while len(data) - place >= PREFIX_BYTES:
            begin = place + PREFIX_BYTES
            end = begin + self._length(data, place)
            if len(data) < end:
                break
            self._waiting.append(bytes(data[begin:end]))
            self._waiting_bytes += end - begin
            place = end
        return place

    def _length(self, data: bytes | bytearray, place: int) -> int:
        if data[place]:
            raise CallError(grpc.StatusCode.UNIMPLEMENTED, "Compressed messages are not understood.")
        length = int.from_bytes(data[place + 1 : place + PREFIX_BYTES])
        if length > self._most_bytes:
            raise CallError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"A message may have {self._most_bytes} bytes; this has {length}."
            )
        return length


def lines(metadata: Metadata) -> bytes:
    """As lines of headers or trailers. Raises ValueError for what cannot stand there."""
    return b"".join(map(_line, metadata))


def _line(pair: tuple[str, str | bytes]) -> bytes:
    name, value = pair
    if name.endswith("-bin") is not isinstance(value, bytes):
        raise ValueError(f"{name!r} cannot be sent as metadata: names that end in -bin have bytes, all others text")
    text = base64.b64encode(value).rstrip(b"=").decode() if isinstance(value, bytes) else value
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(text):
        raise ValueError(f"{name!r} cannot be sent as metadata: lower case names, printable ASCII values")
    if name.encode() in _NOT_METADATA:
        raise ValueError(f"{name!r} cannot be sent as metadata: it belongs to the transport")
    return f"{name}: {text}\r\n".encode()


def metadata_in(headers: Iterable[Header]) -> Metadata:
    """What the headers or trailers say that is not about the transport. Raises CallError for what is no base64."""
    pairs: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name in _NOT_METADATA or name[:1] == b":":
            continue
        if name.endswith(b"-bin"):
            pairs += _binary(name.decode("latin-1"), value)
        else:
            pairs.append((name.decode("latin-1"), value.decode("latin-1")))
    return tuple(pairs)


def _binary(name: str, value: bytes) -> Iterator[tuple[str, bytes]]:
    for each in value.split(b","):
        try:
            yield name, base64.b64decode(each.strip() + b"=" * (-len(each.strip()) % 4), validate=True)
        except binascii.Error:
            raise CallError(grpc.StatusCode.INTERNAL, f"The value of {name} is no base64.") from None


def granted_in(headers: Iterable[Header]) -> float | None:
    """The seconds that a call may take, the least that is said; None if nothing is. Raises CallError if one is none."""
    granted = [timeout_in(value) for name, value in headers if name in _TIMEOUTS]
    return min(granted) if granted else None


def timeout_in(value: bytes) -> float:
    """The seconds of a `grpc-timeout`. Raises CallError if it is none."""
    unit = _SECONDS.get(value[-1:])
    if unit is None or not value[:-1].isdigit() or len(value) > 9:
        raise CallError(grpc.StatusCode.INTERNAL, "grpc-timeout is up to eight digits and a unit.")
    return int(value[:-1]) * unit


def timeout_value(seconds: float) -> str:
    """The seconds as `grpc-timeout` says them, not less than they are."""
    for unit, size in (("u", 1e-6), ("m", 1e-3), ("S", 1.0)):
        if seconds / size <= _MOST_TIMEOUT:
            return f"{max(0, math.ceil(seconds / size))}{unit}"
    return f"{_MOST_TIMEOUT}S"


def status_lines(code: grpc.StatusCode, message: str) -> bytes:
    """How a call ends."""
    number = code.value[0]
    if not message:
        return b"grpc-status: %d\r\n" % number
    text = quote(message, safe=_MESSAGE_SAFE, errors="replace").encode()
    return b"grpc-status: %d\r\ngrpc-message: %b\r\n" % (number, text)


def status_in(trailers: Iterable[Header]) -> tuple[grpc.StatusCode, str] | None:
    """How the call ended; None if that is not said."""
    said = dict(trailers)
    number = said.get(b"grpc-status")
    if number is None:
        return None
    return _CODES.get(number, grpc.StatusCode.UNKNOWN), unquote(said.get(b"grpc-message", b"").decode("latin-1"))
