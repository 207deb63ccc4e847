"""What a command and the mesh say to each other: one JSON object a line, one request a connection."""

import msgspec

from launcher.control.fleet import ProcessRow


class Scale(msgspec.Struct, frozen=True, kw_only=True, tag="scale"):
    """Asks for that many replicas of a service."""

    service: str
    replicas: int


class Restart(msgspec.Struct, frozen=True, kw_only=True, tag="restart"):
    """Asks to replace every process of a service."""

    service: str


class Look(msgspec.Struct, frozen=True, kw_only=True, tag="look"):
    """Asks which processes there are."""


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """News of a change. More follows."""

    line: str


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The change is made. Nothing follows."""


class Processes(msgspec.Struct, frozen=True, kw_only=True, tag="processes"):
    """The processes that were asked for. Nothing follows."""

    rows: tuple[ProcessRow, ...]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """It was not done, or not to its end; the message is for a person. Nothing follows."""

    message: str


Request = Scale | Restart | Look
Reply = Progress | Done | Processes | Failed

_REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_REPLIES: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def line_of(message: Request | Reply) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def request_in(line: bytes) -> Request:
    """Raises msgspec.DecodeError."""
    return _REQUESTS.decode(line)


def reply_in(line: bytes) -> Reply:
    """Raises msgspec.DecodeError."""
    return _REPLIES.decode(line)
