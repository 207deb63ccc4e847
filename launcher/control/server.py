"""The mesh's end of the control socket: it hears requests and has the fleet do them."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import msgspec

from launcher.control.address import address_of
from launcher.control.fleet import Fleet, FleetError, View
from launcher.control.messages import (
    Done,
    Failed,
    Look,
    Processes,
    Progress,
    Reply,
    Request,
    Restart,
    Scale,
    line_of,
    request_in,
)

_log = logging.getLogger(__name__)

Do = Callable[[Request, Callable[[str], None]], Awaitable[Reply]]
"""What is done about a request; the function is told of its progress."""

_NOT_UNDERSTOOD = "The mesh does not understand this request; is it of another version than the command?"
_BROKEN = "The mesh failed at this, through a fault of its own. Its terminal has the details; `shoal ps` what is now."


@asynccontextmanager
async def listening(path: Path, *, fleet: Fleet, view: View) -> AsyncIterator[None]:
    """Hears requests on the socket at this path until the end, which cuts changes short that still go on.

    Takes the place of a socket that another run left behind: the caller has seen to it that no other mesh is there.
    Raises HomeError or OSError if there can be no socket.
    """
    conversations: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(_converse(reader, writer, partial(_do, fleet=fleet, view=view)))
        conversations.add(conversation)
        conversation.add_done_callback(conversations.discard)

    with _listener(path) as listener:
        server = await asyncio.start_unix_server(begin, sock=listener)
        try:
            yield
        finally:
            server.close()
            for conversation in conversations:
                conversation.cancel()
            await asyncio.gather(*conversations, return_exceptions=True)


@contextmanager
def _listener(path: Path) -> Iterator[socket.socket]:
    """A socket that only its owner can use, from the first moment on: it gets its name when all else is done."""
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        with address_of(draft) as address:
            listener.bind(address)
        draft.chmod(0o600)
        listener.listen()
        draft.replace(path)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, do: Do) -> None:
    """One request and what comes of it. It is done to its end, whether or not anybody still reads."""

    def tell(reply: Reply) -> None:
        if not writer.is_closing():
            writer.write(line_of(reply))

    try:
        if request := await _request_from(reader, tell):
            tell(await _outcome(request, do, lambda line: tell(Progress(line=line))))
    finally:
        writer.close()


async def _request_from(reader: asyncio.StreamReader, tell: Callable[[Reply], None]) -> Request | None:
    """None if there is none, which is answered if it can be."""
    try:
        line = await reader.readline()
        return request_in(line) if line else None
    except ConnectionError:
        return None
    except (msgspec.DecodeError, ValueError):  # ValueError: a line without an end
        tell(Failed(message=_NOT_UNDERSTOOD))
        return None


async def _outcome(request: Request, do: Do, say: Callable[[str], None]) -> Reply:
    try:
        return await do(request, say)
    except FleetError as error:
        return Failed(message=str(error))
    except Exception:
        _log.exception("A request on the control socket failed: %s", request)
        return Failed(message=_BROKEN)


async def _do(request: Request, say: Callable[[str], None], *, fleet: Fleet, view: View) -> Reply:
    """Raises what the fleet raises."""
    match request:
        case Scale(service=service, replicas=replicas):
            await fleet.scale(service, replicas, say)
        case Restart(service=service):
            await fleet.restart(service, say)
        case Look():
            return Processes(rows=tuple(await view.processes()))
    return Done()
