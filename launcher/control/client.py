"""The command's end of the control socket."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import msgspec

from launcher.control.address import address_of
from launcher.control.fleet import ProcessRow
from launcher.control.messages import Done, Failed, Look, Processes, Progress, Reply, Request, line_of, reply_in
from launcher.home import Home, HomeError


class ControlError(Exception):
    """What was asked for is not done. The message says why and what to do."""


def change(home: Home, request: Request, say: Callable[[str], None]) -> None:
    """Has the mesh in this home make a change; returns when it is made. Whoever stops waiting does not stop it.

    Raises ControlError.
    """
    _ask(home, request, say)


def processes(home: Home) -> tuple[ProcessRow, ...]:
    """Every process of the mesh in this home. Raises ControlError."""
    match _ask(home, Look(), say=lambda line: None):
        case Processes(rows=rows):
            return rows
        case _:
            raise ControlError(_misunderstood(home))


def _ask(home: Home, request: Request, say: Callable[[str], None]) -> Done | Processes:
    """The last reply. Raises ControlError."""
    for line in _lines(home, request):
        match _understood(line, home):
            case Progress(line=news):
                say(news)
            case Failed(message=message):
                raise ControlError(message)
            case Done() | Processes() as last:
                return last
    raise ControlError(f"The mesh in {home.folder} stopped before this was done.")


def _lines(home: Home, request: Request) -> Iterator[bytes]:
    """What the mesh answers, as it comes, until it ends or is gone. Raises ControlError if there is none."""
    with _connected(home) as connection, connection.makefile("rb") as answer, contextlib.suppress(ConnectionError):
        connection.sendall(line_of(request))
        yield from answer


def _connected(home: Home) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        with address_of(home.control_socket) as address:
            connection.connect(address)
    except (OSError, HomeError) as error:
        connection.close()
        raise ControlError(_unreachable(home, error)) from None
    return connection


def _unreachable(home: Home, error: OSError | HomeError) -> str:
    if isinstance(error, HomeError):
        return str(error)
    if isinstance(error, PermissionError):
        return f"The mesh in {home.folder} belongs to another user, and only that user can ask it."
    return f"No mesh runs in {home.folder}, or it is stopping; start it with `make run` or `shoal up`."


def _understood(line: bytes, home: Home) -> Reply:
    try:
        return reply_in(line)
    except msgspec.DecodeError:
        raise ControlError(_misunderstood(home)) from None


def _misunderstood(home: Home) -> str:
    return f"The mesh in {home.folder} is of another version than this command; start it again, or use its own `shoal`."
